"""The last touch to a clip's segments: nothing empty, times in order, no runaway repetition."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from finewhisper.audio import Seconds
from finewhisper.transcript import Segment, Word

#: Text that compresses better than this repeats itself (Radford et al. 2022, section 4.5).
LOOP_RATIO = 2.4
#: How often a phrase has to stand in a row, and how long it may be, to be a loop: anything from a syllable to a sentence.
_TIMES, _LONGEST_UNIT = 4, 200


def finish(segments: Iterable[Segment], duration_s: Seconds) -> tuple[Segment, ...]:
    """Drop empty and looping text, and keep times monotone and inside ``duration_s``; nothing else is changed."""
    finished: list[Segment] = []
    for segment in without_repeats([segment for segment in segments if segment.text.strip()]):
        earliest = finished[-1].end_s if finished else 0.0
        start_s = min(max(segment.start_s, earliest), duration_s)
        end_s = min(max(segment.end_s, start_s), duration_s)
        text = without_loop(segment.text.strip())
        words = _words(segment.words, text, start_s, end_s)
        finished.append(replace(segment, text=text, start_s=start_s, end_s=end_s, words=words))
    return tuple(finished)


def _words(words: Iterable[Word], text: str, start_s: Seconds, end_s: Seconds) -> tuple[Word, ...]:
    """The words that are still in the text, inside its times."""
    kept: list[Word] = []
    room = _letters(text)
    for word in words:
        room -= _letters(word.text)
        if room < 0:
            break
        begin_s = min(max(word.start_s, kept[-1].end_s if kept else start_s), end_s)
        kept.append(replace(word, start_s=begin_s, end_s=min(max(word.end_s, begin_s), end_s)))
    return tuple(kept)


def _letters(text: str) -> int:
    return sum(not character.isspace() for character in text)


def compression_ratio(text: str) -> float:
    """Bytes before over bytes after zlib; ordinary sentences are below 2, endless repetition is far above."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def without_loop(text: str) -> str:
    """Keep one of a phrase that fills the end of a text four times or more, where the text also compresses as only loops do.

    Both have to hold, so that people may laugh, count or sing: "ha ha ha ha" stays, forty of them do not. A decoder that loops goes on
    until its tokens run out, so the last repetition may be a fragment.
    """
    if compression_ratio(text) <= LOOP_RATIO:
        return text
    for unit in range(1, min(_LONGEST_UNIT, len(text) // _TIMES) + 1):
        periodic = _periodic_tail(text, unit)
        if periodic >= _TIMES * unit:
            return text[: len(text) - periodic + unit].strip()
    return text


def _periodic_tail(text: str, unit: int) -> int:
    """How many characters at the end of a text repeat with a period of ``unit`` characters, the first period included."""
    at = len(text) - 1
    while at >= unit and text[at] == text[at - unit]:
        at -= 1
    return len(text) - 1 - at + unit


def without_repeats(segments: Sequence[Segment]) -> list[Segment]:
    """Keep the first of a run of equal segments that compresses as only loops do."""
    kept: list[Segment] = []
    run: list[Segment] = []
    for segment in segments:
        if run and segment.text.strip() != run[0].text.strip():
            kept += _unlooped(run)
            run = []
        run.append(segment)
    return kept + _unlooped(run)


def _unlooped(run: list[Segment]) -> list[Segment]:
    looping = len(run) > 1 and compression_ratio(" ".join(segment.text for segment in run)) > LOOP_RATIO
    return run[:1] if looping else run
