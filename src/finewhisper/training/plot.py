"""The loss and the error rates of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewhisper.training import scoring

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

LOSS, MACRO = "#8a8f98", "#111827"
#: Of the rates, in turn.
COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#b45309", "#0e7490", "#be185d", "#4d7c0f")


def plot_training(log: Sequence[dict[str, Any]], target: Path, metric: str = "auto") -> None:
    """Draw Trainer's log to a PNG; loss on the left axis, percent on the right."""
    from matplotlib.figure import Figure  # the object interface needs no display and keeps no global state

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    losses = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    handles = axes.plot(*zip(*losses, strict=True), color=LOSS, label="training loss") if losses else []
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_ylim(bottom=0)
    scored = [(entry["step"], found) for entry in log if (found := scoring.logged(entry))]
    if scored:
        percent = axes.twinx()
        handles += _rates(percent, scored, metric)
        percent.set_ylabel("error rate (%)")
        percent.set_ylim(bottom=0)
    axes.spines["top"].set_visible(False)
    axes.legend(handles=handles, frameon=False)
    figure.savefig(target, dpi=120)


def _rates(axes: Axes, scored: Sequence[tuple[int, scoring.Scores]], metric: str) -> list[Line2D]:
    """Both rates of a single development set; of several, the one that each counts by, and their macro average."""
    several = scoring.by_set(scored[0][1])
    shown = {f"{name}/{unit}": f"{unit.upper()}, {name}" for name, rates in several.items() for unit in [scoring.chosen(rates, metric)]}
    shown = shown or {unit: f"{unit.upper()}, development set" for unit in ("wer", "cer") if unit in scored[0][1]}
    handles = []
    for index, (key, label) in enumerate(shown.items()):
        points = [(step, found[key]) for step, found in scored]
        handles += axes.plot(*zip(*points, strict=True), color=COLOURS[index % len(COLOURS)], marker="o", label=label)
    if several:
        points = [(step, found[scoring.MACRO]) for step, found in scored]
        handles += axes.plot(*zip(*points, strict=True), color=MACRO, linewidth=2.5, label="macro average")
    return handles
