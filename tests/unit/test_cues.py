"""How phrases are broken into lines and cues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.transcript import Segment, Transcript, Word
from finewhisper.transcript.cues import Cue, Layout, columns, cues

PHRASE = "one two three four five six"


def shown(text: str, layout: Layout, language: str = "en", words: tuple[Word, ...] = ()) -> list[Cue]:
    return cues(Transcript((Segment(text, 10.0, 16.0, words=words),), language, 20.0), layout)


def test_without_bounds_a_phrase_is_one_line():
    assert shown(PHRASE, Layout()) == [Cue(10.0, 16.0, (PHRASE,))]


def test_lines_are_filled_up_to_the_width():
    assert shown(PHRASE, Layout(max_line_width=13)) == [Cue(10.0, 16.0, ("one two three", "four five six"))]


def test_more_lines_than_are_shown_at_once_become_cues_that_share_the_time():
    first, second = shown(PHRASE, Layout(max_line_width=13, max_line_count=1))
    assert (first.lines, second.lines) == (("one two three",), ("four five six",))
    assert first.start_s == 10.0
    assert first.end_s == second.start_s == pytest.approx(13.0)
    assert second.end_s == 16.0


def test_where_the_times_of_words_are_known_cues_follow_them():
    words = tuple(Word(text, 10.0 + at, 10.5 + at) for at, text in enumerate(PHRASE.split()))
    first, second = shown(PHRASE, Layout(max_line_width=13, max_line_count=1), words=words)
    assert (first.end_s, second.start_s) == (12.5, 13.0)


def test_a_word_wider_than_a_line_has_one_of_its_own():
    assert shown("a Donaudampfschifffahrt b", Layout(max_line_width=5))[0].lines == ("a", "Donaudampfschifffahrt", "b")


def test_chinese_is_broken_between_characters_but_not_before_punctuation_or_inside_numbers():
    (cue,) = shown("今天天气很好，我们去2024年的展览。", Layout(max_line_width=12), "zh")
    assert "".join(cue.lines) == "今天天气很好，我们去2024年的展览。"
    assert all(columns(line) <= 12 for line in cue.lines)
    assert not any(line.startswith(("，", "。")) for line in cue.lines)
    assert any("2024" in line for line in cue.lines)


def test_a_translation_from_chinese_keeps_its_spaces():
    assert shown("good morning", Layout(max_line_width=40), "zh")[0].lines == ("good morning",)


words = st.lists(st.text(st.characters(categories=["L"]), min_size=1, max_size=9), min_size=1, max_size=30)


@given(words, st.integers(1, 40), st.integers(0, 3))
def test_nothing_is_lost_and_times_run_forward(words: list[str], width: int, count: int):
    found = shown(" ".join(words), Layout(width, count))
    assert " ".join(line for cue in found for line in cue.lines).split() == " ".join(words).split()
    times = [time for cue in found for time in (cue.start_s, cue.end_s)]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (10.0, 16.0)
    assert not count or all(len(cue.lines) <= count for cue in found)
