"""Which words of a running utterance are confirmed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finewhisper.live.agreement import Agreement, LiveWord


def words(text: str, *, start_s: float = 0.0) -> list[LiveWord]:
    """One word each half second."""
    pieces = text.split(" ")
    return [LiveWord(f" {piece}" if index else piece, start_s + index / 2, start_s + index / 2 + 0.4) for index, piece in enumerate(pieces)]


def said(found: tuple[LiveWord, ...]) -> str:
    return "".join(word.text for word in found)


def heard(*hypotheses: str) -> Agreement:
    agreement = Agreement()
    for hypothesis in hypotheses:
        agreement.hear(words(hypothesis))
    return agreement


def test_one_hypothesis_confirms_nothing():
    agreement = heard("and so my")
    assert agreement.confirmed == ()
    assert said(agreement.words) == "and so my"


def test_two_that_agree_confirm_their_beginning():
    agreement = heard("and so my felon", "and so my fellow Americans")
    assert said(agreement.confirmed) == "and so my"
    assert said(agreement.words) == "and so my fellow Americans"


def test_punctuation_and_capitals_may_move():
    agreement = heard("Ask not.", "ask not what", "ask not, what your")
    assert said(agreement.confirmed) == "ask not what"  # as it stood when it was confirmed
    assert not agreement.settled


def test_punctuation_alone_is_a_word_too():
    assert said(heard("a —", "a —").confirmed) == "a —"


def test_a_word_that_disappears_does_not_take_back_what_was_confirmed():
    """The third hypothesis has lost its first word; the rest is found by its times."""
    agreement = heard("you know he came late", "you know he came late")
    agreement.hear(words("know he came late today", start_s=0.5))
    assert said(agreement.confirmed) == "you know he came late"
    agreement.hear(words("know he came late today", start_s=0.5))
    assert said(agreement.confirmed) == "you know he came late today"


def test_words_that_go_on_with_a_text_are_separated_as_the_others_are():
    agreement = heard("one two", "one two")
    agreement.hear([LiveWord("three", 1.0, 1.4), LiveWord(" four", 1.5, 1.9)])
    assert said(agreement.words) == "one two three four"
    chinese = Agreement()
    chinese.confirmed = (LiveWord("你", 0.0, 0.2),)
    chinese.hear([LiveWord("们", 0.2, 0.4), LiveWord("好", 0.4, 0.6)])
    assert said(chinese.words) == "你们好"


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), max_size=6))
def test_confirmed_words_are_never_taken_back(hypotheses):
    agreement, before = Agreement(), ()
    for hypothesis in hypotheses:
        agreement.hear(words(" ".join(hypothesis)) if hypothesis else [])
        assert agreement.confirmed[: len(before)] == before
        assert agreement.words[: len(agreement.confirmed)] == agreement.confirmed
        before = agreement.confirmed
