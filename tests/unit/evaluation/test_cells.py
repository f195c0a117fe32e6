"""A table that is killed goes on where it was, and Chinese is not scored as words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from finewhisper.evaluation.cells import Cells
from finewhisper.manifest import Utterance
from finewhisper.scoring.sets import SpeechSet, compare_heard
from finewhisper.transcript import Segment, Transcript


def heard(text: str, language: str, probability: float | None = 0.9) -> Transcript:
    return Transcript((Segment(text, 0.0, 1.0),), language, 1.0, probability)


@pytest.fixture
def speech(tmp_path: Path) -> SpeechSet:
    paths = [tmp_path / f"{name}.wav" for name in "ab"]
    for path in paths:
        path.write_bytes(b"sound")
    return SpeechSet("zh", tuple(Utterance(path, "今天天气很好") for path in paths))


def test_a_cell_is_read_back_until_anything_that_made_it_differs(tmp_path: Path, speech: SpeechSet) -> None:
    cells = Cells(tmp_path / "out")
    key = cells.key(speech, model="abc")
    assert cells.read(key, speech) is None
    cells.write(key, [heard("今天天气很好", "zh"), heard("", "en", None)])
    found = Cells(tmp_path / "out").read(key, speech)
    assert found is not None
    assert [(one.text, one.language, one.language_probability) for one in found] == [("今天天气很好", "zh", 0.9), ("", "en", None)]
    assert cells.key(speech, model="abd") != key
    assert cells.key(replace(speech, language="zh"), model="abc") != key
    speech.utterances[0].path.write_bytes(b"other sound")
    assert cells.key(speech, model="abc") != key
    cells.drop()
    assert cells.read(key, speech) is None


def test_chinese_without_a_language_is_scored_in_characters_by_what_was_detected(speech: SpeechSet) -> None:
    first = [heard("今天天氣很好。", "zh"), heard("今天天气不好", "zh")]
    settled = speech.settle(first)
    assert settled.detected == {"zh"}
    assert settled.unit() == settled.unit("word") == "character"
    assert [pair.characters.errors for pair in compare_heard(speech, first)] == [0, 1]
    assert [pair.words for pair in compare_heard(speech, first)] == [None, None]


def test_silence_detects_no_language(speech: SpeechSet) -> None:
    assert speech.settle([heard("今天天气很好", "zh"), Transcript((), "", 1.0)]).detected == {"zh"}


def test_every_model_is_scored_by_the_rules_of_the_first(speech: SpeechSet) -> None:
    settled = speech.settle([heard("今天天气很好", "zh")] * 2)
    second = compare_heard(settled, [heard("today", "en")] * 2)
    assert [pair.language for pair in second] == ["zh", "zh"]
    assert [pair.characters.reference_units for pair in second] == [6, 6]
