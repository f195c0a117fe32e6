"""Several models on several sets of speech: a matrix of error rates, each with its interval and how it differs from the first model.

What was gained on one set is worth little without what was lost on the others, so they are shown together.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finewhisper import manifest
from finewhisper.engines import Engine
from finewhisper.errors import ManifestError, UsageError
from finewhisper.language import language_code, scoring_languages
from finewhisper.manifest import Utterance
from finewhisper.metrics import NAMES, REPLICATIONS, SEED, Comparison, ErrorRate, Interval, Unit, compare, difference, interval, total
from finewhisper.progress import note, track
from finewhisper.scoring import UnitChoice
from finewhisper.terminal import table
from finewhisper.text import Normalizer
from finewhisper.transcript import UNSPACED, DecodeOptions, Task, Transcript, written_language
from finewhisper.transcription.transcriber import Transcriber


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
        """The languages that were detected where none was named."""
        return {code for code, named in zip(self.settled, self.languages, strict=False) if named is None}

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


@dataclass(frozen=True)
class Cell:
    """The rates of one model on one set, utterance by utterance, in one unit."""

    unit: Unit
    rates: tuple[ErrorRate, ...]
    signature: str = ""  #: what the rates were made with, but for their name

    @classmethod
    def of(cls, heard: Sequence[Comparison], unit: Unit, signature: str = "") -> Cell:
        """What :func:`hear` found, counted in ``unit``."""
        return cls(unit, tuple(pair.words if pair.words and unit == "word" else pair.characters for pair in heard), signature)

    @property
    def rate(self) -> ErrorRate:
        return total(self.rates, self.unit)

    @property
    def interval(self) -> Interval | None:
        return interval(self.rates)


@dataclass(frozen=True)
class Row:
    """One model on every set."""

    name: str
    setting: str  #: engine, precision and context that the rates were made with
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """Error rates of models (rows; the first is what the others are compared with) on sets (columns)."""

    sets: tuple[SpeechSet, ...]
    rows: tuple[Row, ...]

    def change(self, row: Row, column: int) -> Interval | None:
        """The interval of a rate minus the first model's, in points; None for the first model itself."""
        first = self.rows[0]
        return None if row is first else difference(first.cells[column].rates, row.cells[column].rates)

    def json(self) -> dict[str, Any]:
        """The matrix with its counts and intervals, for programs."""
        return {
            "sets": [{"name": speech.name, "utterances": len(speech.utterances), "skipped": list(speech.skipped)} for speech in self.sets],
            "models": [
                {
                    "name": row.name,
                    "setting": row.setting,
                    "scores": {speech.name: self._score(row, column) for column, speech in enumerate(self.sets)},
                }
                for row in self.rows
            ],
            "bootstrap": {"replications": REPLICATIONS, "seed": SEED, "level": 0.95},
        }

    def csv(self) -> str:
        """One line for each model and set."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["model", "set", "score", "percent", "low", "high", "change_low", "change_high", "errors", "reference_units"])
        for row in self.rows:
            for column, speech in enumerate(self.sets):
                score = self._score(row, column)
                bounds = [*(score["interval"] or ["", ""]), *(score["change"] or ["", ""])]
                counts = [score["errors"], score["reference_units"]]
                writer.writerow([row.name, speech.name, score["score"], score["percent"], *bounds, *counts])
        return stream.getvalue()

    def markdown(self) -> str:
        """The table with each rate's interval, and an arrow where it surely differs from the first model's."""
        lines = ["| | " + " | ".join(self.headings()) + " |", "|---|" + "---|" * len(self.sets)]
        lines += ["| " + " | ".join([row.name, *self._texts(row)]) + " |" for row in self.rows]
        legend = f"Percent, with 95 % intervals; ↑ and ↓: the paired interval of the difference from {self.rows[0].name} leaves out 0."
        signatures = [f"- `{signature}`" for signature in self.signatures]
        return "\n".join([*lines, "", legend, *(["", *signatures] if signatures else [])])

    def __str__(self) -> str:
        rows = [["", *self.headings()], *[[row.name, *self._texts(row)] for row in self.rows]]
        return "\n".join([*table(rows, left=range(len(rows[0]))), *self.signatures])

    @property
    def signatures(self) -> list[str]:
        """What the rates must be quoted with: one for each model and set, those that agree but for the model once."""
        signed = [
            f"{speech.name}: {NAMES[cell.unit]}|{cell.signature}"
            for row in self.rows
            for speech, cell in zip(self.sets, row.cells, strict=True)
            if cell.signature
        ]
        return list(dict.fromkeys(signed))

    def headings(self) -> list[str]:
        """Each set's name with that of its score."""
        return [f"{speech.name} {NAMES[cell.unit]}" for speech, cell in zip(self.sets, self.rows[0].cells, strict=True)]

    def _texts(self, row: Row) -> list[str]:
        texts = []
        for column, cell in enumerate(row.cells):
            bounds, change = cell.interval, self.change(row, column)
            arrow = "" if change is None or change.low <= 0 <= change.high else " ↑" if change.low > 0 else " ↓"
            texts.append(f"{cell.rate.percent:.1f}" + (f" ({bounds.low:.1f}–{bounds.high:.1f})" if bounds else "") + arrow)
        return texts

    def _score(self, row: Row, column: int) -> dict[str, Any]:
        cell = row.cells[column]
        rate, percent = cell.rate, cell.rate.percent
        return {
            "score": NAMES[cell.unit],
            "percent": round(percent, 3) if percent != float("inf") else None,
            "interval": _pair(cell.interval),
            "change": _pair(self.change(row, column)),
            "errors": rate.errors,
            "reference_units": rate.reference_units,
        } | ({"signature": f"{NAMES[cell.unit]}|{cell.signature}"} if cell.signature else {})


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


def hear(engine: Engine, speech: SpeechSet, options: DecodeOptions) -> list[Comparison]:
    """Decode a set with a model and compare each utterance with what was said, in their order."""
    return compare_heard(speech, transcripts(engine, speech, options), options.task)


def transcripts(engine: Engine, speech: SpeechSet, options: DecodeOptions, *, vad: bool | None = None) -> list[Transcript]:
    """What a model hears in each utterance, in their order."""
    clips = (utterance.waveform() for utterance in speech.utterances)
    heard = Transcriber(engine, options, vad=vad).transcribe_clips(clips, languages=speech.languages)
    return list(track(heard, speech.name, len(speech.utterances), "clips"))


def compare_heard(
    speech: SpeechSet,
    heard: Sequence[Transcript],
    task: Task = "transcribe",
    normalizer: Callable[[str | None], Normalizer] = Normalizer.for_language,
) -> list[Comparison]:
    """Compare what was heard in each utterance with what was said, by the rules of the language that it is scored as."""
    pairs = [(utterance.sentence, transcript.text) for utterance, transcript in zip(speech.utterances, heard, strict=True)]
    return compare(pairs, [written_language(language, task) for language in speech.settle(heard).settled], normalizer)


def setting(engine: Engine) -> str:
    """What, beside the weights, makes an engine's scores: its name, precision and context."""
    return f"{engine.name} {engine.precision}, context:{engine.context.name}"


def _pair(found: Interval | None) -> list[float] | None:
    return None if found is None else [round(found.low, 3), round(found.high, 3)]
