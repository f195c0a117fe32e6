"""The decoder must read exactly one <|startoftranscript|> and be taught the text and its end, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finewhisper.errors import UsageError
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.training.labels import Labeller, Labels, Placed
from finewhisper.vocabulary import IGNORED, Vocabulary

START, BULGARIAN, TRANSCRIBE, NO_TIMESTAMPS, END, NO_SPEECH, ZERO = 50258, 50292, 50359, 50363, 50257, 50362, 50364


@pytest.fixture(scope="module")
def vocabulary(base_model: Path) -> Vocabulary:
    return Vocabulary.load(base_model)


def utterance(sentence: str, sentences: tuple[TimedSentence, ...] | None = None) -> Utterance:
    return Utterance(Path("a.wav"), sentence, "bg", 2.0, sentences=sentences)


def build(spoken: Utterance, vocabulary: Vocabulary, *, timestamps: bool = False, **options: Any) -> Labels:
    labeller = Labeller(vocabulary, timestamps=float(timestamps), **options)
    return labeller([Placed(spoken, 0.0)], np.random.default_rng(0))


def test_the_prompt_is_read_and_only_text_and_end_are_taught(vocabulary: Vocabulary) -> None:
    labels = build(utterance("Синя риба"), vocabulary, timestamps=False)
    text = vocabulary.encode(" Синя риба")
    assert labels.inputs == (START, BULGARIAN, TRANSCRIBE, NO_TIMESTAMPS, *text)
    assert labels.targets == (IGNORED, IGNORED, IGNORED, *text, END)


def test_there_is_one_start_token(vocabulary: Vocabulary) -> None:
    """Upstream's collator stripped bos_token_id, which is <|endoftext|>, and so trained with two start tokens."""
    for timestamps in (False, True):
        labels = build(utterance("риба", (TimedSentence(0, 1, "риба"),)), vocabulary, timestamps=timestamps)
        assert labels.inputs.count(START) == 1
        assert labels.targets.count(START) == 0


def test_times_are_taught_where_the_line_has_them(vocabulary: Vocabulary) -> None:
    spoken = (TimedSentence(0.0, 0.84, "Синя"), TimedSentence(0.9, 1.5, "риба"))
    labels = build(utterance("Синя риба", spoken), vocabulary, timestamps=True)
    first, second = vocabulary.encode(" Синя"), vocabulary.encode(" риба")
    assert labels.inputs == (START, BULGARIAN, TRANSCRIBE, ZERO, *first, ZERO + 42, ZERO + 45, *second, ZERO + 75)
    assert labels.targets == (IGNORED, IGNORED, *labels.inputs[3:], END)


def test_times_that_overlap_by_a_rounding_never_go_back(vocabulary: Vocabulary) -> None:
    spoken = (TimedSentence(0.0, 0.84, "Синя"), TimedSentence(0.8, 0.82, "и"), TimedSentence(0.83, 1.5, "риба"))
    labels = build(utterance("Синя и риба", spoken), vocabulary, timestamps=True)
    times = [token - ZERO for token in labels.inputs if token >= ZERO]
    assert times == [0, 42, 42, 42, 42, 75]


def test_a_line_without_times_keeps_the_no_timestamps_prompt(vocabulary: Vocabulary) -> None:
    assert build(utterance("риба"), vocabulary, timestamps=True).inputs[3] == NO_TIMESTAMPS


def test_no_speech_is_taught_at_the_start_token_and_ends_at_once(vocabulary: Vocabulary) -> None:
    labels = build(utterance("", ()), vocabulary, timestamps=False)
    assert labels.inputs == (START, BULGARIAN, TRANSCRIBE, NO_TIMESTAMPS)
    assert labels.targets == (NO_SPEECH, IGNORED, IGNORED, END)


@pytest.mark.parametrize(("kind", "transcribe", "no_speech", "no_timestamps"), [("v2", 50359, 50362, 50363), ("v3", 50360, 50363, 50364)])
def test_every_vocabulary_has_its_own_ids(
    kind: str, transcribe: int, no_speech: int, no_timestamps: int, vocabularies: dict[str, Vocabulary]
) -> None:
    """In large-v3 and turbo Cantonese pushes all that follows the languages one up."""
    chosen = vocabularies[kind]
    spoken = utterance("риба", (TimedSentence(0, 30, "риба"),))
    assert build(spoken, chosen).inputs[:4] == (START, BULGARIAN, transcribe, no_timestamps)
    timed = build(spoken, chosen, timestamps=True)
    assert timed.inputs[:4] == (START, BULGARIAN, transcribe, no_timestamps + 1)
    assert timed.targets[-2:] == (chosen.size - 1, END), "30 s is the last token there is"
    assert build(utterance("", ()), chosen).targets == (no_speech, IGNORED, IGNORED, END)


