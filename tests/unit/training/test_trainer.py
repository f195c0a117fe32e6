"""The Trainer's parts that a run on a CPU does not show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from finewhisper.training.batches import BatchPlan, Clip, LengthBatches
from finewhisper.training.dataset import SpeechDataset
from finewhisper.training.trainer import SpeechTrainer


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_wait_for_a_gpu_in_memory_that_it_can_fetch_from(device: str) -> None:
    plan = BatchPlan(4, 30.0, (0.1, 1.0), 0.0, 0, 1)
    trainer: Any = SimpleNamespace(
        args=SimpleNamespace(device=torch.device(device), dataloader_num_workers=0),
        accelerator=SimpleNamespace(prepare=lambda loader: loader),
        train_dataset=SpeechDataset([], labeller=None),  # type: ignore[arg-type] # nothing is read
        batches=LengthBatches([Clip(1.0)], plan),
    )
    assert SpeechTrainer.get_train_dataloader(trainer).pin_memory == (device == "cuda")
