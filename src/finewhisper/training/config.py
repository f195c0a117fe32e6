"""Everything ``finewhisper finetune`` needs, declared once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from finewhisper.audio import WINDOW_S, Seconds
from finewhisper.config import Config, Flag
from finewhisper.shared_options import ComputeOptions, LanguageOptions


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
    rslora: bool = False
    """Scale by alpha / √rank instead, so that high ranks do not learn more slowly (rsLoRA, arXiv 2312.03732)."""
    dora: bool = False
    """Learn the length of each matrix row apart from its direction (DoRA, arXiv 2402.09353); slower."""


class AdaloraOptions(Config):
    """AdaLoRA (Zhang et al. 2023, arXiv 2303.10512): ranks move to the matrices that use them; --lora.rank is their mean at the end."""

    initial_rank: int | None = Field(None, ge=2)
    """Rank that every matrix begins with; by default half as much again as --lora.rank."""
    hold_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps at the beginning in which no rank is taken away."""
    final_share: float = Field(0.3, ge=0, lt=1)
    """Share of the steps at the end in which the ranks no longer change."""
    orthogonality: float = Field(0.5, ge=0)
    """Weight of the pull that keeps the directions of an update apart from each other."""


class SweepOptions(Config):
    """What is tried on the development sets after training; what is better there for sure becomes the result."""

    scales: tuple[float, ...] = ()
    """How much of what was learnt is added to the base, tried besides 1; by default 0.8, with --keep 0.4 0.6 0.8; 1 tries no other."""
    average: bool = True
    """Try the mean of the checkpoints that are left, the best and the last, as well."""

    @field_validator("scales")
    @classmethod
    def _shares(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < scale <= 1 for scale in scales):
            raise ValueError(f"scales lie above 0, the base, and up to 1, the tuned model, not {' '.join(map(str, scales))}")
        return scales


