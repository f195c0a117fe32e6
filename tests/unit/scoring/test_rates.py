"""Error rates against counting by hand and against the textbook's algorithm."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.scoring.rates import (
    Edit,
    ErrorRate,
    Interval,
    align,
    common_unit,
    compare,
    difference,
    interval,
    mean_difference,
    total,
    units,
    utterance_rates,
)
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer

RAW = Normalizer(())
BASIC = Normalizer.for_language("en")

short = st.text(alphabet="abc ", max_size=8)


def levenshtein(reference: list[str], hypothesis: list[str]) -> int:
    """Wagner and Fischer 1974, as in a textbook."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, start=1):
        previous, row = row, [i]
        for j, heard in enumerate(hypothesis, start=1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (said != heard)))
    return row[-1]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "word", "character"),
    [
        ("a b c", "a b c", (0, 0, 0, 3), (0, 0, 0, 5)),
        ("a b c", "a x c", (1, 0, 0, 3), (1, 0, 0, 5)),
        ("a b c", "a c", (0, 1, 0, 3), (0, 2, 0, 5)),
        ("a b", "a b c d", (0, 0, 2, 2), (0, 0, 4, 3)),
        ("abc", "", (0, 1, 0, 1), (0, 3, 0, 3)),
        ("", "a b", (0, 0, 2, 0), (0, 0, 3, 0)),
        ("", "", (0, 0, 0, 0), (0, 0, 0, 0)),
        (" a  b ", "a b", (0, 0, 0, 2), (0, 1, 0, 4)),
        ("设定二十九度", "设定三十度", (1, 0, 0, 1), (1, 1, 0, 6)),
        ("a\x1fb", "a b", (0, 0, 0, 2), (0, 0, 0, 3)),
    ],
)
def test_counts(reference: str, hypothesis: str, word: tuple[int, ...], character: tuple[int, ...]) -> None:
    assert error_rate([reference], [hypothesis], "word", RAW).rate == ErrorRate("word", *word)
    assert error_rate([reference], [hypothesis], "character", RAW).rate == ErrorRate("character", *character)


def test_a_set_sums_errors_before_dividing() -> None:
    rate = error_rate(["One, two!", "three", ""], ["one two", "tree house", "noise"], "word", BASIC).rate
    assert rate == ErrorRate("word", substitutions=1, deletions=0, insertions=2, reference_units=3)
    assert rate.percent == 100.0
    assert str(rate) == "WER 100.00 % (1 sub, 0 del, 2 ins of 3)"


def test_no_speech_alone() -> None:
    assert error_rate([""], [""], "word", BASIC).percent == 0.0
    assert error_rate([""], ["thanks for watching"], "word", BASIC).percent == float("inf")
    assert error_rate([], [], "word", BASIC).rate == ErrorRate("word")


def test_alignment() -> None:
    assert align("the cat sat", "a cat sat down", "word") == [
        Edit("substitute", ("the",), ("a",)),
        Edit("equal", ("cat", "sat"), ("cat", "sat")),
        Edit("insert", (), ("down",)),
    ]
    assert align("", "", "word") == []
    assert align("", "a", "character") == [Edit("insert", (), ("a",))]


@given(short)
def test_identity_is_zero(text: str) -> None:
    assert error_rate([text], [text], "word", RAW).rate.errors == 0
    assert error_rate([text], [text], "character", RAW).rate.errors == 0


@given(short, short, st.sampled_from(["word", "character"]))
def test_errors_are_the_edit_distance(reference: str, hypothesis: str, unit: str) -> None:
    rate = error_rate([reference], [hypothesis], unit, RAW).rate
    assert rate.errors == levenshtein(units(reference, unit), units(hypothesis, unit))
    assert rate.insertions - rate.deletions == len(units(hypothesis, unit)) - len(units(reference, unit))


@given(short, short)
def test_exchanging_the_sides_keeps_the_errors(one: str, other: str) -> None:
    there, back = error_rate([one], [other], "character", RAW).rate, error_rate([other], [one], "character", RAW).rate
    assert there.errors == back.errors
    assert there.deletions - there.insertions == back.insertions - back.deletions


@given(st.lists(st.tuples(short, short), max_size=5), st.sampled_from(["word", "character"]))
def test_utterances_add_up(pairs: list[tuple[str, str]], unit: str) -> None:
    references, hypotheses = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    together = utterance_rates(references, hypotheses, unit)
    alone = [utterance_rates([one], [other], unit)[0] for one, other in pairs]
    assert together == alone
    assert total(together, unit) == error_rate(references, hypotheses, unit, RAW).rate


