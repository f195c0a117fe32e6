"""Error rates with counts and bootstrap intervals, so that a difference is reported together with how sure it is.

jiwer aligns; this module counts, sums and resamples. Rates are errors summed over the set divided by reference units summed over the
set, never a mean of utterances' rates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np
import numpy.typing as npt

from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import UNSPACED

Unit = Literal["word", "character"]
NAMES: dict[Unit, str] = {"word": "WER", "character": "CER"}

#: Bootstrap replications, and the seed that makes an interval the same in every run.
REPLICATIONS, SEED = 2000, 0


@dataclass(frozen=True)
class Edit:
    """A run of the alignment: ``reference`` and ``hypothesis`` tokens that belong together."""

    operation: str  #: "equal", "substitute", "delete" or "insert"
    reference: tuple[str, ...]
    hypothesis: tuple[str, ...]


@dataclass(frozen=True)
class ErrorRate:
    """Counts over one utterance or a set of them; ``percent`` is errors per reference unit.

    Insertions count, so more than 100 % is possible. Utterances whose reference is empty (no speech) contribute insertions only.
    """

    unit: Unit
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    reference_units: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def percent(self) -> float:
        """0 where nothing was said and nothing heard; infinite where words were heard in nothing but silence."""
        if not self.reference_units:
            return float("inf") if self.errors else 0.0
        return 100.0 * self.errors / self.reference_units

    def __str__(self) -> str:
        return (
            f"{NAMES[self.unit]} {self.percent:.2f} % "
            f"({self.substitutions} sub, {self.deletions} del, {self.insertions} ins of {self.reference_units})"
        )


@dataclass(frozen=True)
class Comparison:
    """What was said and what was heard in one utterance, both normalised, and the errors between them."""

    reference: str
    hypothesis: str
    words: ErrorRate | None  #: None for languages written without spaces
    characters: ErrorRate
    language: str | None = None  #: of the text, by whose rules it was scored


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, in percent (of a rate) or percentage points (of a difference)."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.2f} … {self.high:.2f}"


def units(text: str, unit: Unit) -> list[str]:
    """Split normalised text into words, or into characters (code points), the spaces between words among them as in jiwer."""
    return text.split() if unit == "word" else list(text.replace(_SEPARATOR, " ").strip())


def align(reference: str, hypothesis: str, unit: Unit) -> list[Edit]:
    """The edits of a minimal alignment (Levenshtein, by jiwer and rapidfuzz) of two normalised texts."""
    expected, heard = units(reference, unit), units(hypothesis, unit)
    return [
        Edit(chunk.type, tuple(expected[chunk.ref_start_idx : chunk.ref_end_idx]), tuple(heard[chunk.hyp_start_idx : chunk.hyp_end_idx]))
        for chunk in _align_all([expected], [heard])[0]
    ]


def utterance_rates(references: Iterable[str], hypotheses: Iterable[str], unit: Unit) -> list[ErrorRate]:
    """Score normalised texts pair by pair; 100 000 sentences of 12 words take about 5 s."""
    expected = [units(reference, unit) for reference in references]
    heard = [units(hypothesis, unit) for hypothesis in hypotheses]
    if len(expected) != len(heard):
        raise ValueError(f"{len(expected)} references, but {len(heard)} hypotheses")
    return [_counted(chunks, unit, len(tokens)) for chunks, tokens in zip(_align_all(expected, heard), expected, strict=True)]


def total(rates: Iterable[ErrorRate], unit: Unit) -> ErrorRate:
    """The rate of a set: counts summed before dividing."""
    sums = _counts(rates, unit).sum(axis=0)
    return ErrorRate(unit, *(int(value) for value in sums))


def common_unit(words: Iterable[ErrorRate | None], *, characters: bool = False) -> Unit:
    """What a set is counted in as a whole: words, unless an utterance has none or characters are asked for.

    Args:
        words: the word error rate of each utterance; None where its language is written without spaces.
    """
    return "character" if characters or any(rate is None for rate in words) else "word"


def compare(
    texts: Sequence[tuple[str, str]], languages: Sequence[str | None], normalizer: Callable[[str | None], Normalizer]
) -> list[Comparison]:
    """Score (said, heard) pairs of raw text, each by the rules of its own language.

    Args:
        languages: of the text, one for each pair.
        normalizer: the normaliser for a language.
    """
    chosen = [normalizer(language) for language in languages]
    said = [normalize(text) for normalize, (text, _) in zip(chosen, texts, strict=True)]
    heard = [normalize(text) for normalize, (_, text) in zip(chosen, texts, strict=True)]
    words, characters = utterance_rates(said, heard, "word"), utterance_rates(said, heard, "character")
    return [
        Comparison(reference, hypothesis, None if language in UNSPACED else word, character, language)
        for reference, hypothesis, language, word, character in zip(said, heard, languages, words, characters, strict=True)
    ]


def interval(rates: Sequence[ErrorRate]) -> Interval | None:
    """How far the set's rate may lie from that of all speech of its kind.

    The utterances are drawn again with replacement, :data:`REPLICATIONS` times; the middle 95 % of the rates are the interval (Bisani and
    Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004). It takes utterances to be
    independent; with few speakers the truth is wider.

    Returns:
        None where no utterance has reference units.
    """
    return mean_interval([rates])


def mean_interval(sets: Sequence[Sequence[ErrorRate]]) -> Interval | None:
    """As :func:`interval`, of the mean rate over several sets, each of which counts alike whatever its size."""
    if not all(any(rate.reference_units for rate in rates) for rates in sets):
        return None
    return _middle(np.mean([_resampled(rates, SEED + index) for index, rates in enumerate(sets)], axis=0))


def difference(before: Sequence[ErrorRate], after: Sequence[ErrorRate]) -> Interval | None:
    """The interval of ``after`` minus ``before``, in percentage points, over the same utterances in the same order.

    Each replication draws the same utterances for both (the paired bootstrap of Bisani and Ney 2004, section 4), so that what is hard
    for both cancels out. Where the interval leaves out 0, the systems differ.
    """
    return mean_difference([before], [after])


def mean_difference(before: Sequence[Sequence[ErrorRate]], after: Sequence[Sequence[ErrorRate]]) -> Interval | None:
    """As :func:`difference`, of the mean rate over several sets, each of which counts alike whatever its size."""
    changes = []
    for index, (first, second) in enumerate(zip(before, after, strict=True)):
        if [rate.reference_units for rate in first] != [rate.reference_units for rate in second]:
            raise ValueError("the two evaluations are not of the same utterances")
        if not any(rate.reference_units for rate in first):
            return None
        changes.append(_resampled(second, SEED + index) - _resampled(first, SEED + index))  # one seed, so the draws are the same
    return _middle(np.mean(changes, axis=0))


def _resampled(rates: Sequence[ErrorRate], seed: int = SEED) -> npt.NDArray[np.float64]:
    """The set's rate in each replication, percent, shape (replications,); draws without reference units are left out as NaN."""
    generator = np.random.default_rng(seed)
    counts = _counts(rates, rates[0].unit)
    errors, lengths = counts[:, :3].sum(axis=1), counts[:, 3]
    values = np.empty(REPLICATIONS)
    for replication in range(REPLICATIONS):  # one draw at a time: 2000 draws of 100 000 utterances do not fit in memory
        drawn = generator.integers(len(rates), size=len(rates))
        length = lengths[drawn].sum()
        values[replication] = 100.0 * errors[drawn].sum() / length if length else np.nan
    return values


