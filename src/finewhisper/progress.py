"""The one progress bar: a rate and the time left on a terminal, a line now and then in a log file; in the reader's language."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_silent = False  # see silence()
_PART = 16  # items that a thread takes at once: handing over costs as much as reading a header


def silence() -> None:
    """Show nothing from now on: one of several processes that do the same work speaks for all."""
    global _silent
    _silent = True


def bar(description: str, total: float | None, unit: str, *, layout: str | None = None, smoothing: float = 0.1) -> tqdm:  # type: ignore[type-arg]
    """A bar to update by hand, written to standard error so that standard output stays clean for results; "B" counts bytes.

    Args:
        layout: tqdm's ``bar_format``, where the usual one does not say it.
        smoothing: how much the time left follows the last updates; 0 where they come in bursts, whose mean alone means something.
    """
    interval_s = 0.1 if sys.stderr.isatty() else 15.0
    return tqdm(
        desc=description,
        total=total,
        bar_format=layout,
        unit=unit,
        unit_scale=unit == "B",
        mininterval=interval_s,
        dynamic_ncols=sys.stderr.isatty(),
        file=sys.stderr,
        smoothing=smoothing,
        disable=_silent,
    )


def track(items: Iterable[Item], description: str, total: int, unit: str = "it") -> Iterator[Item]:
    """Iterate with a bar."""
    with bar(description, total, f" {unit}") as progress:
        for item in items:
            yield item
            progress.update()


def note(text: str) -> None:
    """Print lines above the bars, to standard error."""
    if not _silent:
        tqdm.write(text, file=sys.stderr)


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """``map`` over threads, for work that waits for files; results in order. An error or Ctrl-C cancels what has not begun."""
    rows = list(items)
    parts = [rows[first : first + _PART] for first in range(0, len(rows), _PART)]
    pool = ThreadPoolExecutor(min(32, 4 * (os.cpu_count() or 1)))
    try:
        for results in pool.map(lambda part: [function(item) for item in part], parts):
            yield from results
    finally:
        pool.shutdown(cancel_futures=True)
