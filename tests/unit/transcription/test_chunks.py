"""A recording in pieces is planned like one that is there as a whole, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from finewhisper import audio
from finewhisper.audio import Waveform
from finewhisper.transcription import chunks as module
from finewhisper.transcription.chunks import SlidingReader, chunks
from finewhisper.transcription.windows import LONGEST_S


def pieces(waveform: Waveform, seconds: float = 7.0) -> Iterator[Waveform]:
    step = round(seconds * 16_000)
    yield from (waveform[first : first + step] for first in range(0, len(waveform), step))


@pytest.fixture
def _short_reels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_S", 45.0)


@pytest.mark.real
@pytest.mark.usefixtures("_short_reels")
def test_windows_of_pieces_are_those_of_the_whole(data: Path):
    waveform = audio.read(data / "longform" / "audio" / "bush_election_day_2008.opus")
    (whole,) = chunks(waveform, None, LONGEST_S)
    found = list(chunks(pieces(waveform), None, LONGEST_S))
    assert len(found) >= 3
    assert [chunk.last for chunk in found] == [False] * (len(found) - 1) + [True]
    assert found[-1].end == len(waveform)
    windows = [window for chunk in found for window in chunk.windows]
    assert len(windows) == len(whole.windows)
    for window, expected in zip(windows, whole.windows, strict=True):
        assert window.start == pytest.approx(expected.start, abs=3_200)  # the detector begins anew with each chunk
        np.testing.assert_array_equal(window.waveform, waveform[window.start : window.end])


@pytest.mark.usefixtures("_short_reels")
def test_without_detection_nothing_is_lost_or_doubled():
    waveform = np.random.default_rng(0).standard_normal(16_000 * 200).astype(np.float32)
    windows = [window for chunk in chunks(pieces(waveform), False, LONGEST_S) for window in chunk.windows]
    np.testing.assert_array_equal(np.concatenate([window.waveform for window in windows]), waveform)
    assert all(len(window.waveform) <= 30 * 16_000 for window in windows)


@pytest.mark.real
@pytest.mark.usefixtures("_short_reels")
def test_a_word_and_hours_of_silence_are_not_kept(data: Path, monkeypatch: pytest.MonkeyPatch):
    """Only what may go on is held for the next chunk: not everything since the last word."""
    word = audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus")
    planned: list[int] = []
    original = module.plan
    monkeypatch.setattr(module, "plan", lambda waveform, *rest: planned.append(len(waveform)) or original(waveform, *rest))
    waveform = np.concatenate([word, np.zeros(16_000 * 300, np.float32), word])
    windows = [window for chunk in chunks(pieces(waveform), None, LONGEST_S) for window in chunk.windows]
    assert len(windows) == 2
    assert windows[0].waveform.base is None  # a slice would keep its chunk in memory
    assert max(planned) < 60 * 16_000


def test_an_empty_stream_is_one_empty_reel():
    (chunk,) = chunks(iter([]), None, LONGEST_S)
    assert (chunk.windows, chunk.end, chunk.last) == ([], 0, True)


def test_a_tape_gives_what_lies_ahead():
    waveform = np.arange(16_000 * 70, dtype=np.float32)
    for source in (waveform, pieces(waveform)):
        reader = SlidingReader(source)
        for start in (0, 100, 400_000, 700_000, len(waveform) - 5, len(waveform)):
            window = reader.window(start)
            assert window.start == start
            np.testing.assert_array_equal(window.waveform, waveform[start : start + 480_000])
