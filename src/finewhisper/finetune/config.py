"""Everything ``finewhisper finetune`` needs, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from finewhisper.audio import WINDOW_S, Seconds
from finewhisper.config import Config, Flag
from finewhisper.transcript import Task


class LoraOptions(Config):
    """Low-rank adaptation (Hu et al. 2021, arXiv 2106.09685)."""

    rank: int = Field(32, ge=1)
    """Rank of the update of each matrix."""
    alpha: float = Field(64.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the update's inputs that are dropped in training; above 0 every adapted layer keeps its own copy of its input."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    """Names of the linear layers that are adapted; by default all of them."""


class FinetuneConfig(Config):
    """Trains a LoRA adapter by default, or all weights with --method full.

    Every utterance is heard in a context of its own length and a little silence, which is many times faster than 30 s windows; a
    share of full windows keeps the model good in tools that pad.
    """

    model: Annotated[Path, Flag(positional=True, alias="-m")]
    """Folder of the base model, as `finewhisper download` makes it."""
    train: Path
    """Manifest to train on."""
    dev: Path | None = None
    """Manifest to choose the best checkpoint on; without it the last one is kept."""
    output: Annotated[Path, Flag(alias="-o")]
    """Folder for the result; checkpoints and logs go below it too."""
    language: str | None = None
    """Language of all utterances, as a code or name; default: each line's own."""
    task: Task = "transcribe"
    """What the sentences are: transcripts, or English translations."""
    timestamps: bool = False
    """Train on the times in `sentences` too, for lines that have them."""

    method: Literal["lora", "full"] = "lora"
    """Train a small adapter, or all weights."""
    lora: LoraOptions = LoraOptions()
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; by default it follows the model's size: 5e-4 (LoRA) or 2.5e-5 (full) for base, less for larger models."""
    epochs: float = Field(4.0, gt=0)
    """Times that every utterance is heard."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps even if epochs are left."""
    batch_size: int = Field(16, ge=1)
    """Most utterances in a batch."""
    batch_seconds: Seconds = Field(120.0, ge=WINDOW_S)
    """Most seconds of encoder context in a batch; bounds memory."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are added up before each optimizer step."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; then it falls along a cosine."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay."""

    margin_s: tuple[Seconds, Seconds] = (0.1, 2.0)
    """Range of the random silence after the longest clip of a batch, seconds."""
    full_window_share: float = Field(0.12, ge=0, le=1)
    """Share of the batches whose clips are padded to 30 s."""

    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type to compute in; bfloat16 on recent GPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto is CUDA where there is one."""
    workers: int = Field(0, ge=0)
    """Processes that decode audio; 0: the training process does it."""
    seed: int = 0
    """Seed of the data order, margins, dropout and new weights."""
    metric: Literal["auto", "wer", "cer"] = "auto"
    """Error rate that chooses the best checkpoint; auto: CER for scripts without spaces, else WER."""
    tracker: Literal["tensorboard", "none"] = "tensorboard"
    """Where losses and error rates are logged while training runs."""
    skip_bad: bool = False
    """Leave out utterances that cannot be used, listing them, instead of stopping."""
    resume: bool = False
    """Continue from the last checkpoint in --output."""
    overwrite: bool = False
    """Delete what is in --output first."""

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneConfig:
        low, high = self.margin_s
        if not 0 <= low <= high:
            raise ValueError(f"--margin-s: give a lower and an upper bound, not {low:g} {high:g}")
        if self.resume and self.overwrite:
            raise ValueError("--resume continues what --overwrite deletes; choose one")
        return self
