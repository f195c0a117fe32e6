"""What the model is given: whole sounds one after the other, in the context asked for, with the labels that belong to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from finewhisper.audio import SAMPLE_RATE
from finewhisper.manifest import Utterance, read
from finewhisper.training.batches import BatchPlan, Clip, LengthBatches, Window
from finewhisper.training.dataset import Example, SpeechDataset, collate
from finewhisper.training.labels import Labeller, Labels
from finewhisper.vocabulary import IGNORED, Vocabulary


@pytest.fixture
def utterances(speech_folder: Path) -> list[Utterance]:
    return [replace(utterance, extra={"speaker": "one"}) for utterance in read(speech_folder / "train.jsonl")]


@pytest.fixture
def labeller(random_model: Path) -> Labeller:
    return Labeller(Vocabulary.load(random_model), timestamps=1.0, languages=("en",))


def test_full_windows_end_in_silence_also_where_nobody_speaks(utterances: list[Utterance], labeller: Labeller) -> None:
    """What follows a window as condensed silence continues its end."""
    clips = [Clip(utterance.length_s()) for utterance in utterances]
    dataset = SpeechDataset(utterances, labeller)
    plan = BatchPlan(4, 60.0, (0.0, 0.0), 1.0, 0, 1, stitched_share=0.3, no_speech_share=0.4)
    windows = [window for batch in LengthBatches(clips, plan) for window in batch]
    assert any(not window.rows for window in windows)
    assert not any(dataset[window].waveform[-1600:].any() for window in windows if window.silence)


def test_only_full_windows_have_silence_after_them(utterances: list[Utterance], labeller: Labeller) -> None:
    dataset = SpeechDataset(utterances, labeller)
    batch = collate([dataset[Window((0,), 300, 1, (3, 4, 1))], dataset[Window((1,), 300, 1, (3, 4, 1))]])
    assert batch["silence"].tolist() == [[3, 4, 1], [3, 4, 1]]
    assert "silence" not in collate([dataset[Window((0,), 300, 1)]])


def test_the_dataset_pads_to_the_context_that_was_asked_for(utterances: list[Utterance], labeller: Labeller) -> None:
    clips = [Clip(utterance.length_s()) for utterance in utterances]
    dataset = SpeechDataset(utterances, labeller)
    for batch in LengthBatches(clips, BatchPlan(4, 60.0, (0.1, 0.5), 0.5, 0, 1, stitched_share=0.2)):
        examples = [dataset[window] for window in batch]
        assert {len(example.waveform) for example in examples} == {batch[0].frames * 160}
        assert [example.rows for example in examples] == [window.rows for window in batch]


def test_stitched_clips_sound_where_their_times_say(utterances: list[Utterance], labeller: Labeller) -> None:
    """A model learns times from the joints, so a joint must be where the label has it."""
    example = SpeechDataset(utterances, labeller)[Window((5, 6, 7), 3000, 1)]
    vocabulary = labeller.vocabulary
    times_s = [seconds for token in example.labels.inputs if (seconds := vocabulary.seconds(token)) is not None]
    assert len(times_s) == 6
    assert times_s == sorted(times_s)
    for (begin_s, end_s), row in zip(zip(times_s[::2], times_s[1::2], strict=True), (5, 6, 7), strict=True):
        sound = utterances[row].waveform()
        begin = round(begin_s * SAMPLE_RATE)
        heard = np.pad(example.waveform.numpy(), 320)[begin : begin + len(sound) + 640]
        lags = [lag for lag in range(641) if np.array_equal(heard[lag : lag + len(sound)], sound)]
        assert lags, "within 20 ms, one timestamp, of where the label has it"
        assert end_s - begin_s == pytest.approx(len(sound) / SAMPLE_RATE, abs=0.021)
    assert not example.waveform.numpy()[round((times_s[-1] + 0.03) * SAMPLE_RATE) :].any()


def test_the_same_window_is_the_same_again_and_another_seed_is_not(utterances: list[Utterance], labeller: Labeller) -> None:
    dataset = SpeechDataset(utterances, labeller)
    window = Window((1, 2), 3000, 7)
    assert torch.equal(dataset[window].waveform, dataset[window].waveform)
    assert dataset[window].labels == dataset[window].labels
    assert not torch.equal(dataset[window].waveform, dataset[window._replace(seed=8)].waveform), "the pause differs"


def test_a_window_without_rows_is_noise_in_which_nobody_speaks(utterances: list[Utterance], labeller: Labeller) -> None:
    dataset = SpeechDataset(utterances, labeller)
    levels = set()
    for seed in range(20):
        example = dataset[Window((), 200, seed)]
        assert len(example.waveform) == 200 * 160
        assert 0 < float(example.waveform.abs().max()) <= 1
        assert example.labels.targets == (labeller.vocabulary.no_speech, IGNORED, IGNORED, labeller.vocabulary.end_of_text)
        levels.add(round(float(example.waveform.std()), 4))
    assert len(levels) > 5


def test_the_line_before_is_the_prompt_where_the_speaker_is_the_same(utterances: list[Utterance], labeller: Labeller) -> None:
    other = [*utterances[:4], *[replace(utterance, extra={"speaker": "two"}) for utterance in utterances[4:]]]
    dataset = SpeechDataset(other, replace(labeller, previous_text=1.0))
    vocabulary = labeller.vocabulary
    before = vocabulary.encode(" the tone number 1")
    assert dataset[Window((2,), 400, 0)].labels.inputs[: len(before) + 2] == (
        vocabulary.previous_text, *before, vocabulary.start_of_transcript,
    )  # fmt: skip
    for first in (0, 4):
        assert dataset[Window((first,), 400, 0)].labels.inputs[0] == vocabulary.start_of_transcript


def test_collate_pads_labels_with_what_carries_no_loss() -> None:
    batch = collate(
        [Example(torch.zeros(16_000), Labels((1, 2, 3), (IGNORED, 3, 4)), (5,)), Example(torch.zeros(16_000), Labels((1,), (9,)), (6, 7))]
    )
    assert batch["waveforms"].shape == (2, 16_000)
    assert batch["decoder_input_ids"].tolist() == [[1, 2, 3], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 3, 4], [9, IGNORED, IGNORED]]
    assert batch["rows"] == [(5,), (6, 7)]
