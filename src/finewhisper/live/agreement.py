"""Which words of a running utterance will stay: those that two hypotheses in a row agree on.

This is LocalAgreement-2 of Macháček, Dabre and Bojar, "Turning Whisper into Real-Time Transcription System" (2023), on a window that
always begins with the utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from finewhisper.audio import Seconds


@dataclass(frozen=True)
class LiveWord:
    """A word with what stands before it in its text, a space in most languages, and its times in the session."""

    text: str
    start_s: Seconds
    end_s: Seconds

    @property
    def key(self) -> str:
        """What two hypotheses are compared by: a sentence's end moves its punctuation and capitals while it grows."""
        return "".join(filter(str.isalnum, self.text)).casefold() or self.text.strip()


class Agreement:
    """The words of one utterance, as hypotheses about more and more of it come in.

    Attributes:
        confirmed: words that will not change.
    """

    def __init__(self) -> None:
        self.confirmed: tuple[LiveWord, ...] = ()
        self._rest: tuple[LiveWord, ...] = ()

    @property
    def words(self) -> tuple[LiveWord, ...]:
        """All words of the last hypothesis, the confirmed ones as they were confirmed."""
        return self.confirmed + self._rest

    @property
    def settled(self) -> bool:
        """Whether all words are confirmed."""
        return not self._rest

    def hear(self, hypothesis: Sequence[LiveWord]) -> None:
        """Confirm what agrees with the hypothesis before."""
        rest = self._beyond(hypothesis)
        pairs = zip(self._rest, rest, strict=False)
        agreed = len(list(takewhile(lambda pair: pair[0].key == pair[1].key, pairs)))
        self.confirmed += rest[:agreed]
        self._rest = rest[agreed:]

    def _beyond(self, hypothesis: Sequence[LiveWord]) -> tuple[LiveWord, ...]:
        """The words after the confirmed ones: by their number where they are the same, else by their times."""
        count = len(self.confirmed)
        until_s = self.confirmed[-1].end_s if self.confirmed else 0.0
        if [word.key for word in hypothesis[:count]] == [word.key for word in self.confirmed]:
            later = tuple(hypothesis[count:])
        else:
            later = _separated(tuple(word for word in hypothesis if (word.start_s + word.end_s) / 2 > until_s))
        return tuple(replace(word, start_s=max(word.start_s, until_s), end_s=max(word.end_s, until_s)) for word in later)


def _separated(words: tuple[LiveWord, ...]) -> tuple[LiveWord, ...]:
    """Words that go on with a text: the first one has a space if the others have."""
    if len(words) < 2 or words[0].text[:1].isspace() or not words[1].text[:1].isspace():
        return words
    return (replace(words[0], text=f" {words[0].text}"), *words[1:])