def _middle(values: npt.NDArray[np.float64]) -> Interval:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def _counts(rates: Iterable[ErrorRate], unit: Unit) -> npt.NDArray[np.int64]:
    """Shape (utterances, 4): substitutions, deletions, insertions, reference units."""
    rows = []
    for rate in rates:
        if rate.unit != unit:
            raise ValueError(f"a rate of {rate.unit}s among those of {unit}s")
        rows.append((rate.substitutions, rate.deletions, rate.insertions, rate.reference_units))
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _counted(chunks: list[jiwer.AlignmentChunk], unit: Unit, reference_units: int) -> ErrorRate:
    spans = {"substitute": 0, "delete": 0, "insert": 0, "equal": 0}
    for chunk in chunks:
        spans[chunk.type] += max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
    return ErrorRate(unit, spans["substitute"], spans["delete"], spans["insert"], reference_units)


def _align_all(references: list[list[str]], hypotheses: list[list[str]]) -> list[list[jiwer.AlignmentChunk]]:
    """jiwer on tokens that are split already: joined by a private character, and split there again.

    jiwer's own character mode strips and joins spaces in ways that depend on its version; this way one path serves both units.
    """
    if not references:
        return []
    split = jiwer.Compose([jiwer.ReduceToListOfListOfWords(word_delimiter=_SEPARATOR)])
    measured = jiwer.process_words(
        [_SEPARATOR.join(tokens) for tokens in references],
        [_SEPARATOR.join(tokens) for tokens in hypotheses],
        reference_transform=split,
        hypothesis_transform=split,
    )
    return measured.alignments


_SEPARATOR = "\x1f"  # the ASCII unit separator: no transcript holds it
