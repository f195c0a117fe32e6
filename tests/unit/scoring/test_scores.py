"""The one value for a scored set, and what it must be quoted with."""

from __future__ import annotations

import pytest

from finewhisper import __version__
from finewhisper.scoring.rates import Comparison, ErrorRate
from finewhisper.scoring.scores import Score, error_rate, signature
from finewhisper.scoring.text import Normalizer


def score(*errors: int, before: Score | None = None) -> Score:
    """Utterances of ten words, with so many wrong ones each."""
    return Score("word", tuple(ErrorRate("word", substitutions=count, reference_units=10) for count in errors), "WER|x", before)


def test_a_score_sums_its_utterances() -> None:
    found = score(1, 2, 3, 2)
    assert (found.name, found.percent, float(found)) == ("WER", 20.0, 0.2)
    assert found.rate == ErrorRate("word", substitutions=8, reference_units=40)
    assert found.interval is not None
    assert found.interval.low < 20 < found.interval.high
    assert str(found) == f"WER 20.00 % (8 sub, 0 del, 0 ins of 40), 95 % interval {found.interval}\nWER|x"


def test_a_score_beside_an_earlier_one() -> None:
    found = score(1, 2, 1, 2, before=score(9, 8, 9, 8))
    assert found.relative == pytest.approx(-82.35, abs=0.01)
    assert found.difference is not None
    assert found.difference.high < -50
    assert found.difference == found.since(score(9, 8, 9, 8))
    assert found.json()["baseline"]["percent"] == 85.0
    assert score(1, before=score(0)).relative is None, "nothing can be a share of no errors"
    assert (score(1).difference, score(1).relative) == (None, None)


def test_words_heard_in_silence_have_no_finite_rate() -> None:
    silent = Score("word", (ErrorRate("word", insertions=2),))
    assert silent.percent == float("inf")
    assert silent.json()["percent"] is None
    assert silent.interval is None


def test_a_set_with_an_utterance_without_words_is_counted_in_characters() -> None:
    word, character = ErrorRate("word", reference_units=2), ErrorRate("character", reference_units=7)
    compared = [Comparison("a b", "a b", word, character), Comparison("二", "二", None, character)]
    assert Score.of(compared, "character").rates == (character, character)
    assert Score.of(compared[:1], "word", "WER|y") == Score("word", (word,), "WER|y")


def test_raw_texts() -> None:
    found = error_rate(["One, two!", ""], ["one too", "you"], "word", Normalizer.for_language("en"))
    assert found.rate == ErrorRate("word", substitutions=1, insertions=1, reference_units=2)
    assert found.signature == f"WER|normalize:basic+spaces|finewhisper {__version__}"


def test_a_normaliser_of_ones_own_is_named_in_the_signature() -> None:
    def without_hesitations(text: str) -> str:
        return text.replace("uh ", "")

    found = error_rate(["one"], ["uh one"], "character", without_hesitations)
    assert (found.rate.errors, found.signature) == (0, f"CER|normalize:without_hesitations|finewhisper {__version__}")


def test_all_signatures_have_one_order() -> None:
    whole = signature("character", "basic", decoding="greedy", engine="onnx int8", manifest_sha256="0123456789abcdef", limit=3, skipped=1)
    assert (
        whole == f"CER|normalize:basic|decoding:greedy|engine:onnx int8|finewhisper {__version__}|manifest:0123456789ab|first:3|skipped:1"
    )
    assert signature("word", "basic", decoding="greedy") == f"WER|normalize:basic|decoding:greedy|finewhisper {__version__}"
