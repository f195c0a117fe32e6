"""Where the next window of a recording begins when windows are decoded in turn: where the model stopped, by its own times."""

from __future__ import annotations

from dataclasses import replace

from finewhisper.audio import SAMPLE_RATE, WINDOW_SAMPLES, Seconds, Waveform
from finewhisper.transcript import Transcript
from finewhisper.transcription.vad import Span
from finewhisper.transcription.windows import LEAST_S, left_over

#: A phrase that ends this close to the end of a full window has no end of its own: it goes on behind it.
_CUT_OFF_S: Seconds = 0.1


def settled(transcript: Transcript, waveform: Waveform) -> tuple[Transcript, Seconds]:
    """What to keep of a window, and how many seconds of it are done.

    A phrase that the end of a full window cuts off is left to the next window, unless it is the only one. After the last phrase, what is
    not speech is done with, too.
    """
    duration_s = len(waveform) / SAMPLE_RATE
    segments = transcript.segments
    full = len(waveform) == WINDOW_SAMPLES
    if full and len(segments) > 1 and segments[-1].end_s > duration_s - _CUT_OFF_S and segments[-1].start_s > LEAST_S:
        return replace(transcript, segments=segments[:-1]), segments[-1].start_s
    if segments and segments[-1].end_s > LEAST_S and left_over(waveform, Span(0, len(waveform)), segments[-1].end_s):
        return transcript, segments[-1].end_s
    return transcript, duration_s
