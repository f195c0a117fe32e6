"""The matrix of error rates as a picture: a group of bars for each set, a bar for each model."""

from __future__ import annotations

from pathlib import Path

from finewhisper.scoring.matrix import Matrix

#: The first model in grey, the others from light to dark.
FIRST, LIGHT, DARK = "#8a8f98", (0.996, 0.843, 0.667), (0.604, 0.204, 0.071)


def plot(matrix: Matrix, target: Path) -> None:
    """Draw to a PNG, with the 95 % intervals as whiskers. Needs matplotlib."""
    from matplotlib.figure import Figure  # the object interface needs no display and keeps no global state

    sets, rows = len(matrix.sets), len(matrix.rows)
    figure = Figure(figsize=(max(6.0, 1.6 + sets * (0.5 + 0.28 * rows)), 4.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / rows
    for place, row in enumerate(matrix.rows):
        rates = [score.percent for score in row.scores]
        bounds = [score.interval for score in row.scores]
        below = [rate - found.low if found else 0.0 for rate, found in zip(rates, bounds, strict=True)]
        above = [found.high - rate if found else 0.0 for rate, found in zip(rates, bounds, strict=True)]
        lefts = [column + (place - (rows - 1) / 2) * width for column in range(sets)]
        axes.bar(lefts, rates, width * 0.92, color=_colour(place, rows), label=row.name)
        axes.errorbar(lefts, rates, yerr=[below, above], fmt="none", ecolor="#3f3f46", elinewidth=0.8)
    axes.set_xticks(range(sets), matrix.headings())
    axes.set_ylabel("error rate (%)")
    axes.set_ylim(bottom=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(target, dpi=120)


def _colour(place: int, rows: int) -> str | tuple[float, ...]:
    if place == 0:
        return FIRST
    share = 1.0 if rows == 2 else (place - 1) / (rows - 2)
    return tuple(light + share * (dark - light) for light, dark in zip(LIGHT, DARK, strict=True))
