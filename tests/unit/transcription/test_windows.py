"""Where long audio is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.conversion.verify import generated_clip
from finewhisper.transcription import windows
from finewhisper.transcription.vad import Span
from finewhisper.transcription.windows import LONGEST_S, cut_quietly, left_over, pack, plan

RATE = 16_000


def at(*times_s: tuple[float, float]) -> list[Span]:
    return [Span(round(start * RATE), round(end * RATE)) for start, end in times_s]


def noise(seconds: float, *quiet: tuple[float, float]) -> np.ndarray:
    """Loud noise with quiet stretches; no speech as a detector understands it."""
    waveform = np.random.default_rng(0).normal(0, 0.2, round(seconds * RATE)).astype(np.float32)
    for start, end in quiet:
        waveform[round(start * RATE) : round(end * RATE)] *= 0.01
    return waveform


def speaking(monkeypatch: pytest.MonkeyPatch, *times_s: tuple[float, float]) -> None:
    """Put known stretches of speech in place of the detector."""
    monkeypatch.setattr(windows, "speech", lambda waveform: at(*times_s))


def test_a_clip_that_fits_is_one_window_unless_nobody_speaks_in_it():
    voice = generated_clip().waveform
    assert plan(voice, None) == at((0, 4))
    assert plan(voice[: RATE // 2], None) == at((0, 0.5))
    assert plan(noise(30.0), None) == []
    assert plan(noise(30.0), False) == at((0, 30))
    assert plan(noise(0.01), False) == at((0, 0.01))
    assert plan(np.zeros(0, dtype=np.float32), None) == []


def test_a_clip_that_fits_is_searched_when_asked():
    assert plan(noise(5.0), vad=True) == []


def test_long_silence_has_no_windows():
    assert plan(np.zeros(60 * RATE, dtype=np.float32), None) == []


def test_windows_begin_and_end_with_speech(monkeypatch: pytest.MonkeyPatch):
    speaking(monkeypatch, (5, 10), (12, 20), (50, 60))
    assert plan(noise(70.0), None) == at((5, 20), (50, 60))


def test_a_window_ends_in_the_longest_pause_of_its_last_fifth():
    assert pack(at((0, 5), (9, 22.6), (23.6, 24), (24.2, 27), (27.1, 40))) == at((0, 22.6), (23.6, 40))


def test_a_late_pause_wins_among_equals():
    assert pack(at((0, 20), (21, 24), (25, 27), (28, 40))) == at((0, 27), (28, 40))


def test_speech_that_ends_early_makes_a_short_window_rather_than_one_too_long():
    assert pack(at((0, 4), (20, 45))) == at((0, 4), (20, 45))


def test_speech_without_a_pause_is_cut_where_it_is_quietest():
    waveform = noise(70.0, (5.0, 6.0), (24.0, 24.3), (49.0, 49.2))
    first, second, third = cut_quietly(waveform, Span(0, len(waveform)))
    assert first.end / RATE == pytest.approx(24.15, abs=0.15)
    assert second.end / RATE == pytest.approx(49.1, abs=0.1)
    assert (first.start, second.start, third.start, third.end) == (0, first.end, second.end, len(waveform))


def test_without_detection_the_whole_recording_is_cut_quietly():
    waveform = noise(60.0, (24.0, 24.5))
    first, second, third = plan(waveform, vad=False)
    assert first.end / RATE == pytest.approx(24.25, abs=0.25)
    assert third.end == len(waveform)
    assert first.end == second.start
    assert second.end == third.start


def test_windows_may_be_shorter(monkeypatch: pytest.MonkeyPatch):
    speaking(monkeypatch, (0, 4), (4.5, 8.2), (8.6, 9), (9.2, 12), (12.2, 21), (22, 50))
    planned = plan(noise(60.0), None, 10.0)
    assert planned[:3] == at((0, 8.2), (8.6, 12), (12.2, 21))
    assert all(window.duration_s <= 10.0 for window in planned)
    assert sum(window.duration_s for window in planned[3:]) == pytest.approx(28.0)


spoken = st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.1, LONGEST_S)), max_size=30)


@given(spoken)
def test_packing_keeps_all_speech_in_order_in_windows_that_fit(gaps_and_lengths: list[tuple[float, float]]):
    pieces, now_s = [], 0.0
    for gap_s, length_s in gaps_and_lengths:
        pieces += at((now_s + gap_s, now_s + gap_s + length_s))
        now_s += gap_s + length_s
    packed = pack(pieces)
    assert all(window.duration_s <= LONGEST_S + 1e-3 for window in packed)
    assert all(one.end <= other.start for one, other in itertools.pairwise(packed))
    for piece in pieces:
        assert sum(window.start <= piece.start and piece.end <= window.end for window in packed) == 1


@given(st.integers(1, 100 * RATE), st.integers(0, 50 * RATE))
def test_cutting_quietly_loses_no_sample(samples: int, start: int):
    waveform = np.zeros(start + samples, dtype=np.float32)
    pieces = cut_quietly(waveform, Span(start, start + samples))
    assert (pieces[0].start, pieces[-1].end) == (start, start + samples)
    assert all(one.end == other.start for one, other in itertools.pairwise(pieces))
    assert all(0 < piece.duration_s <= LONGEST_S for piece in pieces)


def test_speech_after_the_last_word_is_left_over(monkeypatch: pytest.MonkeyPatch):
    """The model stopped at 20 s of a window from 10 to 38 s; speech is found 0.5 s after that and up to the end."""
    speaking(monkeypatch, (0.5, 3.0), (3.5, 8.0))
    assert left_over(noise(40.0), Span(10 * RATE, 38 * RATE), 20.0) == at((30.5, 38.0))


def test_a_breath_after_the_last_word_is_not(monkeypatch: pytest.MonkeyPatch):
    speaking(monkeypatch, (0.5, 1.2))
    assert left_over(noise(40.0), Span(10 * RATE, 38 * RATE), 20.0) == []


def test_silence_after_the_last_word_is_not():
    assert left_over(np.zeros(20 * RATE, dtype=np.float32), Span(0, 20 * RATE), 10.0) == []
    assert left_over(np.zeros(20 * RATE, dtype=np.float32), Span(0, 20 * RATE), 20.0) == []
