"""Which text counts as a loop, and which of several attempts is kept."""

from __future__ import annotations

import pytest

from finewhisper.transcript import Segment, Transcript
from finewhisper.transcription.loops import best, loops, repeats


@pytest.mark.parametrize(
    "text",
    [
        "the " * 40,
        "谢谢大家" * 40,
        "and we are going to the sea, " * 5,
        "It was, it was not. " * 6 + "And so it ended.",  # not at the end of the text
    ],
)
def test_loops(text: str):
    """Where the tokens ran out, or nobody could say so much in the time; with time enough, somebody may have said it."""
    assert repeats(text)
    assert loops(Transcript((Segment(text, 0.0, 30.0),), "en", 30.0, cut_off=True))
    assert loops(Transcript((Segment(text, 0.0, 2.0),), "en", 2.0))
    assert not loops(Transcript((Segment(text, 0.0, 30.0),), "en", 30.0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ha ha ha ha ha ha",
        "No, no, no, no, no, no, I will not.",
        "零零零零零零零零",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
        "left right left right left right and halt",
        "Ask not what your country can do for you, ask what you can do for your country.",
    ],
)
def test_what_people_say_is_no_loop(text: str):
    assert not repeats(text)
    assert not loops(Transcript((Segment(text, 0.0, 0.1),), "en", 0.1, cut_off=True))


def heard(text: str, logprob: float | None) -> Transcript:
    return Transcript((Segment(text, 0.0, 1.0, avg_logprob=logprob),) if text else (), "en", 1.0)


LOOP = heard("the " * 40, -0.1)


@pytest.mark.parametrize(
    ("attempts", "kept"),
    [
        ([LOOP], 0),
        ([LOOP, heard("a cat", -0.5)], 1),
        ([LOOP, heard("a hat", -1.5), heard("a cat", -0.8)], 2),  # the first that is likely, too
        ([LOOP, heard("a hat", -1.5), heard("a bat", -1.2)], 2),  # the likeliest
        ([LOOP, heard("", None)], 1),  # silence
        ([LOOP, LOOP, LOOP], 0),
        ([heard("a cat", None)], 0),
    ],
)
def test_the_best_attempt(attempts: list[Transcript], kept: int):
    assert best(attempts) is attempts[kept]
