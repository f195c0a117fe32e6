"""The loss and the error rates of a run as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

LOSS, WER, CER = "#8a8f98", "#c2410c", "#1d4ed8"


def plot_training(log: Sequence[dict[str, Any]], target: Path) -> None:
    """Draw Trainer's log (``step``, ``loss``, ``eval_wer``, ``eval_cer``) to a PNG; loss on the left axis, percent on the right."""
    from matplotlib.figure import Figure  # the object interface needs no display and keeps no global state

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    losses = [(entry["step"], entry["loss"]) for entry in log if "loss" in entry]
    handles = axes.plot(*zip(*losses, strict=True), color=LOSS, label="training loss") if losses else []
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_ylim(bottom=0)
    scored = [entry for entry in log if "eval_wer" in entry]
    if scored:
        percent = axes.twinx()
        for name, colour in (("wer", WER), ("cer", CER)):
            points = [(entry["step"], entry[f"eval_{name}"]) for entry in scored]
            label = f"{name.upper()}, development set"
            handles += percent.plot(*zip(*points, strict=True), color=colour, marker="o", label=label)
        percent.set_ylabel("error rate (%)")
        percent.set_ylim(bottom=0)
    axes.spines["top"].set_visible(False)
    axes.legend(handles=handles, frameon=False)
    figure.savefig(target, dpi=120)
