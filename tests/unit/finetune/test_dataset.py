"""Batches hold every utterance once, within their limits, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from finewhisper.audio import FRAMES_PER_SECOND, WINDOW_FRAMES
from finewhisper.features import CONTEXT_STEP_FRAMES
from finewhisper.finetune.dataset import BatchPlan, Example, LengthBatches, SpeechDataset, collate
from finewhisper.finetune.labels import Labels
from finewhisper.manifest import read
from finewhisper.vocabulary import IGNORED

plans = st.builds(
    BatchPlan,
    batch_size=st.integers(1, 20),
    batch_seconds=st.floats(30, 300),
    margin_s=st.just((0.1, 2.0)),
    full_window_share=st.floats(0, 1),
    seed=st.integers(0, 5),
    epochs=st.just(3),
)
durations = st.lists(st.floats(0.1, 30), min_size=1, max_size=120)


@settings(max_examples=60, deadline=None)
@given(durations, plans)
def test_every_epoch_has_every_utterance_once_in_the_same_number_of_batches(lengths: list[float], plan: BatchPlan) -> None:
    batches = LengthBatches(lengths, plan)
    for epoch in range(plan.epochs):
        batches.set_epoch(epoch)
        made = list(batches)
        assert len(made) == len(batches)
        assert sorted(item.row for batch in made for item in batch) == list(range(len(lengths)))
        assert made == list(batches), "the same epoch is the same again"


@settings(max_examples=60, deadline=None)
@given(durations, plans)
def test_a_batch_keeps_its_limits_and_no_clip_is_cut(lengths: list[float], plan: BatchPlan) -> None:
    for batch in LengthBatches(lengths, plan):
        frames = {item.frames for item in batch}
        assert len(frames) == 1
        context = frames.pop()
        assert len(batch) <= plan.batch_size
        assert len(batch) == 1 or len(batch) * context <= plan.batch_seconds * FRAMES_PER_SECOND
        assert context % CONTEXT_STEP_FRAMES == 0
        assert context <= WINDOW_FRAMES
        assert all(lengths[item.row] * FRAMES_PER_SECOND <= context for item in batch)


def test_the_share_of_full_windows_is_kept() -> None:
    lengths = [1.0 + index % 5 for index in range(2000)]
    plan = BatchPlan(16, 120.0, (0.1, 2.0), 0.12, 0, 1)
    batches = list(LengthBatches(lengths, plan))
    full = [batch for batch in batches if batch[0].frames == WINDOW_FRAMES]
    assert 0.10 < len(full) / len(batches) < 0.14
    assert all(len(batch) <= 4 for batch in full)


def test_trimmed_batches_are_short_and_epochs_differ() -> None:
    lengths = [1.0 + index % 5 for index in range(500)]
    batches = LengthBatches(lengths, BatchPlan(16, 120.0, (0.1, 2.0), 0.0, 0, 2))
    first = list(batches)
    spent = sum(len(batch) * batch[0].frames for batch in first) / FRAMES_PER_SECOND
    assert spent < 2 * sum(lengths), "padding and margins cost less than the speech; 30 s windows would cost ten times as much"
    batches.set_epoch(1)
    assert list(batches) != first


def test_collate_pads_labels_with_what_carries_no_loss() -> None:
    batch = collate([Example(torch.zeros(16_000), Labels((1, 2, 3), (IGNORED, 3, 4))), Example(torch.zeros(16_000), Labels((1,), (9,)))])
    assert batch["waveforms"].shape == (2, 16_000)
    assert batch["decoder_input_ids"].tolist() == [[1, 2, 3], [1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, 3, 4], [9, IGNORED, IGNORED]]


def test_the_dataset_pads_to_the_context_that_was_asked_for(speech_folder: Path) -> None:
    utterances = read(speech_folder / "train.jsonl")
    labels = [Labels((1,), (2,))] * len(utterances)
    batches = LengthBatches([utterance.length_s() for utterance in utterances], BatchPlan(4, 60.0, (0.1, 0.5), 0.0, 0, 1))
    dataset = SpeechDataset(utterances, labels)
    for batch in batches:
        examples = [dataset[item] for item in batch]
        assert {len(example.waveform) for example in examples} == {batch[0].frames * 160}
