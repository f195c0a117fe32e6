"""What happens to segments last, and above all what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.transcript import Segment
from finewhisper.transcription.finishing import Finishing, compression_ratio, finish, without_loop


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Ask not what your country can do for you, ask what you can do for your country.",
        "ha ha ha ha ha ha",
        "Yes. Yes. Yes. Yes.",
        "one two three four one two three four one two three four",
        "零零零零零零零零",
        "no, no, no, no, no, no, I will not",
        "Row, row, row your boat, gently down the stream. Merrily, merrily, merrily, merrily, life is but a dream.",
    ],
)
def test_what_people_say_stays(text: str):
    assert without_loop(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I think that " + "the " * 100, "I think that the"),
        ("Thank you. " * 40, "Thank you."),
        ("我想说" + "谢谢大家" * 60, "我想说谢谢大家"),
        ("hello there. " * 30 + "hello th", "hello there."),  # the decoder ran out of tokens
        ("a" * 300, "a"),
    ],
)
def test_a_runaway_decoder_is_cut_to_one_repetition(text: str, expected: str):
    assert without_loop(text.strip()) == expected


def test_repetition_that_the_speaker_ends_stays():
    """A decoder that loops does not stop by itself, so what comes to an end was said."""
    text = "left right " * 40 + "and halt, everybody, for today."
    assert compression_ratio(text) > 2.4
    assert without_loop(text) == text


def segments(*texts: str) -> list[Segment]:
    return [Segment(text, float(index), index + 1.0) for index, text in enumerate(texts)]


def test_equal_segments_in_a_row_that_only_a_loop_makes_are_one():
    finished = finish(segments("And then", *["Thank you very much."] * 10, "Goodbye."), 20.0)
    assert [segment.text for segment in finished] == ["And then", "Thank you very much.", "Goodbye."]
    assert finished[1].start_s == 1.0
    assert finished[1].end_s == 2.0


def test_a_few_equal_segments_stay():
    assert len(finish(segments("No.", "No.", "No.", "Yes."), 20.0)) == 4


def test_a_long_sentence_that_is_said_again_stays():
    """As announcements are; twice the same compresses as much as a loop."""
    sentence = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."
    assert compression_ratio(f"{sentence} {sentence}") > 2.4
    assert len(finish(segments(sentence, sentence, "Goodbye."), 20.0)) == 3


def test_empty_segments_go():
    assert [segment.text for segment in finish(segments(" Hello ", "", " \n ", "there"), 20.0)] == ["Hello", "there"]


def test_times_that_cross_are_put_in_order():
    """A window that begins in the pause before may be told of a start before the end of the one before it."""
    finished = finish([Segment("a", 0.0, 5.0), Segment("b", 4.0, 4.5), Segment("c", 4.8, 40.0)], 30.0)
    assert [(segment.start_s, segment.end_s) for segment in finished] == [(0.0, 5.0), (5.0, 5.0), (5.0, 30.0)]


@given(st.lists(st.tuples(st.text(max_size=30), st.floats(-10, 100), st.floats(-10, 100))), st.floats(0.0, 60.0))
def test_whatever_comes_in_times_run_forward_inside_the_clip(pieces: list[tuple[str, float, float]], duration_s: float):
    finished = finish([Segment(*piece) for piece in pieces], duration_s)
    times = [time for segment in finished for time in (segment.start_s, segment.end_s)]
    assert times == sorted(times)
    assert all(0.0 <= time <= duration_s for time in times)
    assert all(segment.text == segment.text.strip() != "" for segment in finished)


SENTENCE = "The next train to the city stops at all stations."


def repeated(*times_s: tuple[float, float], text: str = SENTENCE) -> list[Segment]:
    return [Segment(text, start_s, end_s) for start_s, end_s in times_s]


def test_what_is_said_again_in_other_windows_stays():
    """Six announcements, each in a window of its own, were taken for one."""
    finishing = Finishing()
    heard = [segment for at_s in range(6) for segment in finishing.take(repeated((30.0 * at_s, 30.0 * at_s + 3)), 30.0 * at_s + 4)]
    assert [segment.text for segment in heard] == [SENTENCE] * 6


def test_what_is_said_again_in_one_window_with_pauses_or_at_another_pace_stays():
    pauses = repeated((0.0, 3.0), (5.0, 8.0), (10.0, 13.0), (15.0, 18.0), (20.0, 23.0))
    pace = repeated((0.0, 3.0), (3.0, 6.2), (6.2, 9.0), (9.0, 12.5))
    assert len(finish(pauses, 30.0)) == 5
    assert len(finish(pace, 30.0)) == 4


def test_a_loop_shows_in_its_end_its_speed_or_its_clockwork():
    pauses = repeated((0.0, 3.0), (5.0, 8.0), (10.0, 13.0), (15.0, 18.0))
    assert len(finish(pauses, 30.0, cut_off=True)) == 1, "the tokens ran out"
    assert len(finish(repeated((0.0, 1.0), (2.0, 3.0), (4.0, 5.0), (6.0, 7.0)), 30.0)) == 1, "49 letters in a second"
    assert len(finish(repeated((0.0, 3.0), (3.0, 6.0), (6.0, 9.0), (9.0, 12.0)), 30.0)) == 1, "3.00 s each, without a pause"


def test_a_loop_within_a_segment_is_cut_where_nobody_could_have_said_it():
    looping = "Thank you. " * 40
    assert finish([Segment(looping, 0.0, 5.0)], 5.0)[0].text == "Thank you."
    assert finish([Segment(looping, 0.0, 30.0)], 30.0, cut_off=True)[0].text == "Thank you."
    assert finish([Segment(looping, 0.0, 30.0)], 30.0)[0].text == looping.strip(), "the model ended it, and half a minute is enough"
    assert finish([Segment("谢谢大家" * 60, 0.0, 10.0)], 10.0)[0].text == "谢谢大家"
