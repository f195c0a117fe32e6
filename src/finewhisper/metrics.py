"""Error rates with a signature, so that two numbers are compared only when they were made alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer

from finewhisper.text import Normalizer

Unit = Literal["word", "character"]


@dataclass(frozen=True)
class Edit:
    """A run of the alignment: ``reference`` and ``hypothesis`` tokens that belong together."""

    operation: str  #: "equal", "substitute", "delete" or "insert"
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


@dataclass(frozen=True)
class ErrorRate:
    """Counts over a set of utterances; ``percent`` is errors per reference unit.

    Insertions count, so more than 100 % is possible. Utterances whose reference is empty (no speech) contribute insertions only.
    """

    unit: Unit
    substitutions: int
    deletions: int
    insertions: int
    reference_units: int

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float:
        """Not a number where there is nothing to compare with and nothing was inserted either: 0."""
        if not self.reference_units:
            return 0.0 if not self.errors else float("inf")
        return 100.0 * self.errors / self.reference_units

    def __str__(self) -> str:
        name = "WER" if self.unit == "word" else "CER"
        return (
            f"{name} {self.percent:.2f} % ({self.substitutions} sub, {self.deletions} del, {self.insertions} ins of {self.reference_units})"
        )


def units(text: str, unit: Unit) -> list[str]:
    """Split normalised text into words or characters; spaces count as characters between words."""
    return text.split() if unit == "word" else list(text.strip())


def align(reference: str, hypothesis: str, unit: Unit) -> list[Edit]:
    """The edits of a minimal alignment (Levenshtein, by jiwer and rapidfuzz) of two normalised texts."""
    expected, heard = units(reference, unit), units(hypothesis, unit)
    if not expected:  # jiwer refuses empty references, which here mean "no speech"
        return [Edit("insert", (), tuple(heard))] if heard else []
    measured = _process([expected], [heard])
    return [
        Edit(chunk.type, tuple(expected[chunk.ref_start_idx : chunk.ref_end_idx]), tuple(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]))
        for chunk in measured.alignments[0]
    ]


def error_rate(references: Sequence[str], hypotheses: Sequence[str], unit: Unit, normalizer: Normalizer) -> ErrorRate:
    """Score raw texts, pairwise, over the whole set (errors summed before dividing)."""
    pairs = [(units(normalizer(r), unit), units(normalizer(h), unit)) for r, h in zip(references, hypotheses, strict=True)]
    spoken = [(reference, hypothesis) for reference, hypothesis in pairs if reference]
    invented = sum(len(hypothesis) for reference, hypothesis in pairs if not reference)
    if not spoken:
        return ErrorRate(unit, 0, 0, invented, 0)
    measured = _process([reference for reference, _ in spoken], [hypothesis for _, hypothesis in spoken])
    return ErrorRate(
        unit, measured.substitutions, measured.deletions, measured.insertions + invented, sum(len(reference) for reference, _ in spoken)
    )


def _process(references: list[list[str]], hypotheses: list[list[str]]) -> jiwer.WordOutput:
    """jiwer on tokens that are split already: joined by a private character, and split there again.

    jiwer's own character mode strips and joins spaces in ways that depend on its version; this way one path serves both units.
    """
    joined = jiwer.Compose([jiwer.ReduceToListOfListOfWords(word_delimiter=_SEPARATOR)])
    return jiwer.process_words(
        [_SEPARATOR.join(tokens) for tokens in references],
        [_SEPARATOR.join(tokens) for tokens in hypotheses],
        reference_transform=joined,
        hypothesis_transform=joined,
    )


_SEPARATOR = "\x1f"  # the ASCII unit separator: no transcript holds it
