"""A session is told what to hear by real speech, and told here what was heard."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.live.session import Event, Final, Partial, Session, SpeechStarted, SpeechStopped, Work
from finewhisper.server.live.config import LiveConfig
from finewhisper.transcript import Segment, Transcript, Word

STEP = 1_600  # 0.1 s


@pytest.fixture(scope="module")
def jfk(data: Path) -> Waveform:
    return audio.read(data / "en_misc" / "audio" / "jfk.opus")


def counting(work: Work) -> Transcript:
    """As many words as there are half seconds of sound: each hypothesis goes on with the one before."""
    count = round(2 * len(work.waveform) / SAMPLE_RATE) or 1
    words = tuple(Word(f"w{index}", index / 2, index / 2 + 0.4) for index in range(count))
    segment = Segment(" ".join(word.text for word in words), 0.0, count / 2, words=words)
    return Transcript((segment,), "en", len(work.waveform) / SAMPLE_RATE)


def converse(session: Session, waveform: Waveform, *, hear_every: int = 1) -> tuple[list[Event], list[Work]]:
    """Feed all of it, hearing something whenever a number of pieces has come."""
    events: list[Event] = []
    works: list[Work] = []
    for number, first in enumerate(range(0, len(waveform), STEP)):
        events += session.feed(waveform[first : first + STEP])
        work = session.work() if number % hear_every == 0 else None
        if work is not None:
            works.append(work)
            events += session.heard(work, counting(work))
    events += session.end()
    while (work := session.work()) is not None:
        works.append(work)
        events += session.heard(work, counting(work))
    assert session.finished
    return events, works


def of(kind: type, events: list[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def test_every_utterance_begins_and_ends_and_gets_one_final_text(jfk: Waveform):
    events, _ = converse(Session(LiveConfig()), jfk)
    numbers = [event.utterance for event in of(Final, events)]
    assert numbers == [1, 2, 3, 4]
    assert [event.utterance for event in of(SpeechStarted, events)] == [event.utterance for event in of(SpeechStopped, events)] == numbers
    for final in of(Final, events):
        own = [event for event in events if event.utterance == final.utterance]
        assert isinstance(own[0], SpeechStarted)
        assert own[-1] is final
        assert final.text == "".join(word.text for word in final.words)
        assert final.start_s <= final.words[0].start_s
        assert final.shown


def test_confirmed_words_stay_while_an_utterance_runs(jfk: Waveform):
    events, _ = converse(Session(LiveConfig()), jfk)
    assert max(event.confirmed for event in of(Partial, events)) > 2
    for number in range(1, 5):
        partials = [event for event in of(Partial, events) if event.utterance == number]
        for before, after in itertools.pairwise(partials):
            assert after.confirmed >= before.confirmed
            assert after.words[: before.confirmed] == before.words[: before.confirmed]


def test_the_final_text_is_heard_from_the_whole_utterance(jfk: Waveform):
    events, works = converse(Session(LiveConfig()), jfk)
    for final in of(Final, events):
        heard = [work for work in works if work.utterance == final.utterance and not work.draft][-1]
        first, last = round(final.start_s * SAMPLE_RATE), round(final.end_s * SAMPLE_RATE)
        np.testing.assert_array_equal(heard.waveform, jfk[first:last])


def test_the_final_text_is_on_its_way_before_the_pause_is_over(jfk: Waveform):
    """What was heard up to a pause is the final text if nobody goes on speaking: the sound is the same."""
    session = Session(LiveConfig(pause_s=1.0))
    waveform = np.concatenate([jfk[: 2 * SAMPLE_RATE], np.zeros(2 * SAMPLE_RATE, dtype=np.float32)])
    events: list[Event] = []
    for first in range(0, len(waveform), STEP):
        events += session.feed(waveform[first : first + STEP])
        work = session.work()
        if work is not None:
            events += session.heard(work, counting(work))
        if of(SpeechStopped, events):
            break
    assert of(Final, events), "the final text had to be heard once more"


def test_sound_that_comes_while_something_is_heard_is_part_of_the_next_hypothesis(jfk: Waveform):
    """A slow engine hears fewer hypotheses, all of the sound, and final texts of every utterance."""
    quick, slow = (converse(Session(LiveConfig()), jfk, hear_every=every) for every in (1, 12))
    assert len(slow[1]) < len(quick[1]) / 2
    assert [(event.start_s, event.end_s) for event in of(Final, slow[0])] == [(event.start_s, event.end_s) for event in of(Final, quick[0])]


def test_silence_is_never_heard():
    session = Session(LiveConfig())
    for _ in range(100):
        assert session.feed(np.zeros(STEP, dtype=np.float32)) == []
        assert session.work() is None
    assert session.end() == []
    assert session.finished
    assert session.duration_s == pytest.approx(10.0)


def test_a_long_utterance_is_cut_after_a_confirmed_word_and_nothing_is_lost(jfk: Waveform):
    """The pause never comes: the utterances follow each other without a gap."""
    events, works = converse(Session(LiveConfig(pause_s=5.0, longest_s=5.0)), jfk)
    finals = of(Final, events)
    assert len(finals) >= 3
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(finals))
    assert all(final.end_s - final.start_s <= 5.2 for final in finals)
    confirmed = {event.words[event.confirmed - 1].end_s for event in of(Partial, events) if event.confirmed}
    assert finals[0].end_s in confirmed
    assert all(len(work.waveform) <= 5.2 * SAMPLE_RATE for work in works)


def test_a_long_utterance_without_confirmed_words_is_cut_where_it_is_quiet(jfk: Waveform):
    events, _ = converse(Session(LiveConfig(pause_s=5.0, longest_s=5.0)), jfk, hear_every=1000)
    finals = of(Final, events)
    assert len(finals) >= 2
    assert all(before.end_s == after.start_s for before, after in itertools.pairwise(finals))


def test_what_was_heard_too_late_is_left(jfk: Waveform):
    session = Session(LiveConfig())
    for first in range(0, 2 * SAMPLE_RATE, STEP):
        session.feed(jfk[first : first + STEP])
    work = session.work()
    assert work is not None
    session.commit()
    assert session.heard(work, counting(work)) == []


def test_without_turns_the_client_says_what_an_utterance_is(jfk: Waveform):
    session = Session(LiveConfig(), turns=False)
    assert session.commit() == []
    for first in range(0, 3 * SAMPLE_RATE, STEP):
        session.feed(jfk[first : first + STEP])
    assert [type(event) for event in session.commit()] == [SpeechStopped]
    session.feed(jfk[: 2 * STEP])
    session.clear()
    assert session.commit() == []
    work = session.work()
    assert work is not None
    (final,) = session.heard(work, counting(work))
    assert isinstance(final, Final)
    assert (final.start_s, final.end_s) == (0.0, 3.0)


def test_a_buffer_that_is_never_committed_is_taken_as_complete():
    session = Session(LiveConfig(), turns=False)
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    events = [event for _ in range(301) for event in session.feed(silence)]
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped, SpeechStarted]


def test_old_sound_is_forgotten(jfk: Waveform):
    """A session may last for hours."""
    session = Session(LiveConfig())
    for _ in range(20):
        converse_on(session, jfk)
    assert session._sounds.end - session._sounds.begin < 25 * SAMPLE_RATE


def converse_on(session: Session, waveform: Waveform) -> None:
    for first in range(0, len(waveform), STEP):
        session.feed(waveform[first : first + STEP])
        work = session.work()
        if work is not None:
            session.heard(work, counting(work))
