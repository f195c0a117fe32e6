"""Several models on several sets of speech: a matrix of error rates, each with its interval and how it differs from the first model.

What was gained on one set is worth little without what was lost on the others, so they are shown together.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

from finewhisper.scoring.rates import REPLICATIONS, SEED, Interval
from finewhisper.scoring.scores import Score, bounds, finite
from finewhisper.scoring.sets import SpeechSet
from finewhisper.terminal import table


@dataclass(frozen=True)
class ModelScores:
    """One model on every set: a row of the matrix."""

    name: str
    setting: str  #: engine, precision and context that the rates were made with
    scores: tuple[Score, ...]


@dataclass(frozen=True)
class Matrix:
    """Error rates of models (rows; the first is what the others are compared with) on sets (columns)."""

    sets: tuple[SpeechSet, ...]
    rows: tuple[ModelScores, ...]

    def change(self, row: ModelScores, column: int) -> Interval | None:
        """The interval of a rate minus the first model's, in points; None for the first model itself."""
        first = self.rows[0]
        return None if row is first else row.scores[column].since(first.scores[column])

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
                intervals = [*(score["interval"] or ["", ""]), *(score["change"] or ["", ""])]
                counts = [score["errors"], score["reference_units"]]
                writer.writerow([row.name, speech.name, score["score"], score["percent"], *intervals, *counts])
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
            f"{speech.name}: {score.signature}"
            for row in self.rows
            for speech, score in zip(self.sets, row.scores, strict=True)
            if score.signature
        ]
        return list(dict.fromkeys(signed))

    def headings(self) -> list[str]:
        """Each set's name with that of its score."""
        return [f"{speech.name} {score.name}" for speech, score in zip(self.sets, self.rows[0].scores, strict=True)]

    def _texts(self, row: ModelScores) -> list[str]:
        texts = []
        for column, score in enumerate(row.scores):
            around, change = score.interval, self.change(row, column)
            arrow = "" if change is None or change.low <= 0 <= change.high else " ↑" if change.low > 0 else " ↓"
            texts.append(f"{score.percent:.1f}" + (f" ({around.low:.1f}–{around.high:.1f})" if around else "") + arrow)
        return texts

    def _score(self, row: ModelScores, column: int) -> dict[str, Any]:
        score = row.scores[column]
        return {
            "score": score.name,
            "percent": finite(score.percent, 3),
            "interval": bounds(score.interval, 3),
            "change": bounds(self.change(row, column), 3),
            "errors": score.rate.errors,
            "reference_units": score.rate.reference_units,
        } | ({"signature": score.signature} if score.signature else {})
