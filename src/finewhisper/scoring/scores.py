"""The error rate of a set of utterances with its interval and its signature: the one value that all verbs score with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finewhisper import __version__
from finewhisper.scoring.rates import NAMES, Comparison, ErrorRate, Interval, Unit, difference, interval, total, utterance_rates
from finewhisper.scoring.text import Normalizer


@dataclass(frozen=True)
class Score:
    """How many errors there are in what was heard of a set, utterance by utterance, in one unit.

    Attributes:
        unit: what is counted, "word" or "character".
        rates: the errors in each utterance.
        signature: what the score must be quoted with; scores of other signatures are not comparable.
        before: the same utterances, heard by the model that this one is compared with.
    """

    unit: Unit
    rates: tuple[ErrorRate, ...]
    signature: str = ""
    before: Score | None = None

    @classmethod
    def of(cls, compared: Iterable[Comparison], unit: Unit, signature: str = "") -> Score:
        """Utterances counted in ``unit``, which is characters where one of them has no words."""
        return cls(unit, tuple(pair.words if pair.words and unit == "word" else pair.characters for pair in compared), signature)

    @property
    def name(self) -> str:
        """WER or CER."""
        return NAMES[self.unit]

    @cached_property
    def rate(self) -> ErrorRate:
        """The counts of the whole set."""
        return total(self.rates, self.unit)

    @property
    def percent(self) -> float:
        """Errors per hundred words or characters of the references."""
        return self.rate.percent

    @cached_property
    def interval(self) -> Interval | None:
        """How far the rate may be from that of all speech of its kind: 95 %, in percent, by bootstrap over utterances."""
        return interval(self.rates)

    @cached_property
    def difference(self) -> Interval | None:
        """This rate minus that of :attr:`before`, in percentage points: the paired 95 % interval."""
        return None if self.before is None else self.since(self.before)

    def since(self, other: Score) -> Interval | None:
        """As :attr:`difference`, from any score of the same utterances."""
        return difference(other.rates, self.rates)

    @property
    def relative(self) -> float | None:
        """Change against :attr:`before` in percent of its rate; negative is better."""
        if self.before is None or not 0 < self.before.percent < float("inf"):
            return None
        return 100.0 * (self.percent / self.before.percent - 1)

    def json(self) -> dict[str, Any]:
        """As in ``result.json`` of one model on one manifest; null where a rate is not finite."""
        content: dict[str, Any] = {
            "percent": finite(self.percent),
            "errors": self.rate.errors,
            "substitutions": self.rate.substitutions,
            "deletions": self.rate.deletions,
            "insertions": self.rate.insertions,
            "reference_units": self.rate.reference_units,
            "interval": bounds(self.interval),
        }
        if self.before is not None:
            change = {"relative_change": finite(self.relative), "difference_interval": bounds(self.difference)}
            content["baseline"] = self.before.json() | change
        return content

    def __float__(self) -> float:
        """The rate as a fraction, as other libraries return it: 0.05 for 5 %."""
        return self.percent / 100

    def __str__(self) -> str:
        around = "" if self.interval is None else f", 95 % interval {self.interval}"
        return f"{self.rate}{around}" + (f"\n{self.signature}" if self.signature else "")


def error_rate(references: Sequence[str], hypotheses: Sequence[str], unit: Unit, normalizer: Callable[[str], str]) -> Score:
    """Normalise raw texts and score them pairwise.

    Args:
        normalizer: a :class:`Normalizer`, or any function, whose name then stands in the signature.

    Raises:
        ValueError: there are not as many of the one as of the other.
    """
    rates = utterance_rates(map(normalizer, references), map(normalizer, hypotheses), unit)
    steps = str(normalizer) if isinstance(normalizer, Normalizer) else getattr(normalizer, "__name__", type(normalizer).__name__)
    return Score(unit, tuple(rates), signature(unit, steps))


def signature(
    unit: Unit,
    normalizers: str,
    *,
    decoding: str | None = None,
    engine: str | None = None,
    manifest_sha256: str | None = None,
    limit: int | None = None,
    skipped: int = 0,
) -> str:
    """What a score must be quoted with: two scores are comparable where all but the engine and version agree.

    Args:
        normalizers: the steps that texts were normalised with.
        decoding: how text was made from audio; None: the texts were given.
        engine: with its precision; None: it is what the score is about.
        limit: utterances that were taken from the manifest's start; None: all.
        skipped: clips that were left out.
    """
    parts = [
        NAMES[unit],
        f"normalize:{normalizers}",
        *([f"decoding:{decoding}"] if decoding is not None else []),
        *([f"engine:{engine}"] if engine is not None else []),
        f"finewhisper {__version__}",
        *([f"manifest:{manifest_sha256[:12]}"] if manifest_sha256 is not None else []),
        *([f"first:{limit}"] if limit is not None else []),
        *([f"skipped:{skipped}"] if skipped else []),
    ]
    return "|".join(parts)


def bounds(found: Interval | None, digits: int = 4) -> list[float] | None:
    """An interval as in JSON files."""
    return None if found is None else [round(found.low, digits), round(found.high, digits)]


def finite(value: float | None, digits: int = 4) -> float | None:
    """A rate as in JSON files; None where silence alone was said and something heard: the rate is infinite then."""
    return None if value is None or value == float("inf") else round(value, digits)
