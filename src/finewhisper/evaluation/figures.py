"""The charts and tables of the report, each from one question about the rows."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from finewhisper.evaluation import charts
from finewhisper.evaluation.charts import Line, Series
from finewhisper.evaluation.curves import Curves
from finewhisper.evaluation.result import Evaluation, named
from finewhisper.evaluation.scores import Row
from finewhisper.evaluation.timing import Times
from finewhisper.scoring.rates import Unit, align
from finewhisper.scoring.scores import Score

_BUCKETS = ("0", *(f"≤{upper}" for upper in range(10, 101, 10)), ">100")
_LENGTH_GROUPS = 5
_CONFUSIONS = 12
_LONGEST_CONFUSION = 40  # characters; a loop of a hundred words is no confusion of one word with another
_TIME_EDGES_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_KINDS = (("substitutions", "sub"), ("deletions", "del"), ("insertions", "ins"))


@dataclass(frozen=True)
class Figure:
    """A chart with what it shows and how to read it."""

    title: str
    svg: str
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()  #: names and the CSS classes of their colours


@dataclass(frozen=True)
class Confusion:
    """What was said and what was heard instead, and how often; empty text for nothing."""

    said: str
    heard: str
    times: int


def row_unit(row: Row, unit: str) -> Unit:
    """What a row is judged by: words where there are any, unless characters are asked for."""
    return row.rate(unit).unit


def figures(evaluation: Evaluation, curves: Curves) -> list[Figure]:
    """The report's charts; those without data are left out."""
    rows, before = evaluation.rows, evaluation.before
    unit = evaluation.config.unit
    made = [
        Figure("Error rate of the utterances", _histogram(rows, before, unit)),
        Figure("Error rate by length of the clip", _by_length(rows, before, unit), "Five groups of as many utterances each."),
        *[Figure(f"Kinds of errors in {name}", _kinds(name, score), "", _KINDS) for name, score in named(evaluation.everything).items()],
        Figure("Distance from the given times", _time_errors(evaluation), "Of the starts and ends that could be compared."),
        Figure("Error rate by margin", _by_margin(evaluation), "Silence after each clip that the encoder sees."),
        Figure("Training loss", charts.lines("Training loss by step", [Line("loss", "now", curves.loss)], "training step")),
        Figure(
            "Error rate on the dev set while training",
            charts.lines(
                "Error rate on the dev set by step",
                [Line("WER", "now", curves.wer), Line("CER", "other", curves.cer)],
                "training step",
                " %",
            ),
        ),
    ]
    return [figure for figure in made if figure.svg]


def confusions(rows: Sequence[Row], unit: str) -> list[Confusion]:
    """The most frequent errors, at least two of a kind."""
    counted: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if not row.rate(unit).errors:
            continue
        for edit in align(row.normalized_reference, row.normalized_hypothesis, row_unit(row, unit)):
            if edit.operation == "substitute":
                counted.update(zip(edit.reference, edit.hypothesis, strict=True))
            elif edit.operation == "delete":
                counted.update((token, "") for token in edit.reference)
            elif edit.operation == "insert":
                counted.update(("", token) for token in edit.hypothesis)
    common = counted.most_common(_CONFUSIONS)
    return [Confusion(said[:_LONGEST_CONFUSION], heard[:_LONGEST_CONFUSION], times) for (said, heard), times in common if times > 1]


def _series(now: Sequence[float], then: Sequence[float] | None) -> list[Series]:
    base = [] if then is None else [Series("baseline", "then", then)]
    return [*base, Series("this model", "now", now)]


def _histogram(rows: Sequence[Row], before: Sequence[Row] | None, unit: str) -> str:
    def counts(group: Sequence[Row]) -> list[float]:
        found = Counter(_bucket(row.rate(unit).percent) for row in group)
        return [found[index] for index in range(len(_BUCKETS))]

    series = _series(counts(rows), None if before is None else counts(before))
    return charts.bars("Number of utterances by their error rate", _BUCKETS, series, "error rate of the utterance, %")


def _bucket(percent: float) -> int:
    """0, then steps of 10 up to 100, then the rest."""
    return 0 if percent == 0 else len(_BUCKETS) - 1 if percent > 100 else int(-(-percent // 10))


def _by_length(rows: Sequence[Row], before: Sequence[Row] | None, unit: str) -> str:
    order = sorted((index for index, row in enumerate(rows) if row.rate(unit).reference_units), key=lambda index: rows[index].duration_s)
    if len(order) < 2 * _LENGTH_GROUPS:
        return ""
    edges = [len(order) * group // _LENGTH_GROUPS for group in range(_LENGTH_GROUPS + 1)]
    members = [order[first:last] for first, last in pairwise(edges)]
    labels = [f"{rows[group[0]].duration_s:.1f}–{rows[group[-1]].duration_s:.1f} s" for group in members]

    def rates(scored: Sequence[Row]) -> list[float]:
        return [_percent([scored[index] for index in group], unit) for group in members]

    series = _series(rates(rows), None if before is None else rates(before))
    return charts.bars("Error rate by length of the clip", labels, series, "length of the clip", " %")


def _time_errors(evaluation: Evaluation) -> str:
    def shares(times: Times | None) -> list[float] | None:
        if times is None or not times.errors_s:
            return None
        found = Counter(bisect_left(_TIME_EDGES_S, error_s) for error_s in times.errors_s)
        return [100.0 * found[index] / len(times.errors_s) for index in range(len(_TIME_EDGES_S) + 1)]

    now = shares(evaluation.times)
    if now is None:
        return ""
    labels = [*(f"≤{edge_s:g} s" for edge_s in _TIME_EDGES_S), f">{_TIME_EDGES_S[-1]:g} s"]
    return charts.bars("Distance from the given times", labels, _series(now, shares(evaluation.times_before)), "distance", " %")


def _by_margin(evaluation: Evaluation) -> str:
    if evaluation.sweep is None:
        return ""
    *trimmed, full = evaluation.sweep.trials
    points = [(trial.context.margin_s, trial.score.percent) for trial in trimmed]
    level = [(x, full.score.percent) for x in (0.0, points[-1][0])]
    curves = [Line("30 s windows", "other", level), Line("trimmed", "now", points)]
    return charts.lines("Error rate by margin", curves, "margin, s", " %")


def _percent(rows: Sequence[Row], unit: str) -> float:
    """Errors per reference unit, words and characters of different languages together."""
    rates = [row.rate(unit) for row in rows]
    return 100.0 * sum(rate.errors for rate in rates) / max(sum(rate.reference_units for rate in rates), 1)


def _kinds(name: str, score: Score) -> str:
    scores = ([("baseline", score.before)] if score.before else []) + [("this model" if score.before else name, score)]
    rows = []
    for label, one in scores:
        per_unit = 100.0 / max(one.rate.reference_units, 1)
        rows.append((label, [(kind, style, getattr(one.rate, kind) * per_unit) for kind, style in _KINDS]))
    return charts.stacks(f"Kinds of errors in {name}, percent", rows, " %")
