"""What the copies of a model say, beside what their source says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from finewhisper.audio import Seconds
from finewhisper.scoring.rates import REPLICATIONS, SEED, Interval
from finewhisper.scoring.scores import Score, bounds, finite
from finewhisper.terminal import table

#: The bar for a copy in 8 bits: how many points its error rate may be from the source's.
EIGHT_BIT_POINTS = 0.5
_EXACT = frozenset({"float32", "f32", "fp32"})
_EIGHT_BITS = ("int8", "q8")


@dataclass(frozen=True)
class Heard:
    """A set through one model."""

    name: str
    engine: str
    precision: str  #: that the weights are stored in, where the folder says so; else that the engine computes in
    texts: tuple[str, ...]  #: as written, not normalised
    score: Score
    seconds: Seconds  #: of decoding, audio files read included, the model's loading not
    size: int  #: bytes of the folder's weights

    @property
    def percent(self) -> float:
        return self.score.percent


@dataclass(frozen=True)
class Difference:
    """A copy beside its source."""

    copy: Heard
    source: Heard

    @property
    def utterances(self) -> int:
        """How many have another text, down to the last comma."""
        return sum(one != other for one, other in zip(self.source.texts, self.copy.texts, strict=True))

    @property
    def points(self) -> float:
        """The copy's error rate minus the source's."""
        return self.copy.percent - self.source.percent

    @property
    def interval(self) -> Interval | None:
        """The paired 95 % interval of :attr:`points`."""
        return self.copy.score.since(self.source.score)

    @property
    def expected(self) -> str | None:
        """What is asked of the copy's precision; None where only a look is wanted."""
        if self.copy.precision in _EXACT:
            return "differs in 0"
        return f"within {EIGHT_BIT_POINTS} points" if self.copy.precision.startswith(_EIGHT_BITS) else None

    @property
    def met(self) -> bool:
        """Whether it is what is expected."""
        if self.copy.precision in _EXACT:
            return self.utterances == 0
        return self.expected is None or abs(self.points) <= EIGHT_BIT_POINTS + 1e-9

    def json(self) -> dict[str, Any]:
        """One of ``copies`` in the JSON file; rates in percent."""
        return {
            **_json(self.copy),
            "utterances_differing": self.utterances,
            "source_error": finite(self.source.percent),
            "difference_interval": bounds(self.interval),
            "expected": self.expected,
            "met": self.met,
        }


@dataclass(frozen=True)
class Parity:
    """The value of ``finewhisper parity``."""

    source: Heard
    copies: tuple[Heard, ...]

    @property
    def differences(self) -> list[Difference]:
        return [Difference(copy, self.source) for copy in self.copies]

    @property
    def missed(self) -> list[str]:
        """The copies that are not what is expected of them."""
        return [found.copy.name for found in self.differences if not found.met]

    @property
    def score(self) -> str:
        return self.source.score.name

    @property
    def signature(self) -> str:
        """Of all the scores: it names no engine, for those are what differs."""
        return self.source.score.signature

    def json(self) -> dict[str, Any]:
        """The figures for programs."""
        return {
            "copies": [found.json() for found in self.differences],
            "source": _json(self.source),
            "score": self.score,
            "signature": self.signature,
            "met": not self.missed,
            "bootstrap": {"replications": REPLICATIONS, "seed": SEED, "level": 0.95},
        }

    def __str__(self) -> str:
        headings = ("", "engine", "precision", "MB", "seconds", "texts differing", f"{self.score} %", "source %", "difference", "")
        count = len(self.source.texts)
        rows = [headings, (*_cells(self.source), "–", f"{self.source.percent:.2f}", "–", "–", "")]
        for found in self.differences:
            around = "–" if found.interval is None else str(found.interval)
            rates = (f"{found.copy.percent:.2f}", f"{self.source.percent:.2f}", around)
            verdict = "" if found.expected is None else f"as expected ({found.expected})" if found.met else f"MISSED: {found.expected}"
            rows.append((*_cells(found.copy), f"{found.utterances} of {count}", *rates, verdict))
        return "\n".join([*table(rows, left=(0, 1, 2, len(headings) - 1)), self.signature])


def _cells(heard: Heard) -> tuple[str, ...]:
    return (heard.name, heard.engine, heard.precision, f"{heard.size / 1e6:.1f}", f"{heard.seconds:.1f}")


def _json(heard: Heard) -> dict[str, Any]:
    return {
        "name": heard.name,
        "engine": heard.engine,
        "precision": heard.precision,
        "error": finite(heard.percent),
        "utterances": len(heard.texts),
        "seconds": round(heard.seconds, 2),
        "bytes": heard.size,
    }
