"""The last touch to a clip's segments: nothing empty, times in order, no runaway repetition.

People repeat themselves, and announcements are repeated; a decoder that loops does too. What tells them apart stands in one window: a loop
goes on until the tokens run out, faster than anybody speaks, or in times that follow each other like clockwork.
"""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from finewhisper.audio import Seconds
from finewhisper.transcript import Segment, Word

#: Text that compresses better than this repeats itself (Radford et al. 2022, section 4.5).
LOOP_RATIO = 2.4
#: How often a phrase has to stand in a row, and how long it may be, to be a loop: anything from a syllable to a sentence.
_TIMES, _LONGEST_UNIT = 4, 200
#: Letters a second that nobody speaks, in scripts whose letters are sounds and in those whose characters are syllables or words.
_FASTEST, _FASTEST_UNSPACED = 25.0, 12.0
#: A loop's times follow one another without a pause, and each repetition takes as long as the others.
_PAUSE_S: Seconds = 0.1


def finish(segments: Iterable[Segment], duration_s: Seconds, *, cut_off: bool = False) -> tuple[Segment, ...]:
    """Drop empty and looping text of one window, and keep times monotone and inside ``duration_s``; nothing else is changed.

    Args:
        cut_off: the model had not come to an end when its tokens ran out.
    """
    return tuple(Finishing().take(segments, duration_s, cut_off=cut_off))


class Finishing:
    """:func:`finish` for a clip that is heard window by window; what one window says again of another was said again."""

    def __init__(self) -> None:
        self._earliest_s: Seconds = 0.0

    def take(self, segments: Iterable[Segment], duration_s: Seconds, *, cut_off: bool = False) -> list[Segment]:
        """The segments of the next window, none of which ends after ``duration_s``."""
        spoken = [segment for segment in segments if segment.text.strip()]
        return [self._finished(segment, duration_s, cut_off=cut_off) for segment in _without_repetitions(spoken, cut_off=cut_off)]

    def _finished(self, segment: Segment, duration_s: Seconds, *, cut_off: bool) -> Segment:
        start_s = min(max(segment.start_s, self._earliest_s), duration_s)
        self._earliest_s = end_s = min(max(segment.end_s, start_s), duration_s)
        text = segment.text.strip()
        text = without_loop(text) if cut_off or too_fast(segment) else text
        return replace(segment, text=text, start_s=start_s, end_s=end_s, words=_words(segment.words, text, start_s, end_s))


def _without_repetitions(segments: Sequence[Segment], *, cut_off: bool) -> list[Segment]:
    """One of four or more equal segments in a row, where only a decoder that loops writes them."""
    kept: list[Segment] = []
    for _, equal in groupby(segments, key=lambda segment: segment.text.strip()):
        run = list(equal)
        repeats = len(run) >= _TIMES and compression_ratio(" ".join(segment.text for segment in run)) > LOOP_RATIO
        kept += run[:1] if repeats and (cut_off or not could_be_spoken(run)) else run
    return kept


def could_be_spoken(segments: Sequence[Segment]) -> bool:
    """Whether somebody could have said segments at their times.

    That is, no faster than people speak, and where a text is said again and again, with a pause or not always in the same time.
    """
    if any(map(too_fast, segments)):
        return False
    gaps_s = [after.start_s - before.end_s for before, after in pairwise(segments)]
    lengths_s = defaultdict[str, list[Seconds]](list)
    for segment in segments:
        lengths_s[segment.text.strip()].append(segment.end_s - segment.start_s)
    spreads_s = [max(same) - min(same) for same in lengths_s.values() if len(same) > 1]
    return not spreads_s or max(gaps_s) > _PAUSE_S or max(spreads_s) > _PAUSE_S


def too_fast(segment: Segment) -> bool:
    """Whether a text is longer than what can be said in its time."""
    text = segment.text.strip()
    most = _FASTEST_UNSPACED if len(text) > 1 and _UNSPACED_LETTER.search(text) else _FASTEST
    return _letters(text) > most * max(segment.end_s - segment.start_s, 0.5)


#: Chinese, Japanese and Thai, whose texts have no spaces.
_UNSPACED_LETTER = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]")


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
