"""Both recipes train on the same speech, and memory that does not suffice is a row of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest
import shapes
import torch
import train_gpu

from finewhisper.training.batches import BatchPlan
from finewhisper.vocabulary import IGNORED


@pytest.fixture(scope="module")
def setting() -> train_gpu.Setting:
    plan = BatchPlan(batch_size=64, batch_seconds=30.0, margin_s=(0.1, 2.0), full_window_share=0.12, seed=0, epochs=1)
    return train_gpu.Setting(torch.device("cpu"), torch.float32, plan, steps=3, warmup=1, ceiling=1e12)


@pytest.fixture
def small_memory(monkeypatch):
    """A device on which a step with more than two windows at once runs out of memory."""
    real = train_gpu.log_mel_torch

    def features(waveforms: torch.Tensor, n_mels: int) -> torch.Tensor:
        if len(waveforms) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(waveforms, n_mels)

    monkeypatch.setattr(train_gpu, "log_mel_torch", features)


def words(batch: train_gpu.Batch) -> list[int]:
    labels = batch.inputs["labels"]
    return labels[(labels != IGNORED) & (labels < shapes.TEXT_TOKENS)].sort().values.tolist()


def test_both_recipes_learn_from_the_same_utterances(setting):
    setting = replace(setting, plan=replace(setting.plan, full_window_share=0.5, stitched_share=0.5), steps=8)
    trimmed, padded = train_gpu.make_batches(setting)
    windows = [len(batch.inputs["labels"]) for batch in trimmed]
    assert any(count < batch.utterances for count, batch in zip(windows, trimmed, strict=True)), "no window is stitched"
    assert [len(batch.inputs["labels"]) for batch in padded] == [batch.utterances for batch in trimmed]
    assert [batch.audio_s for batch in trimmed] == pytest.approx([batch.audio_s for batch in padded])
    assert [words(batch) for batch in trimmed] == [words(batch) for batch in padded]
    assert all(batch.work(every_position=True).frames == 3000 for batch in padded)
    assert all(batch.inputs["waveforms"].numel() <= 30 * 16_000 for batch in trimmed)


def test_a_padded_batch_is_split_until_it_fits(setting, small_memory):
    _, padded = train_gpu.make_batches(setting)
    learner = train_gpu.Learner(shapes.SHAPES["tiny"], "lora", checkpointing=False, setting=setting)
    row = train_gpu._measured(train_gpu.Row("tiny", "lora", False, "padded"), learner, padded, learner.padded_loss)
    most = max(len(batch.inputs["labels"]) for batch in padded)
    assert row.problem is None
    assert most / row.parts <= 2 < most / (row.parts / 2)
    assert row.audio_hours_per_hour > 0


def test_memory_that_does_not_suffice_is_a_row_that_says_so(setting, small_memory):
    shown = []
    rows = train_gpu.run(["tiny"], ["lora"], replace(setting, steps=1, warmup=0), shown.append)
    assert rows == shown
    assert [(row.recipe, row.problem) for row in rows[:2]] == [("trimmed", "out of memory"), ("padded", None)]
    assert "out of memory" in train_gpu.line(rows[0])
    assert rows[1].times_padded is None


def test_a_model_that_is_too_large_is_two_rows_that_say_so(setting, monkeypatch):
    def build(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(shapes, "build", build)
    rows = train_gpu.run(["tiny"], ["full"], setting, lambda _: None)
    assert [(row.recipe, row.checkpointing) for row in rows] == [(r, c) for c in (False, True) for r in ("trimmed", "padded")]
    assert all(row.problem == "out of memory: the model alone" for row in rows)


def test_parts_add_up_to_the_gradient_of_the_whole(setting):
    """Two utterances of equal length: the mean of the parts' losses is the whole batch's."""
    _, padded = train_gpu.make_batches(setting)
    learner = train_gpu.Learner(shapes.SHAPES["tiny"], "full", checkpointing=False, setting=setting)
    learner.optimizer.step = learner.optimizer.zero_grad = lambda *_, **__: None  # keep the gradients
    one = {name: values[:1].repeat(2, *[1] * (values.dim() - 1)) for name, values in padded[0].inputs.items()}
    gradients = []
    for parts in (1, 2):
        for weight in learner.weights:
            weight.grad = None
        learner.step(train_gpu.Batch(one, 2, 9.0, parts), learner.padded_loss)
        gradients.append(torch.cat([weight.grad.flatten() for weight in learner.weights]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-6)
