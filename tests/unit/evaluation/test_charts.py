"""Charts are well-formed and to scale."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.evaluation import charts
from finewhisper.evaluation.charts import Line, Series


def rectangles(svg: str) -> list[dict[str, float | str]]:
    found = []
    for element in ElementTree.fromstring(svg).iter("rect"):
        found.append({key: float(element.attrib[key]) for key in ("x", "y", "width", "height")} | {"class": element.attrib["class"]})
    return found


def test_bars_are_as_high_as_their_values() -> None:
    svg = charts.bars("A <title>", ["a", "b & c"], [Series("baseline", "then", [10, 20]), Series("now", "now", [5, 0])], "x", " %")
    heights = {(one["class"], index // 2): one["height"] for index, one in enumerate(rectangles(svg))}
    assert heights["then", 1] == pytest.approx(2 * heights["then", 0], abs=0.2)
    assert heights["now", 0] == pytest.approx(heights["then", 0] / 2, abs=0.2)
    assert heights["now", 1] == 0.0
    assert ElementTree.fromstring(svg).attrib["aria-label"] == "A <title>"
    assert "b &amp; c: 20 % (baseline)" in svg


def test_stacks_share_a_scale() -> None:
    pieces = [("substitutions", "sub", 30.0), ("deletions", "del", 10.0)]
    svg = charts.stacks("kinds", [("before", pieces), ("after", [("substitutions", "sub", 20.0)])], " %")
    first, second, third = rectangles(svg)
    assert first["width"] == pytest.approx(charts.WIDTH * 30 / 40, abs=1.1)
    assert second["x"] == pytest.approx(charts.WIDTH * 30 / 40, abs=0.1)
    assert third["width"] == pytest.approx(charts.WIDTH * 20 / 40, abs=1.1)
    assert third["y"] > first["y"]


def test_lines_end_inside_the_chart() -> None:
    svg = charts.lines("loss", [Line("loss", "now", [(0, 3.0), (10, 1.5), (20, 0.75)])], "step")
    (line,) = ElementTree.fromstring(svg).iter("polyline")
    points = [tuple(map(float, pair.split(","))) for pair in line.attrib["points"].split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert all(0 <= x <= charts.WIDTH and 0 <= y <= charts.HEIGHT for x, y in points)
    assert points[0][1] < points[1][1] < points[2][1], "a falling loss falls on the page"
    assert "loss 0.75" in svg


def test_names_of_curves_that_end_together_do_not_overlap() -> None:
    curves = [Line(name, "now", [(0, 90.0), (2, last)]) for name, last in (("one", 71.0), ("two", 74.0), ("three", 72.0))]
    texts = ElementTree.fromstring(charts.lines("rates", curves, "margin")).iter("text")
    heights = sorted(float(text.attrib["y"]) for text in texts if text.attrib["class"] == "value end")
    assert len(heights) == 3
    assert all(below - above >= 13 for above, below in pairwise(heights))


def test_many_points_have_no_dots() -> None:
    few = charts.lines("loss", [Line("loss", "now", [(step, 1.0) for step in range(5)])], "step")
    many = charts.lines("loss", [Line("loss", "now", [(step, 1.0) for step in range(500)])], "step")
    assert few.count("<circle") == 5
    assert many.count("<circle") == 0


def test_nothing_to_draw() -> None:
    assert charts.bars("", [], [], "x") == ""
    assert charts.lines("", [Line("loss", "now", [])], "step") == ""
    assert charts.stacks("", [("a", [("b", "c", 0.0)])], "") == ""
    ElementTree.fromstring(charts.bars("zeros", ["a"], [Series("now", "now", [0.0])], "x"))
    ElementTree.fromstring(charts.lines("a point", [Line("loss", "now", [(0, 0.0)])], "step"))


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_scale_holds_the_largest_value_between_round_numbers(largest: float) -> None:
    top, ticks = charts.scale(largest)
    assert largest <= top * (1 + 1e-6)
    assert ticks[0] == 0
    assert ticks[-1] == pytest.approx(top)
    assert 2 <= len(ticks) <= 6
