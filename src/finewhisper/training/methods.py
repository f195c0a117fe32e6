"""The methods differ in which weights learn, and in what form the others are held."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from transformers import BitsAndBytesConfig, TrainerCallback

from finewhisper import whisper
from finewhisper.config import did_you_mean
from finewhisper.engines.transformers import PRECISIONS
from finewhisper.errors import UsageError
from finewhisper.model import ModelFolder
from finewhisper.training.adalora import RankAllocation, remaining
from finewhisper.training.config import FinetuneConfig
from finewhisper.whisper import LengthAwareWhisper

#: The learning rates that OpenAI trained each width with (Radford et al. 2022, table 17), by d_model.
PRETRAINING_RATES = {384: 1.5e-3, 512: 1e-3, 768: 5e-4, 1024: 2.5e-4, 1280: 1.75e-4}
#: What each method learns with, as a share of that: an adapter's weights are new, a full model's are not.
RATE_SHARES = {"lora": 0.5, "adalora": 2.0, "full": 0.025}
#: Our names of optimizers, and Trainer's.
OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw-8bit": "adamw_bnb_8bit", "adafactor": "adafactor"}
#: torch.compile's backend.
COMPILER = "inductor"
#: The width from which activations are recomputed by default: that of the large models.
CHECKPOINTED_WIDTH = 1280


def load_base(folder: ModelFolder, config: FinetuneConfig, device: torch.device) -> LengthAwareWhisper:
    """The model to start from: in the compute precision or quantised below an adapter, in float32 where it learns itself.

    Raises:
        ModelError: the weights do not fit the configuration.
    """
    dtype = PRECISIONS[config.precision if config.trains_adapter else "float32"]
    if config.quantize == "none":
        return whisper.load(folder, dtype)
    kind = (
        BitsAndBytesConfig(load_in_8bit=True)
        if config.quantize == "8bit"
        else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype)
    )
    place = device.type if device.type == "cpu" else int(os.environ.get("LOCAL_RANK", 0))  # quantised weights do not move afterwards
    return whisper.load(folder, dtype, quantization_config=kind, device_map={"": place})


def adapt(model: LengthAwareWhisper, config: FinetuneConfig) -> LengthAwareWhisper | PeftModel:
    """Freeze and extend ``model`` as the options ask; what ``requires_grad`` is what learns.

    Raises:
        UsageError: no layer has a name in ``--lora.targets`` or ``--freeze``, or nothing is left to learn.
    """
    frozen = _frozen(config.freeze, model)
    adapted = _with_adapter(model, config, frozen) if config.trains_adapter else _with_frozen(model, frozen)
    if checkpoints(config, model.config.d_model):
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable  # the name before 5.20
        enable({"use_reentrant": False})  # works without gradients of a layer's input, which a frozen encoder has none of
    if config.compile:
        for layer in (*model.model.encoder.layers, *model.model.decoder.layers):
            layer.compile(dynamic=True, backend=COMPILER)  # layers of one kind share what was compiled, for any length and batch size
    return adapted


def checkpoints(config: FinetuneConfig, d_model: int) -> bool:
    """Whether layers are computed again in the backward pass."""
    return d_model >= CHECKPOINTED_WIDTH if config.gradient_checkpointing is None else config.gradient_checkpointing


def initial_rank(config: FinetuneConfig) -> int:
    """The rank that AdaLoRA's matrices begin with."""
    return config.adalora.initial_rank or max(config.lora.rank + 1, config.lora.rank * 3 // 2)


def callbacks(model: LengthAwareWhisper | PeftModel, config: FinetuneConfig) -> list[TrainerCallback]:
    """What a method has to do within the training loop."""
    return [RankAllocation(model, config.adalora)] if config.method == "adalora" else []


def save(model: LengthAwareWhisper | PeftModel, base: ModelFolder, target: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write the adapter or the whole model into the existing folder ``target``.

    Args:
        weights: what to write in place of the model's own, for a model that holds only a part of them.
    """
    if not isinstance(model, PeftModel):
        whisper.save(model, base.files, target, weights)
        return
    if isinstance(model.peft_config["default"], AdaLoraConfig):
        model.peft_config["default"].rank_pattern = remaining(model)  # peft leaves the other directions out of the file
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Adapter 'default': .* invalid shape")  # a matrix may be left without any rank
        model.save_pretrained(target, state_dict=weights)


def default_learning_rate(method: str, d_model: int) -> float:
    """A share of the pre-training rate of the model's size.

    The fortieth for full training is the rule of thumb of the published ones; the half for LoRA gives whisper-base the rate of the
    demo's recipe. AdaLoRA's updates begin smaller and its rate is higher; docs/finetune.md has the measurement.
    """
    nearest = min(PRETRAINING_RATES, key=lambda width: abs(width - d_model))
    return PRETRAINING_RATES[nearest] * RATE_SHARES[method]


def _with_adapter(model: LengthAwareWhisper, config: FinetuneConfig, frozen: re.Pattern[str]) -> PeftModel:
    layers = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and not frozen.fullmatch(name)]
    absent = [target for target in config.lora.targets if not any(f".{name}".endswith(f".{target}") for name in layers)]
    if absent:
        kept = f" outside --freeze {' '.join(config.freeze)}" if config.freeze else ""
        known = sorted({name.rpartition(".")[2] for name in layers})
        raise UsageError(f"--lora.targets {' '.join(absent)}: no linear layer{kept} has this name; there are {', '.join(known)}")
    shared = {
        "lora_alpha": config.lora.alpha,
        "lora_dropout": config.lora.dropout,
        "target_modules": list(config.lora.targets),
        "exclude_modules": frozen.pattern if config.freeze else None,
    }
    if config.method == "lora":
        return get_peft_model(model, LoraConfig(r=config.lora.rank, use_rslora=config.lora.rslora, use_dora=config.lora.dora, **shared))
    adalora = AdaLoraConfig(
        init_r=initial_rank(config), target_r=config.lora.rank, total_step=1, **shared
    )  # RankAllocation knows the steps
    return get_peft_model(model, adalora)


def _with_frozen(model: LengthAwareWhisper, frozen: re.Pattern[str]) -> LengthAwareWhisper:
    model.model.encoder.embed_positions.requires_grad_(False)  # sinusoids, not learnt in pre-training either
    for name, weight in model.named_parameters():
        if frozen.fullmatch(name):
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise UsageError("--freeze: nothing is left to learn; name fewer parts")
    return model


def _frozen(parts: Iterable[str], model: LengthAwareWhisper) -> re.Pattern[str]:
    """A pattern of the names of all modules and weights that lie in ``parts``."""
    names = [name.removeprefix("model.") for name, _ in model.named_modules() if name]
    expressions = []
    for part in parts:
        expression = r"\.".join(_numbers(piece) for piece in part.removeprefix("model.").split("."))
        if not any(re.fullmatch(expression, name) for name in names):
            raise UsageError(f"--freeze {part}: the model has no such part{did_you_mean(part, names)}")
        expressions.append(expression)
    return re.compile(rf"model\.(?:{'|'.join(expressions)})(?:\..+)?" if expressions else r"(?!)")


def _numbers(piece: str) -> str:
    """A pattern of one step of a name; ``0-3`` stands for the layers 0, 1, 2 and 3."""
    bounds = re.fullmatch(r"(\d+)-(\d+)", piece)
    return f"(?:{'|'.join(map(str, range(int(bounds[1]), int(bounds[2]) + 1)))})" if bounds else re.escape(piece)
