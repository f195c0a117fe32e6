"""The one progress bar: a rate and the time left on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def bar(description: str, total: float | None, unit: str) -> tqdm:  # type: ignore[type-arg]
    """A bar to update by hand, written to standard error so that standard output stays clean for results."""
    interval_s = 0.1 if sys.stderr.isatty() else 15.0
    return tqdm(
        desc=description, total=total, unit=unit, mininterval=interval_s, dynamic_ncols=sys.stderr.isatty(), file=sys.stderr, smoothing=0.1
    )


def track(items: Iterable[Item], description: str, total: int, unit: str = "it") -> Iterator[Item]:
    """Iterate with a bar."""
    with bar(description, total, f" {unit}") as progress:
        for item in items:
            yield item
            progress.update()
