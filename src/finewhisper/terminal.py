"""What is printed as columns, for eyes in a terminal and for files alike."""

from __future__ import annotations

import io
from collections.abc import Container, Sequence


def table(rows: Sequence[Sequence[str]], *, left: Container[int] = (0,)) -> list[str]:
    """Rows of cells as lines: two spaces between columns, no colours, and nothing cut off however narrow the terminal is.

    Columns are aligned by what a terminal shows: a Chinese character is as wide as two letters.

    Args:
        rows: the headings first; each has a cell for every column.
        left: the columns that stand on the left; the others, which hold figures, stand on the right.
    """
    if not rows:
        return []
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for column in range(len(rows[0])):
        grid.add_column(justify="left" if column in left else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*map(Text, row))  # as they are: "[b]" is no markup in a file's name
    page = io.StringIO()
    Console(file=page, width=_WIDTH, color_system=None, legacy_windows=False, force_jupyter=False).print(grid)
    return [line.rstrip() for line in page.getvalue().splitlines()]


#: Columns that no table of ours has.
_WIDTH = 100_000
