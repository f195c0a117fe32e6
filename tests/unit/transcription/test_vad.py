"""From probabilities to stretches of speech, and the whole on real speech and real noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper import audio
from finewhisper.transcription.silero import CHUNK_SAMPLES
from finewhisper.transcription.vad import Span, spans, speech

PADDING = 4_800  # 0.3 s


def judged(pattern: str) -> np.ndarray:
    """One digit a chunk: the probability of speech in tenths."""
    return np.array([int(digit) / 10 for digit in pattern], dtype=np.float32)


def chunks(first: int, last: int) -> tuple[int, int]:
    return first * CHUNK_SAMPLES, last * CHUNK_SAMPLES


def test_silence_has_no_speech():
    assert spans(judged("0" * 100), 100 * CHUNK_SAMPLES) == []
    assert spans(judged(""), 0) == []


def test_speech_is_padded_on_both_sides():
    start, end = chunks(20, 30)
    assert spans(judged("0" * 20 + "9" * 10 + "0" * 20), 50 * CHUNK_SAMPLES) == [Span(start - PADDING, end + PADDING)]


def test_padding_stops_at_the_ends_of_the_recording():
    assert spans(judged("9" * 10), 10 * CHUNK_SAMPLES - 100) == [Span(0, 10 * CHUNK_SAMPLES - 100)]


def test_a_word_may_fade_but_not_begin_softly():
    """0.4 goes on with speech that has begun; alone it is none."""
    (span,) = spans(judged("0" * 20 + "4499994444" + "0" * 20), 50 * CHUNK_SAMPLES)
    assert (span.start + PADDING, span.end - PADDING) == chunks(22, 30)


def test_gaps_within_a_phrase_are_closed_and_longer_ones_shared():
    """Two chunks (64 ms) are a stop consonant; ten (320 ms) are a pause, of which each side gets half as padding."""
    first, second = spans(judged("0" * 20 + "9999" + "00" + "9999" + "0" * 10 + "9999" + "0" * 20), 64 * CHUNK_SAMPLES)
    assert first.start == chunks(20, 0)[0] - PADDING
    assert first.end == second.start == chunks(35, 0)[0]


def test_a_click_is_not_speech():
    assert spans(judged("0" * 20 + "999" + "0" * 20), 43 * CHUNK_SAMPLES) == []


@given(st.text("0123456789", max_size=200), st.integers(0, CHUNK_SAMPLES - 1))
def test_spans_are_in_order_apart_and_inside(pattern: str, missing: int):
    samples = max(len(pattern) * CHUNK_SAMPLES - missing, 0)
    found = spans(judged(pattern), samples)
    edges = [edge for span in found for edge in (span.start, span.end)]
    assert edges == sorted(edges)
    assert all(span.start < span.end for span in found)
    assert not edges or (edges[0] >= 0 and edges[-1] <= samples)


def test_finds_all_speech_of_a_reading_and_the_pauses_between(data: Path):
    """The recording is made of clips with known times, with 0.25 s of silence between them."""
    name = "audio/ljspeech_LJ001_0001-0032.opus"
    clips = json.loads((data / "longform" / "segments.json").read_text())[name]
    found = speech(audio.read(data / "longform" / name))
    covered = np.zeros(230 * 100, dtype=bool)  # in hundredths of a second
    for span in found:
        covered[round(span.start_s * 100) : round((span.start_s + span.duration_s) * 100)] = True
    assert np.mean([covered[round(clip["start"] * 100) : round(clip["end"] * 100)].mean() for clip in clips]) > 0.95
    assert len(found) >= 20


@pytest.mark.parametrize("folder", ["noise", "nonspeech"])
def test_finds_next_to_none_in_noise(data: Path, folder: str):
    files = sorted((data / "noise_rir" / folder).iterdir())[:12]
    waveforms = [audio.read(file) for file in files]
    heard_s = sum(span.duration_s for waveform in waveforms for span in speech(waveform))
    assert heard_s < 0.2 * sum(len(waveform) / 16_000 for waveform in waveforms)
