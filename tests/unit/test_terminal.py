"""Columns stand under each other, whatever is written in them and wherever they are printed to."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from finewhisper.terminal import table


def test_figures_stand_on_the_right_and_names_on_the_left() -> None:
    rows = [("", "utterances", "%", ""), ("all", "9", "5.95", ""), ("English", "1234", "12.00", "worse")]
    assert table(rows, left=(0, 3)) == [
        "         utterances      %",
        "all               9   5.95",
        "English        1234  12.00  worse",
    ]


def test_a_chinese_character_is_as_wide_as_two_letters() -> None:
    lines = table([("", "字数"), ("普通话", "12"), ("Deutsch", "7")])
    assert {cell_len(line) for line in lines} == {cell_len("Deutsch  字数")}
    assert lines[1] == "普通话     12"


@pytest.mark.parametrize(("variable", "value"), [("COLUMNS", "20"), ("FORCE_COLOR", "1"), ("TERM", "dumb")])
def test_nothing_is_cut_off_or_coloured(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    long = "a name of a speaker that goes on and on " * 9 + "[b]"
    assert table([(long, "1")]) == [f"{long}  1"]


def test_no_rows_are_no_lines() -> None:
    assert table([]) == []
