"""Several models on several sets of speech: a matrix of error rates, each with its interval and how it differs from the first model.

What was gained on one set is worth little without what was lost on the others, so they are shown together.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from finewhisper import manifest
from finewhisper.engines import Engine
from finewhisper.errors import ManifestError, UsageError
from finewhisper.manifest import Utterance
from finewhisper.metrics import NAMES, REPLICATIONS, SEED, Comparison, ErrorRate, Interval, Unit, compare, difference, interval, total
from finewhisper.progress import track
from finewhisper.text import Normalizer
from finewhisper.transcribe.transcriber import Transcriber
from finewhisper.transcript import UNSPACED, DecodeOptions, written_language
from finewhisper.vocabulary import language_code

UnitChoice = Literal["auto", "word", "character"]


@dataclass(frozen=True)
class SpeechSet:
    """Utterances under a short name: a column of the matrix."""

    name: str
    utterances: tuple[Utterance, ...]
    language: str | None = None  #: of all utterances, in place of their own

    @property
    def languages(self) -> list[str | None]:
        """Each utterance's language code."""
        spoken = [self.language or utterance.language for utterance in self.utterances]
        return [language_code(language) if language else None for language in spoken]

    def unit(self, choice: UnitChoice = "auto") -> Unit:
        """What is counted; auto: characters where any utterance's language is written without spaces, else words.

        Raises:
            UsageError: words are to be counted where there are none.
        """
        unspaced = sorted(UNSPACED.intersection(filter(None, self.languages)))
        if choice == "word" and unspaced:
            raise UsageError(f"--unit word: {self.name} holds {', '.join(unspaced)}, written without spaces; use --unit auto or character")
        return "character" if unspaced or choice == "character" else "word"


@dataclass(frozen=True)
class Cell:
    """The rates of one model on one set, utterance by utterance, in one unit."""

    unit: Unit
    rates: tuple[ErrorRate, ...]

    @classmethod
    def of(cls, heard: Sequence[Comparison], unit: Unit) -> Cell:
        """What :func:`hear` found, counted in ``unit``."""
        return cls(unit, tuple(pair.words if pair.words and unit == "word" else pair.characters for pair in heard))

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
            "sets": [{"name": speech.name, "utterances": len(speech.utterances)} for speech in self.sets],
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
        return "\n".join([*lines, "", legend])

    def __str__(self) -> str:
        table = [["", *self.headings()], *[[row.name, *self._texts(row)] for row in self.rows]]
        widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table)

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
        }


def read_sets(paths: Sequence[Path], limit: int | None = None) -> tuple[SpeechSet, ...]:
    """Manifests as sets, every clip of which can be decoded.

    Raises:
        ManifestError: one that cannot be used, with all its problems.
    """
    sets = []
    for name, path in zip(short_names(paths), paths, strict=True):
        utterances = manifest.read(path)[:limit]
        problems = manifest.check(utterances, path, decode=True)
        if problems:
            raise ManifestError(f"{path}: {len(problems)} clips cannot be used; correct or remove these lines", problems)
        sets.append(SpeechSet(name, tuple(utterances)))
    return tuple(sets)


def short_names(paths: Sequence[Path]) -> list[str]:
    """Names that tell paths apart: without their endings and without the folders that all have in common."""
    plain = [path.absolute().with_suffix("") if path.suffix == ".jsonl" else path.absolute() for path in paths]
    if len({path.name for path in plain}) == len(plain):
        return [path.name for path in plain]
    common = os.path.commonpath([str(path.parent) for path in plain])
    return [path.relative_to(common).as_posix() for path in plain]


def measure(engine: Engine, speech: SpeechSet, options: DecodeOptions, unit: UnitChoice = "auto") -> Cell:
    """Decode a set with a model and score it, each utterance by the rules of its own language."""
    counted = speech.unit(unit)
    return Cell.of(hear(engine, speech, options), counted)


def hear(engine: Engine, speech: SpeechSet, options: DecodeOptions) -> list[Comparison]:
    """Decode a set with a model and compare each utterance with what was said, in their order."""
    return compare_heard(speech, texts(engine, speech, options), options)


def texts(engine: Engine, speech: SpeechSet, options: DecodeOptions) -> list[str]:
    """What a model writes for each utterance, in their order."""
    clips = (utterance.waveform() for utterance in speech.utterances)
    heard = Transcriber(engine, options).transcribe_clips(clips, languages=speech.languages)
    return [transcript.text for transcript in track(heard, speech.name, len(speech.utterances), "clips")]


def compare_heard(speech: SpeechSet, heard: Sequence[str], options: DecodeOptions) -> list[Comparison]:
    """Compare what was heard in each utterance with what was said."""
    pairs = [(utterance.sentence, text) for utterance, text in zip(speech.utterances, heard, strict=True)]
    return compare(pairs, [written_language(language, options.task) for language in speech.languages], Normalizer.for_language)


def setting(engine: Engine) -> str:
    """What, beside the weights, makes an engine's scores: its name, precision and context."""
    return f"{engine.name} {engine.precision}, context:{engine.context.name}"


def _pair(found: Interval | None) -> list[float] | None:
    return None if found is None else [round(found.low, 3), round(found.high, 3)]
