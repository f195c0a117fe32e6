"""Where somebody speaks: from the probability of speech in each 32 ms to padded stretches of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform
from finewhisper.transcription.silero import CHUNK_SAMPLES, Detector, Probabilities, speech_probabilities

#: Speech begins at the first of these and ends below the second: a word's soft end keeps it open. Silero's own defaults.
_ON, _OFF = 0.5, 0.35
#: Shorter gaps inside words and phrases do not end speech; shorter bursts are clicks.
_SHORTEST_GAP_S, _SHORTEST_SPEECH_S = 0.1, 0.1
#: Added before and after, up to half the gap: soft beginnings and ends of words are speech too.
_PADDING_S = 0.3


@dataclass(frozen=True)
class Span:
    """A stretch of a waveform in samples at 16 kHz, ``end`` excluded."""

    start: int
    end: int

    @property
    def start_s(self) -> Seconds:
        return self.start / SAMPLE_RATE

    @property
    def duration_s(self) -> Seconds:
        return (self.end - self.start) / SAMPLE_RATE


def speech(waveform: Waveform) -> list[Span]:
    """The stretches of a 16 kHz waveform in which somebody speaks, padded, in order, without overlaps."""
    return spans(speech_probabilities(waveform), len(waveform))


#: A clip in which no chunk is this likely to hold speech has none. Of 3,681 clips of real speech, one is lost (of 3.9 s); of 52 clips of
#: noise, music, rooms and silence, 36 are known for what they are. The detector's own 0.5 would lose short digits.
ANYBODY = 0.35
#: What very short clips need around them to be judged, and the loudness to which quiet ones are raised.
_AROUND_S, _LEVEL = 0.5, 0.5
#: How many chunks are judged before looking whether that is enough: half a second.
_AT_ONCE = 16


def anybody_speaks(waveform: Waveform) -> bool:
    """Whether there is speech anywhere in a 16 kHz waveform, as it is or raised to a common loudness between two stretches of silence.

    Most clips are decided by their first second or two, so this is far cheaper than :func:`speech`.
    """
    loudest = float(np.abs(waveform).max(initial=0.0))
    if not loudest:
        return False
    silence = np.zeros(round(_AROUND_S * SAMPLE_RATE), dtype=np.float32)
    return _heard(waveform) or _heard(np.concatenate([silence, waveform * np.float32(_LEVEL / loudest), silence]))


def _heard(waveform: Waveform) -> bool:
    detector, step = Detector(), _AT_ONCE * CHUNK_SAMPLES
    whole = np.pad(waveform, (0, -len(waveform) % CHUNK_SAMPLES))
    return any(detector.judge(whole[first : first + step]).max() >= ANYBODY for first in range(0, len(whole), step))


def spans(probabilities: Probabilities, samples: int) -> list[Span]:
    """Join chunks to stretches of speech in a waveform of ``samples`` samples, and pad them."""
    gap, shortest = (round(seconds * SAMPLE_RATE) for seconds in (_SHORTEST_GAP_S, _SHORTEST_SPEECH_S))
    joined: list[Span] = []
    for span in _loud(probabilities):
        if joined and span.start - joined[-1].end < gap:
            joined[-1] = Span(joined[-1].start, span.end)
        else:
            joined.append(span)
    return _padded([span for span in joined if span.end - span.start >= shortest], samples)


def _loud(probabilities: Probabilities) -> Iterator[Span]:
    """Runs of chunks from the first that is surely speech to the last before one that surely is not."""
    start: int | None = None
    for index, probability in enumerate(probabilities):
        if start is None and probability >= _ON:
            start = index
        elif start is not None and probability < _OFF:
            yield Span(start * CHUNK_SAMPLES, index * CHUNK_SAMPLES)
            start = None
    if start is not None:
        yield Span(start * CHUNK_SAMPLES, len(probabilities) * CHUNK_SAMPLES)


def _padded(found: list[Span], samples: int) -> list[Span]:
    if not found:
        return []
    padding = round(_PADDING_S * SAMPLE_RATE)
    starts, ends = [span.start for span in found], [span.end for span in found]
    room_before = [starts[0], *((start - end) // 2 for start, end in zip(starts[1:], ends, strict=False))]
    room_after = [*room_before[1:], samples]
    return [
        Span(start - min(padding, before), min(end + min(padding, after), samples))
        for start, end, before, after in zip(starts, ends, room_before, room_after, strict=True)
    ]
