"""Fine-tuning runs of a few steps that tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from finewhisper.manifest import Utterance, write
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.whisper import LengthAwareWhisper


def quick_run(folder: Path, model: Path, **options: object) -> FinetuneConfig:
    """A small LoRA run on the clips of ``folder``, as ``speech_folder`` makes them, without full windows; ``options`` win."""
    defaults: dict[str, object] = {
        "model": model,
        "train": folder / "train.jsonl",
        "output": folder / "result",
        "batch_size": 4,
        "lora": LoraOptions(rank=4, alpha=8),
        "full_window_share": 0.0,
        "precision": "float32",  # what tests compare exactly
        "device": "cpu",
        "tracker": "none",
    }
    return FinetuneConfig.model_validate(defaults | options)


def long_clips(folder: Path, count: int, seconds: float) -> Path:
    """The folder with so many clips of noise and their ``train.jsonl``, for batches that fill memory."""
    rng = np.random.default_rng(0)
    utterances = []
    for index in range(count):
        path = folder / f"noise{index}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * 16_000)), 16_000)
        utterances.append(Utterance(path, f"noise number {index}", "en", seconds))
    write(folder / "train.jsonl", utterances)
    return folder


def exhaust_memory(monkeypatch: pytest.MonkeyPatch, at_frames: int = 0) -> None:
    """Let a training step raise what torch raises when it cannot allocate, for batches of more frames than so many in all."""
    forward = LengthAwareWhisper.forward

    def full(model: LengthAwareWhisper, input_features: torch.Tensor | None = None, **arguments: Any) -> Any:
        if input_features is not None and "labels" in arguments and input_features.shape[0] * input_features.shape[2] > at_frames:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return forward(model, input_features, **arguments)

    monkeypatch.setattr(LengthAwareWhisper, "forward", full)
