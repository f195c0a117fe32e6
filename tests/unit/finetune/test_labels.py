"""The decoder must read exactly one <|startoftranscript|> and be taught the text and its end, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from finewhisper.errors import UsageError
from finewhisper.finetune.labels import build
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.vocabulary import IGNORED, Vocabulary

START, BULGARIAN, TRANSCRIBE, NO_TIMESTAMPS, END, NO_SPEECH, ZERO = 50258, 50292, 50359, 50363, 50257, 50362, 50364


@pytest.fixture(scope="module")
def vocabulary(base_model: Path) -> Vocabulary:
    return Vocabulary.load(base_model)


def utterance(sentence: str, sentences: tuple[TimedSentence, ...] | None = None) -> Utterance:
    return Utterance(Path("a.wav"), sentence, "bg", 2.0, sentences=sentences)


def test_the_prompt_is_read_and_only_text_and_end_are_taught(vocabulary: Vocabulary) -> None:
    labels = build(utterance("Синя риба"), vocabulary, None, "transcribe", timestamps=False)
    text = vocabulary.encode(" Синя риба")
    assert labels.inputs == (START, BULGARIAN, TRANSCRIBE, NO_TIMESTAMPS, *text)
    assert labels.targets == (IGNORED, IGNORED, IGNORED, *text, END)


def test_there_is_one_start_token(vocabulary: Vocabulary) -> None:
    """Upstream's collator stripped bos_token_id, which is <|endoftext|>, and so trained with two start tokens."""
    for timestamps in (False, True):
        labels = build(utterance("риба", (TimedSentence(0, 1, "риба"),)), vocabulary, None, "transcribe", timestamps=timestamps)
        assert labels.inputs.count(START) == 1
        assert labels.targets.count(START) == 0


def test_times_are_taught_where_the_line_has_them(vocabulary: Vocabulary) -> None:
    spoken = (TimedSentence(0.0, 0.84, "Синя"), TimedSentence(0.9, 1.5, "риба"))
    labels = build(utterance("Синя риба", spoken), vocabulary, None, "transcribe", timestamps=True)
    first, second = vocabulary.encode(" Синя"), vocabulary.encode(" риба")
    assert labels.inputs == (START, BULGARIAN, TRANSCRIBE, ZERO, *first, ZERO + 42, ZERO + 45, *second, ZERO + 75)
    assert labels.targets == (IGNORED, IGNORED, *labels.inputs[3:], END)


def test_a_line_without_times_keeps_the_no_timestamps_prompt(vocabulary: Vocabulary) -> None:
    assert build(utterance("риба"), vocabulary, None, "transcribe", timestamps=True).inputs[3] == NO_TIMESTAMPS


def test_no_speech_is_taught_at_the_start_token_and_ends_at_once(vocabulary: Vocabulary) -> None:
    labels = build(utterance("", ()), vocabulary, None, "transcribe", timestamps=False)
    assert labels.inputs == (START, BULGARIAN, TRANSCRIBE, NO_TIMESTAMPS)
    assert labels.targets == (NO_SPEECH, IGNORED, IGNORED, END)


def test_scripts_without_spaces_get_no_leading_space(vocabulary: Vocabulary) -> None:
    labels = build(Utterance(Path("a.wav"), "设定", "zh"), vocabulary, None, "transcribe", timestamps=False)
    assert labels.inputs[4:] == tuple(vocabulary.encode("设定"))


def test_an_english_only_model_has_a_short_prompt_and_no_other_language(tiny_en_model: Path) -> None:
    english = Vocabulary.load(tiny_en_model)
    labels = build(Utterance(Path("a.wav"), "Hello", "en"), english, None, "transcribe", timestamps=False)
    assert labels.inputs[:2] == (50257, 50362)
    with pytest.raises(UsageError, match="English-only"):
        build(utterance("риба"), english, None, "transcribe", timestamps=False)