def test_task_and_language_of_the_run_win(vocabulary: Vocabulary) -> None:
    labels = build(utterance("blue fish"), vocabulary, task="translate", language="fr")
    assert labels.inputs[:4] == (START, 50265, 50358, NO_TIMESTAMPS)


def test_scripts_without_spaces_get_no_leading_space(vocabulary: Vocabulary) -> None:
    labels = build(Utterance(Path("a.wav"), "设定", "zh"), vocabulary, timestamps=False)
    assert labels.inputs[4:] == tuple(vocabulary.encode("设定"))


def test_an_english_only_model_has_a_short_prompt_and_no_other_language(tiny_en_model: Path) -> None:
    english = Vocabulary.load(tiny_en_model)
    labels = build(Utterance(Path("a.wav"), "Hello", "en"), english, timestamps=False)
    assert labels.inputs[:2] == (50257, 50362)
    with pytest.raises(UsageError, match="English-only"):
        build(utterance("риба"), english, timestamps=False)


def test_styles_are_mixed_by_their_shares(vocabulary: Vocabulary) -> None:
    """Half with times and half without is what users of other tools ask for and cannot have."""
    spoken = utterance("риба", (TimedSentence(0, 1, "риба"),))
    labeller, rng = Labeller(vocabulary, timestamps=0.5, previous_text=0.3), np.random.default_rng(0)
    made = [labeller([Placed(spoken, 0.0)], rng, previous=utterance("Синя")).inputs for _ in range(1000)]
    assert 430 < sum(NO_TIMESTAMPS not in inputs for inputs in made) < 570
    assert 240 < sum(inputs[0] == vocabulary.previous_text for inputs in made) < 360


def test_the_previous_text_carries_no_loss_and_leaves_room(vocabulary: Vocabulary) -> None:
    labeller = Labeller(vocabulary, previous_text=1.0)
    long = utterance("дума " * 100)
    labels = labeller([Placed(long, 0.0)], np.random.default_rng(0), previous=utterance("преди " * 200))
    text = vocabulary.encode_text(long.sentence, "bg")
    start = labels.inputs.index(START)
    assert len(labels.inputs) <= 447
    assert start > 20, "the end of the previous text is there"
    assert labels.inputs[0] == vocabulary.previous_text
    assert labels.targets[: start + 3] == (IGNORED,) * (start + 3)
    assert labels.targets[start + 3 :] == (*text, END)


def test_joints_of_several_clips_are_times(vocabulary: Vocabulary) -> None:
    labeller = Labeller(vocabulary, timestamps=1.0)
    placed = [Placed(utterance("Синя"), 0.0), Placed(utterance("риба"), 2.3)]
    labels = labeller(placed, np.random.default_rng(0))
    first, second = vocabulary.encode(" Синя"), vocabulary.encode(" риба")
    assert labels.inputs[3:] == (ZERO, *first, ZERO + 100, ZERO + 115, *second, ZERO + 215)
    plain = Labeller(vocabulary)(placed, np.random.default_rng(0))
    assert plain.inputs[3:] == (NO_TIMESTAMPS, *vocabulary.encode(" Синя риба"))


def test_chinese_clips_are_joined_without_a_space(vocabulary: Vocabulary) -> None:
    placed = [Placed(Utterance(Path("a.wav"), text, "zh", 1.0), start_s) for text, start_s in (("设定", 0.0), ("温度", 1.0))]
    assert Labeller(vocabulary)(placed, np.random.default_rng(0)).inputs[4:] == tuple(vocabulary.encode("设定温度"))


def test_the_longest_labels_are_counted_in_tokens_with_times(vocabulary: Vocabulary) -> None:
    spoken = utterance("Синя риба", (TimedSentence(0.0, 0.84, "Синя"), TimedSentence(0.9, 1.5, "риба")))
    text = len(vocabulary.encode(" Синя")) + len(vocabulary.encode(" риба"))
    assert Labeller(vocabulary, timestamps=0.5).longest(spoken) == text + 4
