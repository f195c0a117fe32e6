"""A file in pieces is the file as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Waveform, blocks, soundfiles
from finewhisper.errors import AudioError


def chirp(seconds: float, rate: int, channels: int = 1) -> Waveform:
    """A tone that rises and never repeats, so that a piece that is lost, doubled or shifted shows."""
    time_s = np.arange(round(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (200 + 20 * time_s) * time_s)
    return np.stack([tone] * channels, axis=1).astype(np.float32)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soundfiles, "BLOCK_S", 0.7)


@pytest.mark.parametrize(
    ("name", "rate", "channels"), [("a.wav", 16_000, 1), ("b.flac", 44_100, 2), ("c.ogg", 48_000, 1), ("d.mp3", 44_100, 2)]
)
def test_pieces_make_the_whole(tmp_path: Path, name: str, rate: int, channels: int):
    path = tmp_path / name
    soundfile.write(path, chirp(5.0, rate, channels), rate)
    pieces = list(blocks(path))
    whole = audio.read(path)
    assert len(pieces) >= 6
    assert all(piece.dtype == np.float32 for piece in pieces)
    joined = np.concatenate(pieces)
    assert abs(len(joined) - len(whole)) <= 0.05 * SAMPLE_RATE  # an MP3's last frame is longer than the sound in it
    shared = min(len(joined), len(whole))
    np.testing.assert_allclose(joined[:shared], whole[:shared], atol=2e-3)


@pytest.mark.parametrize("reader", ["whole", "pieces"])
def test_a_rate_that_changes_midway_does_not_change_the_speed(tmp_path: Path, reader: str):
    """As where two broadcasts were joined byte by byte."""
    for name, rate in (("one.mp3", 16_000), ("two.mp3", 44_100)):
        soundfile.write(tmp_path / name, 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * rate) / rate), rate)
    path = tmp_path / "joined.mp3"
    path.write_bytes((tmp_path / "one.mp3").read_bytes() + (tmp_path / "two.mp3").read_bytes())
    waveform = audio.read(path) if reader == "whole" else np.concatenate(list(blocks(path)))
    assert len(waveform) / SAMPLE_RATE == pytest.approx(6.0, abs=0.3)
    for second in (1, 4):
        part = waveform[second * SAMPLE_RATE : (second + 1) * SAMPLE_RATE]
        assert np.argmax(np.abs(np.fft.rfft(part))) == 440


def test_a_fault_in_the_middle_shows_when_its_piece_is_due(tmp_path: Path):
    soundfile.write(tmp_path / "a.mp3", chirp(8.0, 16_000), 16_000)
    content = (tmp_path / "a.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(content[: len(content) // 2])
    pieces = blocks(tmp_path / "cut.mp3")
    assert len(next(pieces)) > 0
    with pytest.raises(AudioError, match="cut short"):
        list(pieces)


@pytest.mark.parametrize("content", [b"", b"this is not audio at all", None])
def test_what_is_no_audio_is_refused_as_ever(tmp_path: Path, content: bytes | None):
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.wav: "):
        list(blocks(path))


def test_nothing_in_it_is_refused(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(AudioError, match="no samples"):
        list(blocks(tmp_path / "a.wav"))


def test_numbers_that_are_none_are_refused(tmp_path: Path):
    soundfile.write(tmp_path / "a.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="not numbers"):
        list(blocks(tmp_path / "a.wav"))
