"""Where the next window begins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from finewhisper import audio
from finewhisper.audio import Waveform
from finewhisper.transcript import Segment, Transcript
from finewhisper.transcription.sequential import settled

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def speech(data: Path) -> Waveform:
    """A full window in which somebody speaks to the end."""
    return audio.read(data / "longform" / "audio" / "bush_election_day_2008.opus", 0.0, 30.0)


def heard(*times: tuple[float, float]) -> Transcript:
    return Transcript(tuple(Segment("so it is", start_s, end_s) for start_s, end_s in times), "en", 30.0)


@pytest.mark.parametrize(
    ("times", "kept", "seconds"),
    [
        ([(0.0, 12.0), (12.0, 30.0)], 1, 12.0),  # the last phrase goes on behind the window
        ([(0.0, 30.0)], 1, 30.0),  # the only one cannot be left to the next window
        ([(0.0, 12.0), (12.0, 20.0)], 2, 20.0),  # speech is left
        ([(0.0, 0.4), (0.4, 30.0)], 2, 30.0),  # going on at 0.4 s would take for ever
        ([], 0, 30.0),
    ],
)
def test_a_window_of_speech(speech: Waveform, times: list[tuple[float, float]], kept: int, seconds: float):
    transcript, done_s = settled(heard(*times), speech)
    assert (len(transcript.segments), done_s) == (kept, seconds)


def test_silence_after_the_last_phrase_is_done_with():
    transcript, done_s = settled(heard((0.0, 12.0)), np.zeros(480_000, np.float32))
    assert (len(transcript.segments), done_s) == (1, 30.0)


def test_the_end_of_a_recording_is_no_cut():
    transcript, done_s = settled(heard((0.0, 12.0), (12.0, 20.0)), np.zeros(320_000, np.float32))
    assert (len(transcript.segments), done_s) == (2, 20.0)
