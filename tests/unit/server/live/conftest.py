"""The server that live clients talk to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import serving
from finewhisper import audio
from finewhisper.audio import Waveform


@pytest.fixture(scope="module")
def server(tiny_en_ct2_model: Path) -> Iterator[serving.Running]:
    """tiny.en in int8, with places for 220 sockets and no more."""
    options = ("--precision", "int8", "--live.sockets", "220", "--live.frame-bytes", "300000", "--live.session-s", "60")
    with serving.running(f"tiny.en={tiny_en_ct2_model}", *options) as running:
        yield running


@pytest.fixture(scope="module")
def waveform(jfk: Path) -> Waveform:
    return audio.read(jfk)
