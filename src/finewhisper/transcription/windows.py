"""Where to cut audio that is longer than a model can hear at once.

Stretches of speech are packed into windows, and a window ends in the longest pause of its last fifth; where a speaker does not pause
at all, it ends in the quietest moment. Audio between windows is not decoded: no model can invent text for it.
"""

from __future__ import annotations

import numpy as np

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, Seconds, Waveform
from finewhisper.transcription.vad import Span, anybody_speaks, speech

#: The longest window that is planned: a little silence after it tells a model that nothing is cut off there.
LONGEST_S: Seconds = WINDOW_S - 2.0
#: The same for a model that has learnt short contexts and pays for the audio alone: shorter windows cost less attention, and give times
#: to models that write none. On four minutes of joined captions windows of 28 s took 1.7 times as long, at the same error rate.
LONGEST_TRIMMED_S: Seconds = 10.0
#: The same for a model that has not, but need not be given 30 s: contexts of 24 s take two thirds of the time, and whisper-base made no
#: more errors in them on 40 minutes of recordings; in shorter ones it made a few more.
LONGEST_UNTAUGHT_S: Seconds = 23.0
#: A window is cut no earlier than after this share of its length, so that a full context is not spent on a few words.
_EARLIEST = 0.8
#: Less speech than this after a model's last word is taken for the imprecision of its times.
_LEFT_OVER_S = 1.0
#: A window of which less than this has been heard brings next to nothing: no model may keep the program at one place.
LEAST_S: Seconds = 1.0
#: The stretch over which loudness is taken when a cut has to be made within speech.
_QUIET_S = 0.1


def plan(waveform: Waveform, vad: bool | None, longest_s: Seconds = LONGEST_S) -> list[Span]:
    """Cut a 16 kHz waveform into windows, in order: one that is longer than 30 s, into windows of up to ``longest_s``.

    Args:
        vad: leave out what is not speech; None: in clips longer than 30 s, while shorter ones are whole where anybody speaks in them, and
            not decoded where nobody does; False: decode everything.
    """
    whole = Span(0, len(waveform))
    if not whole.end:
        return []
    if whole.duration_s <= WINDOW_S and not vad:
        return [whole] if vad is False or anybody_speaks(waveform) else []
    vad = vad is not False
    found = speech(waveform) if vad else [whole]
    return pack([piece for span in found for piece in cut_quietly(waveform, span, longest_s)], longest_s)


def left_over(waveform: Waveform, window: Span, heard_until_s: Seconds) -> list[Span]:
    """Windows over speech that a model left at the end of a window.

    A model that writes times often closes its last whole sentence, well before its 30 s end, and leaves the rest to "the next window":
    so were its training data cut. Windows that share no audio would lose that speech.

    Args:
        window: what the model was given, in ``waveform``.
        heard_until_s: where its last segment ended, seconds from the start of the window.
    """
    start = window.start + round(heard_until_s * SAMPLE_RATE)
    if window.end - start < _LEFT_OVER_S * SAMPLE_RATE:
        return []
    found = [Span(start + span.start, start + span.end) for span in speech(waveform[start : window.end])]
    return pack(found) if sum(span.duration_s for span in found) >= _LEFT_OVER_S else []


def pack(pieces: list[Span], longest_s: Seconds = LONGEST_S) -> list[Span]:
    """Join pieces, none longer than a window, into windows that end in long pauses."""
    windows: list[Span] = []
    first = 0
    while first < len(pieces):
        last = _last(pieces, first, longest_s)
        windows.append(Span(pieces[first].start, pieces[last].end))
        first = last + 1
    return windows


def _last(pieces: list[Span], first: int, longest_s: Seconds) -> int:
    """The piece that ends the window which begins with ``first``."""

    def length_s(index: int) -> Seconds:
        return (pieces[index].end - pieces[first].start) / SAMPLE_RATE

    fitting = first
    while fitting + 1 < len(pieces) and length_s(fitting + 1) <= longest_s:
        fitting += 1
    if fitting + 1 == len(pieces):
        return fitting
    candidates = [index for index in range(first, fitting + 1) if length_s(index) >= _EARLIEST * longest_s] or [fitting]
    return max(candidates, key=lambda index: (pieces[index + 1].start - pieces[index].end, index))


def cut_quietly(waveform: Waveform, span: Span, longest_s: Seconds = LONGEST_S) -> list[Span]:
    """Cut a span that is longer than a window where the waveform is quietest."""
    pieces = []
    start = span.start
    while (span.end - start) / SAMPLE_RATE > longest_s:
        cut = _quietest(waveform, start + round(_EARLIEST * longest_s * SAMPLE_RATE), start + round(longest_s * SAMPLE_RATE))
        pieces.append(Span(start, cut))
        start = cut
    return [*pieces, Span(start, span.end)]


def _quietest(waveform: Waveform, start: int, end: int) -> int:
    """The middle of the quietest tenth of a second between two samples."""
    width = round(_QUIET_S * SAMPLE_RATE)
    energy = np.cumsum(np.square(waveform[start:end], dtype=np.float64))
    return start + int(np.argmin(energy[width:] - energy[:-width])) + width // 2
