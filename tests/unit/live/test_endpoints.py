"""Where utterances begin and end, on real speech and on what is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.live.endpoints import End, EndPointer, Start
from finewhisper.transcription.silero import CHUNK_SAMPLES, Detector, speech_probabilities
from finewhisper.transcription.vad import speech


@pytest.fixture(scope="module")
def jfk(data: Path) -> Waveform:
    return audio.read(data / "en_misc" / "audio" / "jfk.opus")


def found(pointer: EndPointer, waveform: Waveform, step: int) -> list[Start | End]:
    return [event for first in range(0, len(waveform), step) for event in pointer.feed(waveform[first : first + step])]


def test_sound_in_pieces_is_judged_as_a_whole(jfk: Waveform):
    whole = jfk[: len(jfk) // CHUNK_SAMPLES * CHUNK_SAMPLES]
    detector = Detector()
    pieces = np.split(whole, [5 * CHUNK_SAMPLES, 6 * CHUNK_SAMPLES, 60 * CHUNK_SAMPLES])
    np.testing.assert_allclose(np.concatenate([detector.judge(piece) for piece in pieces]), speech_probabilities(whole), atol=1e-5)


def test_utterances_are_the_stretches_that_recordings_are_cut_into(jfk: Waveform):
    """The end-pointer knows no future: it pads by a fixed time, where the other shares a gap between its neighbours."""
    waveform = np.concatenate([jfk, np.zeros(SAMPLE_RATE, dtype=np.float32)])
    events = found(EndPointer(0.3, padding_s=0.0), waveform, 1_600)
    starts, ends = ([event.at for event in events if isinstance(event, kind)] for kind in (Start, End))
    assert len(starts) == len(ends) == 4
    assert all(any(span.start <= at < span.end for span in speech(waveform)) for at in starts)
    assert all(start < end < following for start, end, following in zip(starts, ends, [*starts[1:], len(waveform)], strict=True))


@pytest.mark.parametrize("step", [1, 511, 512, 4_096, 176_000])
def test_how_sound_is_cut_into_messages_does_not_matter(jfk: Waveform, step: int):
    waveform = jfk[: 4 * SAMPLE_RATE] if step == 1 else jfk
    assert found(EndPointer(0.5), waveform, step) == found(EndPointer(0.5), waveform, 1_600)


def test_a_longer_pause_joins_utterances(jfk: Waveform):
    waveform = np.concatenate([jfk, np.zeros(6 * SAMPLE_RATE, dtype=np.float32)])
    assert len(found(EndPointer(5.0), waveform, 1_600)) == 2
    assert len(found(EndPointer(0.3), waveform, 1_600)) == 8


def test_noise_and_clicks_are_no_speech():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.05, 10 * SAMPLE_RATE).astype(np.float32)
    noise[::SAMPLE_RATE] = 1.0
    assert found(EndPointer(0.5), noise, 1_600) == []


def test_silence_is_not_even_judged(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Detector, "judge", lambda *_: pytest.fail("silence was shown to the detector"))
    quiet = np.random.default_rng(0).uniform(-0.0009, 0.0009, SAMPLE_RATE).astype(np.float32)
    assert found(EndPointer(0.5), quiet, 1_600) == []


def test_an_utterance_that_was_ended_goes_on_as_another(jfk: Waveform):
    pointer = EndPointer(0.5)
    first = found(pointer, jfk[: 2 * SAMPLE_RATE], 1_600)
    assert [type(event) for event in first] == [Start]
    pointer.reset(2 * SAMPLE_RATE)
    following = found(pointer, jfk[2 * SAMPLE_RATE : 3 * SAMPLE_RATE], 1_600)
    assert isinstance(following[0], Start)
    assert following[0].at >= 2 * SAMPLE_RATE