class FinetuneConfig(LanguageOptions, ComputeOptions):
    """Trains a LoRA adapter by default, an AdaLoRA adapter with --method adalora, or all weights with --method full.

    Every utterance is heard in a context of its own length and a little silence, which is many times faster than 30 s windows; a
    share of full windows keeps the model good in tools that pad.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Common": ("model", "output", "language", "method", "epochs", "batch_seconds", "device", "precision"),
        "Data": ("train", "dev", "keep", "augment", "timestamps", "skip_bad"),
        "Training": ("learning_rate", "max_steps", "patience", "threads"),
        "Adapter": ("lora.rank", "lora.alpha"),
        "Output": ("resume", "overwrite", "tracker"),
    }

    model: Annotated[Path, Flag(positional=True, alias="-m")]
    """Folder of the base model, as `finewhisper download` makes it."""
    train: Path
    """Manifest to train on."""
    dev: tuple[Path, ...] = ()
    """Manifests to choose the best checkpoint on, by the mean of their error rates; without any the last one is kept."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder for the result; checkpoints and logs go below it too."""
    timestamps: float = Field(0.5, ge=0, le=1)
    """Share of the windows with known times (`sentences`, or the joints of stitched clips) that are taught with them."""
    previous_text: float = Field(0.0, ge=0, le=1)
    """Share of the windows that are shown the sentence of the manifest's line before, where speaker or file are the same."""
    no_speech: float = Field(0.0, ge=0, lt=1)
    """Share of all windows that are quiet or noise, made up on the spot; lines with empty `sentence` count extra."""

    method: Literal["lora", "adalora", "full"] = "lora"
    """Train a small adapter, one whose ranks are shared out while it trains, or all weights."""
    lora: LoraOptions = LoraOptions()
    adalora: AdaloraOptions = AdaloraOptions()
    freeze: tuple[str, ...] = ()
    """Parts that stay as they are, such as encoder, encoder.layers.0-3 or decoder.embed_tokens: no training, no adapter."""
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Hold the base below an adapter in so many bits to save memory (QLoRA, arXiv 2305.14314); needs bitsandbytes."""
    learning_rate: float | None = Field(None, gt=0)
    """Peak learning rate; by default it follows method and model size: for base 5e-4 (LoRA), 2e-3 (AdaLoRA), 2.5e-5 (full)."""
    optimizer: Literal["adamw", "adamw-8bit", "adafactor"] = "adamw"
    """adamw-8bit and adafactor keep less beside each trained weight; adamw-8bit needs bitsandbytes."""
    epochs: float = Field(4.0, gt=0)
    """Times that every utterance is heard."""
    max_steps: int | None = Field(None, ge=1)
    """Stop after this many optimizer steps even if epochs are left."""
    batch_size: int = Field(16, ge=1)
    """Most utterances in a batch; several processes share it."""
    batch_seconds: Annotated[Seconds, Field(ge=WINDOW_S)] | Literal["auto"] = 120.0
    """Most seconds of encoder context in a batch; bounds memory. auto takes as many as fit."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are added up before each optimizer step."""
    warmup_share: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; then it falls along a cosine."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's weight decay."""

    margin_s: tuple[Seconds, Seconds] = (0.1, 0.5)
    """Range of the random silence after the longest clip of a batch, seconds."""
    full_window_share: float = Field(0.5, ge=0, le=1)
    """Share of the batches that are 30 s windows; their silence is condensed, so that they cost little more than the others."""
    stitched_share: float = Field(0.1, ge=0, le=1)
    """Share of the batches whose 30 s windows hold several clips of one speaker; never more than --full-window-share."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type to compute in and to hold the base below an adapter in; what is trained stays float32. auto is the fastest of the machine."""
    gradient_checkpointing: bool | None = None
    """Keep less of each layer and compute it again in the backward pass: less memory, slower; by default on for large models."""
    compile: bool = False
    """Compile the layers with torch.compile, which takes minutes; needs a C++ compiler, or Triton on a GPU. Does not pay on CPUs."""
    workers: int = Field(0, ge=0)
    """Processes that decode audio; 0: the training process does it."""
    augment: Path | None = None
    """YAML file that says how clips are changed each time they are heard; `finewhisper augment` lets you listen to it."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Seed of the data order, margins, augmentation, dropout and new weights."""
    metric: Literal["auto", "wer", "cer"] = "auto"
    """Error rate that chooses the best checkpoint; auto: for each manifest CER if it has scripts without spaces, else WER."""
    eval_steps: int | None = Field(None, ge=1)
    """Optimizer steps between evaluations on --dev, each with a checkpoint; by default there is one after each epoch."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations in a row without a new best one; by default all epochs are trained."""
    sweep: SweepOptions = SweepOptions()
    keep: tuple[Path, ...] = ()
    """Manifests of speech that must not be forgotten, such as es.jsonl fr.jsonl; the report shows base, tuned and interpolated on each."""
    keep_tolerance: float = Field(2.0, ge=0)
    """Points by which the error rate of a kept manifest may rise over the base's for a model to be chosen."""
    tracker: str = "tensorboard"
    """Where losses and error rates are logged while training runs: tensorboard (in --output), none, or another that transformers' Trainer
    knows, such as wandb or mlflow."""
    skip_bad: bool = False
    """Leave out utterances that cannot be used, listing them, instead of stopping."""
    save_steps: int | None = Field(None, ge=1)
    """Optimizer steps between checkpoints; by default there is one after each epoch only."""
    keep_checkpoints: int = Field(2, ge=2)
    """Checkpoints that are left, the last ones and the best; more take more disk and make the mean of them that is tried another."""
    resume: bool = False
    """Continue from the last checkpoint in --output."""
    overwrite: bool = False
    """Delete what is in --output first."""

    @field_validator("dev", mode="before")
    @classmethod
    def _one_or_several(cls, paths: Any) -> Any:
        """A recipe may name one manifest without making a list of it."""
        return () if paths is None else (paths,) if isinstance(paths, (str, Path)) else paths

    @model_validator(mode="after")
    def _consistent(self) -> FinetuneConfig:
        low, high = self.margin_s
        if not 0 <= low <= high:
            raise ValueError(f"--margin-s: give a lower and an upper bound, not {low:g} {high:g}")
        if len(set(self.dev)) < len(self.dev):
            raise ValueError("--dev: names a manifest twice; give each once")
        if not self.dev and (self.eval_steps or self.patience):
            raise ValueError(f"--{'eval-steps' if self.eval_steps else 'patience'}: there is nothing to evaluate; add --dev MANIFEST")
        if self.resume and self.overwrite:
            raise ValueError("--resume continues what --overwrite deletes; choose one")
        if self.method == "full" and self.quantize != "none":
            raise ValueError(f"--quantize {self.quantize}: a base of so few bits cannot be trained itself; use --method lora")
        if self.method != "lora" and (self.lora.dora or self.lora.rslora):
            raise ValueError(f"--lora.dora and --lora.rslora are variants of --method lora, not of {self.method}")
        initial = self.adalora.initial_rank
        if self.method == "adalora" and initial is not None and initial <= self.lora.rank:
            raise ValueError(f"--adalora.initial-rank {initial}: must be more than --lora.rank {self.lora.rank}, its mean at the end")
        if self.adalora.hold_share + self.adalora.final_share >= 1:
            raise ValueError("--adalora.hold-share and --adalora.final-share leave no steps to take ranks away; lower one")
        return self

    @property
    def trains_adapter(self) -> bool:
        """Whether the result is an adapter to be merged, not a whole model."""
        return self.method != "full"
