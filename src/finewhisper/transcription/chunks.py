"""A recording as windows for the engine, of which only a stretch is in memory at a time.

A whole waveform is planned at once. A stream of pieces is planned in chunks of some minutes: the last window of a chunk, which the next
piece may belong to, goes into the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, Seconds, Waveform
from finewhisper.transcription.vad import Span
from finewhisper.transcription.windows import plan

#: A recording in memory, or its pieces in order.
Clip = Waveform | Iterable[Waveform]

#: How much of a stream is planned at once: long enough that its seams do not matter, 38 MB.
_CHUNK_S: Seconds = 600.0
#: What is kept of a chunk without speech: the next piece may begin in the middle of a word.
_KEPT_S: Seconds = 1.0


@dataclass(frozen=True)
class Window:
    """A stretch of a recording that is decoded at once."""

    waveform: Waveform
    start: int  #: its first sample in the recording

    @property
    def end(self) -> int:
        return self.start + len(self.waveform)

    def part(self, span: Span) -> Window:
        """A stretch of it, in samples from its start."""
        return Window(self.waveform[span.start : span.end], self.start + span.start)

    def alone(self) -> Window:
        """A copy: a slice keeps all that it is a slice of in memory."""
        return Window(self.waveform.copy(), self.start)


@dataclass(frozen=True)
class Chunk:
    """What is planned at once."""

    windows: list[Window]
    end: int  #: samples of the recording up to here
    last: bool


def chunks(clip: Clip, vad: bool | None, longest_s: Seconds) -> Iterator[Chunk]:
    """Plan a recording; at least one chunk comes, and the last says so.

    Args:
        vad: as in :func:`finewhisper.transcription.windows.plan`.
    """
    if isinstance(clip, np.ndarray):
        yield Chunk([Window(clip, 0).part(span) for span in plan(clip, vad, longest_s)], len(clip), last=True)
        return
    held, pieces, waiting = Window(np.zeros(0, np.float32), 0), list[Waveform](), 0
    long = False
    for piece in clip:
        pieces.append(piece)
        waiting += len(piece)
        if len(held.waveform) + waiting < _CHUNK_S * SAMPLE_RATE:
            continue
        long = True
        chunk = Window(np.concatenate([held.waveform, *pieces]), held.start)
        windows = [chunk.part(span) for span in plan(chunk.waveform, vad, longest_s)]
        keep_from = chunk.end - round(_KEPT_S * SAMPLE_RATE)
        if windows and windows[-1].end > keep_from:  # somebody may go on speaking
            keep_from = windows.pop().start
        yield Chunk([window.alone() for window in windows], keep_from, last=False)
        held, pieces, waiting = chunk.part(Span(keep_from - chunk.start, len(chunk.waveform))).alone(), [], 0
    rest = Window(np.concatenate([held.waveform, *pieces]), held.start)
    judged = True if vad is None and long else vad  # the end of a long recording is not a short one
    yield Chunk([rest.part(span) for span in plan(rest.waveform, judged, longest_s)], rest.end, last=True)


class SlidingReader:
    """A recording that is read from front to back, of which what lies behind is forgotten."""

    def __init__(self, clip: Clip) -> None:
        self._pieces: Iterator[Waveform] = iter([clip] if isinstance(clip, np.ndarray) else clip)
        self._held = Window(np.zeros(0, np.float32), 0)

    def window(self, start: int) -> Window:
        """Up to 30 s from ``start`` on, which never goes back; fewer at the recording's end, none after it."""
        wanted = start + WINDOW_S * SAMPLE_RATE
        pieces = [self._held.waveform[start - self._held.start :]]
        end = self._held.end
        while end < wanted:
            piece = next(self._pieces, None)
            if piece is None:
                break
            pieces.append(piece)
            end += len(piece)
        self._held = Window(np.concatenate(pieces) if len(pieces) > 1 else pieces[0], start)
        return self._held.part(Span(0, wanted - start))
