"""Fine-tuning runs of a few steps that tests share."""

from __future__ import annotations

from pathlib import Path

from finewhisper.finetune.config import FinetuneConfig, LoraOptions


def quick_run(folder: Path, model: Path, **options: object) -> FinetuneConfig:
    """A small LoRA run on the clips of ``folder``, as ``speech_folder`` makes them, without full windows; ``options`` win."""
    defaults: dict[str, object] = {
        "model": model,
        "train": folder / "train.jsonl",
        "output": folder / "result",
        "batch_size": 4,
        "lora": LoraOptions(rank=4, alpha=8),
        "full_window_share": 0.0,
        "device": "cpu",
        "tracker": "none",
    }
    return FinetuneConfig.model_validate(defaults | options)
