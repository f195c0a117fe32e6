"""When words are said: the path through the attention, and how tokens become words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.engines.word_times import Matrix, TokenTimes, first_columns, split_words, token_starts, with_words
from finewhisper.transcript import Segment
from finewhisper.vocabulary import Vocabulary


def by_cells(cost: Matrix) -> list[int]:
    """Dynamic time warping as in textbooks: cell by cell, the diagonal first where ways cost the same."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for row in range(rows):
        for column in range(columns):
            total[row + 1, column + 1] = cost[row, column] + min(total[row, column], total[row, column + 1], total[row + 1, column])
    row, column = rows, columns
    entries = [0] * rows
    while row:
        entries[row - 1] = column - 1
        steps = [total[row - 1, column - 1], total[row - 1, column], total[row, column - 1]]
        way = int(np.argmin(steps))
        row, column = row - (way != 2), column - (way != 1)
    return entries


@given(st.integers(1, 8), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_path_is_that_of_the_textbook(rows: int, columns: int, seed: int):
    cost = np.random.default_rng(seed).standard_normal((rows, columns))
    assert first_columns(cost) == by_cells(cost)


def test_tokens_begin_where_the_attention_turns_to_them():
    """Three tokens and the end, looked at for 0.2, 0.4, 0.1 and 0.3 s by two heads; a third head looks nowhere."""
    edges = np.cumsum([0, 10, 20, 5, 15])
    weights = np.full((3, 4, 50), 0.02, dtype=np.float32)
    for row in range(4):
        weights[:2, row, edges[row] : edges[row + 1]] = 1.0
    assert token_starts(weights) == pytest.approx((0.0, 0.2, 0.6, 0.7), abs=0.021)


def test_fewer_positions_than_the_filter_is_wide():
    assert len(token_starts(np.ones((1, 3, 2), dtype=np.float32))) == 3


@pytest.fixture(scope="module")
def vocabulary(base_model: Path) -> Vocabulary:
    return Vocabulary.load(base_model)


@pytest.mark.real
@pytest.mark.parametrize(
    ("text", "language", "words"),
    [
        ('He said, "Hello (again), world!"', "en", ["He", "said,", '"Hello', "(again),", 'world!"']),
        ("It's 3.14 — fine...", "en", ["It's", "3.14", "—", "fine..."]),
        ("Добър ден, как сте?", "bg", ["Добър", "ден,", "как", "сте?"]),
        ("你好，世界！", "zh", ["你好，", "世界！"]),
        ("龘靐", "zh", ["龘", "靐"]),  # several tokens each
        ("", "en", []),
    ],
)
def test_tokens_become_words_with_their_punctuation(vocabulary: Vocabulary, text: str, language: str, words: list[str]):
    tokens = vocabulary.encode_text(text, language)
    groups = split_words(vocabulary, tokens, language)
    assert [vocabulary.decode(group).strip() for group in groups] == words
    assert [token for group in groups for token in group] == tokens


@pytest.mark.real
def test_words_lie_inside_their_segment_and_run_forward(vocabulary: Vocabulary):
    """The attention said otherwise: before the first segment, backwards, and beyond the last."""
    tokens = [vocabulary.encode_text(text, "en") for text in ("one two", "three four")]
    count = sum(map(len, tokens))
    times = TokenTimes((0.0, 3.0, 2.0, 4.0, 9.0), (0.5,) * count)
    assert count == 4
    first, second = with_words(vocabulary, [Segment("one two", 1.0, 2.5), Segment("three four", 2.5, 5.0)], tokens, times, "en")
    assert [(word.text, word.start_s, word.end_s) for word in first.words] == [("one", 1.0, 2.5), ("two", 2.5, 2.5)]
    assert [(word.text, word.start_s, word.end_s) for word in second.words] == [("three", 2.5, 4.0), ("four", 4.0, 5.0)]
