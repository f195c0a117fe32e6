"""Sets of utterances, and by whose rules they are scored: the language that is named, else what the first model to hear them detects."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from finewhisper import manifest
from finewhisper.errors import ManifestError, UsageError
from finewhisper.language import language_code, scoring_languages
from finewhisper.manifest import Utterance
from finewhisper.progress import note
from finewhisper.scoring.rates import Comparison, Unit, compare
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import UNSPACED, Task, Transcript, written_language

UnitChoice = Literal["auto", "word", "character"]


@dataclass(frozen=True)
class SpeechSet:
    """Utterances under a short name: a column of the matrix."""

    name: str
    utterances: tuple[Utterance, ...]
    language: str | None = None  #: of all utterances, in place of their own
    settled: tuple[str, ...] = ()  #: by whose rules each utterance is scored, once a model has detected what nobody named
    skipped: tuple[str, ...] = ()  #: a sentence for each clip that was left out

    @property
    def languages(self) -> list[str | None]:
        """Each utterance's language code; None where it is for the model to detect."""
        spoken = [self.language or utterance.language for utterance in self.utterances]
        return [language_code(language) if language else None for language in spoken]

    @property
    def scored_as(self) -> Sequence[str | None]:
        """The language by whose rules each utterance is scored; None where it is not known yet."""
        return self.settled or self.languages

    @property
    def detected(self) -> set[str]:
        """The languages that were detected where none was named and something was heard."""
        return {code for code, named in zip(self.settled, self.languages, strict=False) if named is None and code}

    def settle(self, heard: Sequence[Transcript]) -> SpeechSet:
        """The set with languages by whose rules it is scored: where none was named, those that the first model to hear it detected.

        Every model after it is scored by the same rules, else their error rates would be of different references.
        """
        if self.settled:
            return self
        found = [(transcript.language, transcript.language_probability) for transcript in heard]
        return replace(self, settled=tuple(scoring_languages(self.languages, found)))

    def scored_like(self, compared: Sequence[Comparison]) -> SpeechSet:
        """The set scored from now on by the rules that ``compared`` was scored by."""
        if self.settled or None not in self.languages:
            return self
        return replace(self, settled=tuple(pair.language or "en" for pair in compared))

    def unit(self, choice: UnitChoice = "auto", task: Task = "transcribe") -> Unit:
        """What is counted; auto: characters where any utterance's language is written without spaces, else words.

        Raises:
            UsageError: words are to be counted where there are none, as the languages that are named say.
        """
        named = sorted(UNSPACED.intersection(written_language(language, task) or "" for language in self.languages))
        if choice == "word" and named:
            raise UsageError(f"--unit word: {self.name} holds {', '.join(named)}, written without spaces; use --unit auto or character")
        unspaced = UNSPACED.intersection(written_language(language, task) or "" for language in self.scored_as)
        return "character" if unspaced or choice == "character" else "word"


def read_sets(
    paths: Sequence[Path], limit: int | None = None, *, language: str | None = None, skip_bad: bool = False
) -> tuple[SpeechSet, ...]:
    """Manifests as sets, every clip of which can be decoded.

    Args:
        language: of all utterances, in place of their own.
        skip_bad: leave out clips that cannot be decoded, naming them, instead of refusing the manifest.

    Raises:
        ManifestError: one that cannot be used, with all its problems.
    """
    sets = []
    for name, path in zip(short_names(paths), paths, strict=True):
        utterances = manifest.read(path)[:limit]
        problems = manifest.check(utterances, path, decode=True)
        bad = {int(problem.removeprefix(f"{path}:").partition(":")[0]) for problem in problems}
        usable = [utterance for utterance in utterances if utterance.line not in bad]
        if problems and not (skip_bad and usable):
            step = "none is left" if skip_bad else "correct or remove these lines, or leave them out with --skip-bad"
            raise ManifestError(f"{path}: {len(bad)} of {len(utterances)} clips cannot be used; {step}", problems)
        if problems:
            note(f"{path}: left out {len(bad)} of {len(utterances)} clips:\n" + "\n".join(problems))
        sets.append(SpeechSet(name, tuple(usable), language, skipped=tuple(problems)))
    return tuple(sets)


def short_names(paths: Sequence[Path]) -> list[str]:
    """Names that tell paths apart: without their endings and without the folders that all have in common."""
    plain = [path.absolute().with_suffix("") if path.suffix == ".jsonl" else path.absolute() for path in paths]
    if len({path.name for path in plain}) == len(plain):
        return [path.name for path in plain]
    common = os.path.commonpath([str(path.parent) for path in plain])
    return [path.relative_to(common).as_posix() for path in plain]


def compare_heard(
    speech: SpeechSet,
    heard: Sequence[Transcript],
    task: Task = "transcribe",
    normalizer: Callable[[str | None], Normalizer] = Normalizer.for_language,
) -> list[Comparison]:
    """Compare what was heard in each utterance with what was said, by the rules of the language that it is scored as."""
    pairs = [(utterance.sentence, transcript.text) for utterance, transcript in zip(speech.utterances, heard, strict=True)]
    return compare(pairs, [written_language(language, task) for language in speech.settle(heard).settled], normalizer)