@given(short, short, st.sampled_from(["word", "character"]))
def test_edits_rebuild_both_sides(reference: str, hypothesis: str, unit: str) -> None:
    edits = align(reference, hypothesis, unit)
    assert [token for edit in edits for token in edit.reference] == units(reference, unit)
    assert [token for edit in edits for token in edit.hypothesis] == units(hypothesis, unit)
    assert all(edit.reference == edit.hypothesis for edit in edits if edit.operation == "equal")


def test_texts_are_compared_by_the_rules_of_their_own_language() -> None:
    texts = [("Здравей, свят!", "здравей свет"), ("設定29度。", "设定三十九度")]
    bulgarian, chinese = compare(texts, ["bg", "zh"], Normalizer.for_language)
    assert bulgarian.words == ErrorRate("word", substitutions=1, reference_units=2)
    assert chinese.words is None, "Chinese has no spaces to count words by"
    assert chinese.reference == "设定二十九度"
    assert chinese.characters == ErrorRate("character", substitutions=1, reference_units=6)


def test_a_set_is_counted_in_words_unless_one_of_its_languages_has_none() -> None:
    word = ErrorRate("word", reference_units=1)
    assert (common_unit([word, word]), common_unit([])) == ("word", "word")
    assert (common_unit([word, None]), common_unit([word], characters=True)) == ("character", "character")


def test_more_references_than_hypotheses() -> None:
    with pytest.raises(ValueError, match="2 references, but 1 hypotheses"):
        utterance_rates(["a", "b"], ["a"], "word")


def test_units_do_not_mix() -> None:
    with pytest.raises(ValueError, match="a rate of characters among those of words"):
        total([ErrorRate("character", 1, 0, 0, 1)], "word")


def rates(errors: list[int], length: int = 10) -> list[ErrorRate]:
    return [ErrorRate("word", substitutions=count, reference_units=length) for count in errors]


def test_interval_of_a_constant_is_a_point() -> None:
    assert interval(rates([2] * 30)) == Interval(20.0, 20.0)


def test_interval_is_that_of_the_binomial() -> None:
    """Utterances of one word: resampling them is drawing from a binomial, whose quantiles are known."""
    found = interval(rates([1] * 30 + [0] * 70, length=1))
    spread = 1.96 * 100 * np.sqrt(0.3 * 0.7 / 100)
    assert found is not None
    assert found.low == pytest.approx(30 - spread, abs=1.5)
    assert found.high == pytest.approx(30 + spread, abs=1.5)
    assert found == interval(rates([1] * 30 + [0] * 70, length=1)), "seeded"


def test_interval_without_speech() -> None:
    assert interval([]) is None
    assert interval([ErrorRate("word", insertions=3)]) is None


def test_paired_difference_is_surer_than_two_intervals() -> None:
    generator = np.random.default_rng(1)
    before = [int(count) for count in generator.integers(0, 10, size=100)]
    after = [max(count - 1, 0) for count in before]
    found = difference(rates(before), rates(after))
    alone = interval(rates(after))
    assert found is not None
    assert alone is not None
    assert found.high < 0
    assert found.high - found.low < (alone.high - alone.low) / 3
    backwards = difference(rates(after), rates(before))
    assert backwards is not None
    assert (backwards.low, backwards.high) == pytest.approx((-found.high, -found.low))


def test_difference_of_the_same_is_zero() -> None:
    assert difference(rates([1, 2, 3]), rates([1, 2, 3])) == Interval(0.0, 0.0)


def test_sets_weigh_alike_in_the_mean_difference() -> None:
    """A hundred utterances that stay as they are, and three that all get one word of ten wrong: 5 points, however they are drawn."""
    large, small = rates([2] * 100, length=10), rates([0] * 3, length=10)
    found = mean_difference([large, small], [large, rates([1] * 3, length=10)])
    assert found is not None
    assert (found.low, found.high) == pytest.approx((5.0, 5.0))


def test_the_mean_over_sets_is_surer_than_each() -> None:
    generator = np.random.default_rng(2)
    sets = [rates([int(count) for count in generator.integers(0, 10, size=50)]) for _ in range(8)]
    one, all_four = difference(sets[0], sets[4]), mean_difference(sets[:4], sets[4:])
    assert one is not None
    assert all_four is not None
    assert all_four.high - all_four.low == pytest.approx((one.high - one.low) / 2, rel=0.3)


def test_difference_needs_the_same_utterances() -> None:
    with pytest.raises(ValueError, match="not of the same utterances"):
        difference(rates([1, 2]), rates([1, 2], length=9))


def test_a_large_set_is_counted_in_seconds() -> None:
    chosen = np.random.default_rng(0).integers(5000, size=(10_000, 12))
    references = [" ".join(f"w{number}" for number in row) for row in chosen]
    began = time.perf_counter()
    rate = total(utterance_rates(references, references[::-1], "word"), "word")
    assert rate.reference_units == 120_000
    assert time.perf_counter() - began < 10, "0.6 s on one core of 2024"
