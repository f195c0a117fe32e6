"""Small charts as SVG text, drawn with the colours of the page they are put into.

Every function returns one ``<svg>`` element that scales with its column, or an empty string where there is nothing to draw. Colours and
fonts come from CSS classes: ``now`` is the evaluated model, ``then`` the baseline.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 480, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 16, 40
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_TICKS = 4  # about as many lines across a chart
_DOTS = 20  # a curve of more points is drawn without dots
_LABEL_WIDTH, _LABEL_HEIGHT = 80, 14


@dataclass(frozen=True)
class Series:
    """Values under one name; ``style`` is a CSS class."""

    name: str
    style: str
    values: Sequence[float]


@dataclass(frozen=True)
class Line:
    """A curve of (x, y) points under one name."""

    name: str
    style: str
    points: Sequence[tuple[float, float]]


def bars(title: str, categories: Sequence[str], series: Sequence[Series], x_label: str, suffix: str = "") -> str:
    """Vertical bars side by side, each with its value above it; ``suffix`` follows the values."""
    if not categories:
        return ""
    top, ticks = scale(max((value for one in series for value in one.values), default=0.0))
    slot = _PLOT_WIDTH / len(categories)
    width = min(slot * 0.78 / len(series), 46.0)
    parts = [_grid(ticks, top, suffix)]
    for index, category in enumerate(categories):
        middle = _LEFT + slot * (index + 0.5)
        parts.append(_text(middle, HEIGHT - _BOTTOM + 15, category, "tick middle"))
        for place, one in enumerate(series):
            left = middle + width * (place - len(series) / 2)
            height = _PLOT_HEIGHT * one.values[index] / top
            y = _TOP + _PLOT_HEIGHT - height
            label = f"{category}: {one.values[index]:.{0 if one.values[index] % 1 == 0 else 1}f}{suffix} ({one.name})"
            parts.append(
                f'<rect class="{one.style}" x="{left + 1:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{height:.1f}" rx="2">'
                f"<title>{escape(label)}</title></rect>"
            )
            if one.values[index]:
                parts.append(_text(left + width / 2, y - 4, f"{one.values[index]:.0f}", "value middle"))
    parts.append(_text(_LEFT + _PLOT_WIDTH / 2, HEIGHT - 6, x_label, "axis middle"))
    return _svg(title, "".join(parts))


def lines(title: str, curves: Sequence[Line], x_label: str, suffix: str = "") -> str:
    """Curves over a common x axis, both axes from 0, each with its name and last value above its end."""
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return ""
    top, ticks = scale(max(y for curve in drawn for _, y in curve.points))
    right = max(x for curve in drawn for x, _ in curve.points) or 1.0
    x_ticks = [tick for tick in scale(right)[1] if tick <= right]

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + _PLOT_WIDTH * x / right, _TOP + _PLOT_HEIGHT * (1 - y / top)

    parts = [_grid(ticks, top, suffix)]
    labelled: list[tuple[float, float]] = []  # where the names of curves stand
    parts += [_text(place(x, 0)[0], HEIGHT - _BOTTOM + 15, f"{x:g}", "tick middle") for x in x_ticks]
    for curve in drawn:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve.points))
        parts.append(f'<polyline class="{curve.style}" points="{path}"><title>{escape(curve.name)}</title></polyline>')
        if len(curve.points) <= _DOTS:
            parts += [
                f'<circle class="{curve.style}" cx="{place(x, y)[0]:.1f}" cy="{place(x, y)[1]:.1f}" r="3">'
                f"<title>{escape(f'{curve.name} at {x_label} {x:g}: {y:.4g}{suffix}')}</title></circle>"
                for x, y in curve.points
            ]
        xs, ys = zip(*(place(*point) for point in curve.points), strict=True)
        last_x = xs[-1]
        covered = np.linspace(last_x - _LABEL_WIDTH, last_x, 9)
        clear_y = float(np.interp(covered, xs, ys).min()) - 8
        for x, y in sorted(labelled, key=lambda at: -at[1]):  # from the lowest on the page upwards
            if abs(x - last_x) < _LABEL_WIDTH and abs(y - clear_y) < _LABEL_HEIGHT:
                clear_y = y - _LABEL_HEIGHT
        labelled.append((last_x, clear_y))
        parts.append(_text(last_x, clear_y, f"{curve.name} {curve.points[-1][1]:.3g}{suffix}", "value end"))
    parts.append(_text(_LEFT + _PLOT_WIDTH / 2, HEIGHT - 6, x_label, "axis middle"))
    return _svg(title, "".join(parts))


def stacks(title: str, rows: Sequence[tuple[str, Sequence[tuple[str, str, float]]]], suffix: str) -> str:
    """One horizontal bar for each row, made of (name, style, value) pieces on a common scale."""
    widest = max((sum(value for _, _, value in pieces) for _, pieces in rows), default=0.0)
    if not widest:
        return ""
    parts, height = [], 34
    for index, (label, pieces) in enumerate(rows):
        y = index * 56 + 4
        whole = sum(value for _, _, value in pieces)
        parts.append(_text(0, y + 10, f"{label}: {whole:.1f}{suffix}", "axis"))
        left = 0.0
        for name, style, value in pieces:
            width = WIDTH * value / widest
            parts.append(
                f'<rect class="{style}" x="{left:.1f}" y="{y + 16}" width="{max(width - 1, 0):.1f}" height="22" rx="2">'
                f"<title>{escape(f'{name}: {value:.1f}{suffix}')}</title></rect>"
            )
            if width > 42:
                parts.append(_text(left + width / 2, y + 31, f"{value:.1f}", "on-bar middle"))
            left += width
        height = y + 44
    return _svg(title, "".join(parts), height)


def scale(largest: float) -> tuple[float, list[float]]:
    """An axis from 0 that holds ``largest``: its end, and round numbers for its lines."""
    if largest <= 0:
        return 1.0, [0.0, 1.0]
    rough = largest / _TICKS
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    count = math.ceil(largest / step - 1e-9)
    return step * count, [step * index for index in range(count + 1)]


def _grid(ticks: Sequence[float], top: float, suffix: str) -> str:
    parts = []
    for tick in ticks:
        y = _TOP + _PLOT_HEIGHT * (1 - tick / top)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{tick:g}{suffix}", "tick end"))
    return "".join(parts)


def _text(x: float, y: float, content: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>'


def _svg(title: str, content: str, height: int = HEIGHT) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{content}</svg>'
