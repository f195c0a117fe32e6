"""Evaluations made of given words."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluations import Make, evaluated_in


@pytest.fixture
def evaluated(speech_folder: Path) -> Make:
    """Makes an evaluation of what is said and heard in generated clips, and the utterances for it."""
    return evaluated_in(speech_folder)
