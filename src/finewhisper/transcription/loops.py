"""Which transcripts of a window are not to be trusted, and which of several attempts to keep: the same for all engines.

Whisper's authors decode a window again, with a higher temperature each time, where its text repeats itself or is too unlikely (Radford et
al. 2022, section 4.5). Here a loop is decoded again. An unlikely text is not: on short accented clips what chance made of it was worse
(docs/transcribe.md has the figures). Unlikely text in what sounds like silence to the model is dropped by every engine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

from finewhisper.engines.base import LOGPROB_THRESHOLD
from finewhisper.transcript import Transcript
from finewhisper.transcription.finishing import LOOP_RATIO, compression_ratio, could_be_spoken

#: Five of the same phrase of two to twelve words in a row: where they are long, they compress less than LOOP_RATIO.
_PHRASE_LOOP = re.compile(r"\b((?:\w+\W+){2,12}?)\1{4}")


def repeats(text: str) -> bool:
    """Whether a text repeats itself as decoders do that loop, and people now and then."""
    return compression_ratio(text) > LOOP_RATIO or _PHRASE_LOOP.search(text.casefold() + " ") is not None


def loops(heard: Transcript) -> bool:
    """Whether the text of a window repeats itself as only a decoder does: without an end, or in times in which nobody speaks."""
    return repeats(heard.text) and (heard.cut_off or not could_be_spoken(heard.segments))


def logprob(transcript: Transcript) -> float | None:
    """The mean log-probability of a window's text; None where the engine does not tell."""
    known = [segment.avg_logprob for segment in transcript.segments if segment.avg_logprob is not None]
    return fmean(known) if known else None


def best(attempts: Sequence[Transcript]) -> Transcript:
    """Of attempts at one window with rising temperature: the first that is neither a loop nor unlikely.

    Else the likeliest that is no loop; else the first, which is the least by chance.
    """
    straight = [attempt for attempt in attempts if not loops(attempt)]
    likely = [attempt for attempt in straight if (logprob(attempt) or 0.0) >= LOGPROB_THRESHOLD]
    return (likely or [max(straight, key=lambda attempt: logprob(attempt) or 0.0, default=attempts[0])])[0]
