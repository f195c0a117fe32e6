"""From a sentence to what the decoder reads and what it must write.

The decoder reads the prompt and the text; it must write the text, shifted by one, and the end token. The prompt carries no loss
(``IGNORED``). An utterance without speech must be recognised as such at ``<|startoftranscript|>`` and end at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from finewhisper.manifest import Utterance
from finewhisper.transcript import Task
from finewhisper.vocabulary import IGNORED, Vocabulary


@dataclass(frozen=True)
class Labels:
    """One utterance's token ids: ``inputs[i]`` is read when ``targets[i]`` must be written."""

    inputs: tuple[int, ...]
    targets: tuple[int, ...]


def build(utterance: Utterance, vocabulary: Vocabulary, language: str | None, task: Task, *, timestamps: bool) -> Labels:
    """Labels for an utterance; with ``timestamps``, lines that have ``sentences`` get their times.

    Raises:
        UsageError: the model has no such language or task.
    """
    language = language or utterance.language
    timed = timestamps and bool(utterance.sentences)
    prompt = vocabulary.prompt(language, task, timestamps=timed)
    text = _timed_tokens(utterance, vocabulary, language) if timed else vocabulary.encode_text(utterance.sentence, language)
    tokens = [*prompt, *text, vocabulary.end_of_text]
    targets = [IGNORED] * (len(prompt) - 1) + tokens[len(prompt) :]
    if not text:
        targets[prompt.index(vocabulary.start_of_transcript)] = vocabulary.no_speech
    return Labels(tuple(tokens[:-1]), tuple(targets))


def _timed_tokens(utterance: Utterance, vocabulary: Vocabulary, language: str | None) -> list[int]:
    tokens = []
    for sentence in utterance.sentences or ():
        text = vocabulary.encode_text(sentence.text, language)
        tokens += [vocabulary.timestamp(sentence.start_s), *text, vocabulary.timestamp(sentence.end_s)]
    return tokens
