"""How good a model's times are: whether they come in pairs that run forward, and how far they are from given ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import mean, median
from typing import Any

from finewhisper.audio import Seconds
from finewhisper.manifest import Utterance
from finewhisper.scoring.rates import align
from finewhisper.transcript import Transcript

#: A time this near to the given one is called right.
NEAR_S: Seconds = 0.2


@dataclass(frozen=True)
class Times:
    """The times of one utterance, or of many.

    Boundaries are the starts and ends of phrases. This is our own measure: the normalised texts of the manifest's ``sentences`` and of
    the model's segments are aligned, and a given boundary is compared with a boundary of the model that stands at the same place
    between the aligned words. Where the model marks none there, or heard nothing of the phrase, there is nothing to compare.
    """

    windows: int  #: decoded windows with text
    well_timed: int  #: of them, those whose times are pairs that run forward
    given: int  #: boundaries in the manifest
    errors_s: tuple[Seconds, ...]  #: distances of the boundaries that could be compared

    @property
    def well_timed_percent(self) -> float | None:
        return 100.0 * self.well_timed / self.windows if self.windows else None

    @property
    def mean_s(self) -> Seconds | None:
        return mean(self.errors_s) if self.errors_s else None

    @property
    def median_s(self) -> Seconds | None:
        return median(self.errors_s) if self.errors_s else None

    @property
    def near_percent(self) -> float | None:
        """Percent of the compared boundaries within :data:`NEAR_S`."""
        return 100.0 * sum(error_s <= NEAR_S for error_s in self.errors_s) / len(self.errors_s) if self.errors_s else None

    def json(self) -> dict[str, Any]:
        """As in ``result.json``; null where there is nothing to divide by."""
        return {
            "windows": self.windows,
            "well_timed": self.well_timed,
            "well_timed_percent": _rounded(self.well_timed_percent),
            "boundaries": self.given,
            "compared": len(self.errors_s),
            "mean_error_s": _rounded(self.mean_s),
            "median_error_s": _rounded(self.median_s),
            "within_0.2_s_percent": _rounded(self.near_percent),
        }


def times(utterance: Utterance, heard: Transcript, normalizer: Callable[[str], str], *, spaced: bool) -> Times:
    """Judge the times of one transcript.

    Args:
        spaced: align words; else characters.
    """
    said = [_Phrase(one.start_s, one.end_s, _tokens(normalizer(one.text), spaced)) for one in utterance.sentences or ()]
    said = [phrase for phrase in said if phrase.tokens]
    written = [_Phrase(one.start_s, one.end_s, _tokens(normalizer(one.text), spaced)) for one in heard.segments]
    return Times(len(heard.well_timed), sum(heard.well_timed), 2 * len(said), tuple(_errors(said, written)))


def together(found: Iterable[Times | None]) -> Times | None:
    """The times of a set of utterances; None where none was asked for."""
    known = [one for one in found if one is not None]
    if not known:
        return None
    errors_s = tuple(error_s for one in known for error_s in one.errors_s)
    return Times(sum(one.windows for one in known), sum(one.well_timed for one in known), sum(one.given for one in known), errors_s)


@dataclass(frozen=True)
class _Phrase:
    start_s: Seconds
    end_s: Seconds
    tokens: list[str]


def _tokens(text: str, spaced: bool) -> list[str]:
    return text.split() if spaced else list("".join(text.split()))


def _errors(said: Sequence[_Phrase], heard: Sequence[_Phrase]) -> list[Seconds]:
    """The distances of given boundaries from the model's at the same place in the text, the nearest where there are several."""
    places = _places([token for phrase in said for token in phrase.tokens], [token for phrase in heard for token in phrase.tokens])
    ends = list(accumulate(len(phrase.tokens) for phrase in said))
    heard_ends = list(accumulate(len(phrase.tokens) for phrase in heard))
    errors_s: list[Seconds] = []
    for phrase, end in zip(said, ends, strict=True):
        first, last = places[end - len(phrase.tokens)], places[end]
        if last[0] == first[1]:  # nothing of it was heard
            continue
        starts = [one.start_s for one, at in zip(heard, heard_ends, strict=True) if first[0] <= at - len(one.tokens) <= first[1]]
        closes = [one.end_s for one, at in zip(heard, heard_ends, strict=True) if last[0] <= at <= last[1]]
        errors_s += [min(abs(at_s - phrase.start_s) for at_s in starts)] if starts else []
        errors_s += [min(abs(at_s - phrase.end_s) for at_s in closes)] if closes else []
    return [round(error_s, 3) for error_s in errors_s]


def _places(said: Sequence[str], heard: Sequence[str]) -> list[tuple[int, int]]:
    """For each place between the words of ``said``, from before the first to after the last, the first and last such place of ``heard``."""
    first, last = [0], [0]
    for edit in align(" ".join(said), " ".join(heard), "word"):
        if edit.operation == "insert":
            last[-1] += len(edit.hypothesis)
        else:
            step = 0 if edit.operation == "delete" else 1
            for _ in edit.reference:
                first.append(last[-1] + step)
                last.append(first[-1])
    return list(zip(first, last, strict=True))


def printed(now: Times | None, before: Times | None) -> list[tuple[str, ...]]:
    """The lines of the printed table, its headings first; none where no times were asked for."""
    if now is None:
        return []
    headings = ("times", "windows", "in pairs", "given", "compared", "mean error", "median", f"within {NEAR_S:g} s")
    return [headings, *([("baseline", *_cells(before))] if before else []), ("this model", *_cells(now))]


def _cells(one: Times) -> tuple[str, ...]:
    return (
        str(one.windows),
        _or_dash(one.well_timed_percent, "{:.1f} %"),
        str(one.given),
        str(len(one.errors_s)),
        _or_dash(one.mean_s, "{:.2f} s"),
        _or_dash(one.median_s, "{:.2f} s"),
        _or_dash(one.near_percent, "{:.1f} %"),
    )


def _or_dash(value: float | None, text: str) -> str:
    return "–" if value is None else text.format(value)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
