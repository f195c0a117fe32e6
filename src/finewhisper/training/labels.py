"""From what is said in a window to what the decoder reads and what it must write.

The decoder reads the prompt and the text; it must write the text, shifted by one, and the end token. The prompt carries no loss
(``IGNORED``). A window without speech must be recognised as such at ``<|startoftranscript|>`` and end at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from finewhisper.audio import WINDOW_S, Seconds
from finewhisper.language import language_code
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.transcript import Task, join_texts
from finewhisper.vocabulary import IGNORED, MAX_TOKENS, Vocabulary

#: Tokens around a text: start, language, task, "no timestamps" or the first time, and the end.
PROMPT_AND_END = 5


class Placed(NamedTuple):
    """An utterance and where its window has it."""

    utterance: Utterance  #: its ``duration_s`` is known
    start_s: Seconds


@dataclass(frozen=True)
class Labels:
    """One window's token ids: ``inputs[i]`` is read when ``targets[i]`` must be written."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True)
class Labeller:
    """Labels windows, each in a style that is drawn at random with the shares given.

    Times are known where lines have ``sentences``, and at the joints of windows that hold several clips.
    """

    vocabulary: Vocabulary
    task: Task = "transcribe"
    language: str | None = None  #: of all utterances; None: each line's own
    timestamps: float = 0.0  #: share of the windows with known times that are taught with them
    previous_text: float = 0.0  #: share of the windows with a known predecessor that are shown its text
    languages: tuple[str | None, ...] = ()  #: to choose from for windows in which nobody speaks

    def __call__(self, placed: Sequence[Placed], rng: np.random.Generator, previous: Utterance | None = None) -> Labels:
        """The labels of a window; none ``placed`` means that nobody speaks.

        Raises:
            UsageError: the model has no such language or task.
        """
        timed = rng.random() < self.timestamps and (len(placed) > 1 or any(item.utterance.sentences for item in placed))
        prompted = rng.random() < self.previous_text and previous is not None
        language = self._language(placed, rng)
        text = self._timed(placed) if timed else self._plain(placed, language)
        prompt = self._prompt(language, len(text), timed=timed, previous=previous.sentence if previous and prompted else "")
        return assemble(prompt, text, self.vocabulary)

    def for_languages(self, utterances: Iterable[Utterance]) -> Labeller:
        """The same, where windows without speech are of the languages of ``utterances``."""
        return replace(self, languages=tuple(sorted({utterance.language or "en" for utterance in utterances})))

    def longest(self, utterance: Utterance) -> int:
        """The most tokens that an utterance's text and times can have."""
        plain = self._plain([Placed(utterance, 0.0)], self.language or utterance.language)
        timed = self._timed([Placed(utterance, 0.0)]) if self.timestamps and utterance.sentences else []
        return max(len(plain) + 2, len(timed))

    def _language(self, placed: Sequence[Placed], rng: np.random.Generator) -> str | None:
        if placed:
            return self.language or placed[0].utterance.language
        return self.language or (self.languages[int(rng.integers(len(self.languages)))] if self.languages else None)

    def _prompt(self, language: str | None, text_tokens: int, *, timed: bool, previous: str) -> list[int]:
        """The prompt, with as much of the previous text's end as leaves room for the text."""
        bare = self.vocabulary.prompt(language, self.task, timestamps=timed)
        whole = self.vocabulary.prompt(language, self.task, timestamps=timed, previous=previous)
        earlier = whole[: len(whole) - len(bare)]
        room = MAX_TOKENS - len(bare) - text_tokens - 1
        kept = min(len(earlier) - 1, room - 1)
        return [*earlier[:1], *earlier[len(earlier) - kept :], *bare] if kept > 0 else bare

    def _plain(self, placed: Sequence[Placed], language: str | None) -> list[int]:
        code = language_code(language) if language else "en"
        return self.vocabulary.encode_text(join_texts([item.utterance.sentence for item in placed], code), language)

    def _timed(self, placed: Sequence[Placed]) -> list[int]:
        tokens, latest = list[int](), self.vocabulary.timestamp(0.0)
        for utterance, start_s in placed:
            for sentence in _sentences(utterance):
                text = self.vocabulary.encode_text(sentence.text, self.language or utterance.language)
                begin, end = (self.vocabulary.timestamp(min(start_s + at_s, WINDOW_S)) for at_s in (sentence.start_s, sentence.end_s))
                begin = max(begin, latest)  # rounded times may overlap a little, and Whisper's never go back
                latest = max(begin, end)
                tokens += [begin, *text, latest]
        return tokens


def assemble(prompt: list[int], text: list[int], vocabulary: Vocabulary) -> Labels:
    """Put prompt and text together; the text and the end carry the loss, or where there is no text, that nobody speaks."""
    tokens = [*prompt, *text, vocabulary.end_of_text]
    targets = [IGNORED] * (len(prompt) - 1) + tokens[len(prompt) :]
    if not text:
        targets[prompt.index(vocabulary.start_of_transcript)] = vocabulary.no_speech
    return Labels(tuple(tokens[:-1]), tuple(targets))


def _sentences(utterance: Utterance) -> Sequence[TimedSentence]:
    """The utterance's timed sentences; where it has none, it is one from beginning to end."""
    if utterance.sentences is not None:
        return utterance.sentences
    return [TimedSentence(0.0, utterance.duration_s or 0.0, utterance.sentence)] if utterance.sentence.strip() else []
