"""Words that, joined, are the text."""

from __future__ import annotations

import pytest

from finewhisper.live.words import live_words
from finewhisper.transcript import Segment, Transcript, Word


def transcript(language: str, *segments: Segment) -> Transcript:
    return Transcript(segments, language, 10.0)


def timed(text: str, *words: str) -> Segment:
    return Segment(text, 0.0, 4.0, words=tuple(Word(word, float(index), index + 0.5) for index, word in enumerate(words)))


@pytest.mark.parametrize(
    ("language", "segments", "expected"),
    [
        ("en", [timed("Ask not.", "Ask", "not.")], ["Ask", " not."]),
        ("en", [timed("Ask not.", "Ask", "not."), timed("You can.", "You", "can.")], ["Ask", " not.", " You", " can."]),
        ("zh", [timed("用 iPhone吗", "用", "iPhone", "吗")], ["用", " iPhone", "吗"]),
        ("en", [Segment("three plain words", 0.0, 3.0)], ["three", " plain", " words"]),
        ("zh", [Segment("你们好。", 0.0, 3.0)], ["你", "们", "好。"]),
        ("en", [timed("ha ha and more", "ha", "ha")], ["ha", " ha and more"]),
        ("en", [timed("quite different", "other", "words")], ["quite different"]),
        ("en", [], []),
    ],
)
def test_words_are_the_text(language: str, segments: list[Segment], expected: list[str]):
    whole = transcript(language, *segments)
    words = live_words(whole)
    assert [word.text for word in words] == expected
    assert "".join(expected) == whole.text


def test_times_count_from_the_session(tmp_path):
    words = live_words(transcript("en", timed("Ask not.", "Ask", "not.")), 100.0)
    assert [(word.start_s, word.end_s) for word in words] == [(100.0, 100.5), (101.0, 101.5)]


def test_unknown_times_are_shared_out():
    words = live_words(transcript("en", Segment("a bcd", 1.0, 3.0)))
    assert [(word.start_s, word.end_s) for word in words] == [(1.0, 1.5), (1.5, 3.0)]
