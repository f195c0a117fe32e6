"""The last touch to a clip's segments: nothing empty, times in order, no runaway repetition."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import replace

from finewhisper.audio import Seconds
from finewhisper.transcript import Segment, Word

#: Text that compresses better than this repeats itself (Radford et al. 2022, section 4.5).
LOOP_RATIO = 2.4
#: How often a phrase has to stand in a row, and how long it may be, to be a loop: anything from a syllable to a sentence.
_TIMES, _LONGEST_UNIT = 4, 200


def finish(segments: Iterable[Segment], duration_s: Seconds) -> tuple[Segment, ...]:
    """Drop empty and looping text, and keep times monotone and inside ``duration_s``; nothing else is changed."""
    finishing = Finishing()
    return (*finishing.take(segments, duration_s), *finishing.rest())


class Finishing:
    """:func:`finish` for a clip that is heard stretch by stretch: what comes out is the same wherever it is cut."""

    def __init__(self) -> None:
        self._run: list[tuple[Segment, Seconds]] = []  # equal texts in a row, which may turn out to be a loop; the first is given out
        self._earliest_s: Seconds = 0.0

    def take(self, segments: Iterable[Segment], duration_s: Seconds) -> list[Segment]:
        """The next segments, none of which ends after ``duration_s``; those that repeat the one before them are held back."""
        finished = []
        for segment in segments:
            if not segment.text.strip():
                continue
            if self._run and segment.text.strip() == self._run[0][0].text.strip():
                self._run.append((segment, duration_s))
                continue
            finished += self.rest()
            self._run = [(segment, duration_s)]
            finished.append(self._finished(segment, duration_s))
        return finished

    def rest(self) -> list[Segment]:
        """What was held back, unless it compresses as only loops do; a long sentence compresses as much when it is said twice."""
        run, self._run = self._run, []
        looping = len(run) >= _TIMES and compression_ratio(" ".join(segment.text for segment, _ in run)) > LOOP_RATIO
        return [] if looping else [self._finished(segment, duration_s) for segment, duration_s in run[1:]]

    def _finished(self, segment: Segment, duration_s: Seconds) -> Segment:
        start_s = min(max(segment.start_s, self._earliest_s), duration_s)
        self._earliest_s = end_s = min(max(segment.end_s, start_s), duration_s)
        text = without_loop(segment.text.strip())
        return replace(segment, text=text, start_s=start_s, end_s=end_s, words=_words(segment.words, text, start_s, end_s))


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
