"""Small sounds to build corpora of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

MakeClip = Callable[..., Path]


@pytest.fixture
def clip() -> MakeClip:
    """Writes a second (or ``seconds``) of noise, unlike every other unless ``seed`` is the same."""
    made = 0

    def make(path: Path, seconds: float = 1.0, *, rate: int = 16_000, seed: int | None = None) -> Path:
        nonlocal made
        made += 1
        samples = 0.1 * np.random.default_rng(made if seed is None else seed + 1_000_000).standard_normal(round(rate * seconds))
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)
        return path

    return make
