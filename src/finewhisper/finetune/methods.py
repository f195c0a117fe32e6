"""The methods differ in one thing: which weights learn."""

from __future__ import annotations

from peft import LoraConfig, PeftModel, get_peft_model

from finewhisper.errors import UsageError
from finewhisper.finetune.config import FinetuneConfig
from finewhisper.whisper import LengthAwareWhisper

#: The learning rates that OpenAI trained each width with (Radford et al. 2022, table 17), by d_model.
PRETRAINING_RATES = {384: 1.5e-3, 512: 1e-3, 768: 5e-4, 1024: 2.5e-4, 1280: 1.75e-4}


def adapt(model: LengthAwareWhisper, config: FinetuneConfig) -> LengthAwareWhisper | PeftModel:
    """Freeze and extend ``model`` as the method asks; what ``requires_grad`` is what learns.

    Raises:
        UsageError: no layer has a name in ``--lora.targets``.
    """
    if config.method == "full":
        model.model.encoder.embed_positions.requires_grad_(False)  # sinusoids, not learnt in pre-training either
        return model
    options = LoraConfig(
        r=config.lora.rank, lora_alpha=config.lora.alpha, lora_dropout=config.lora.dropout, target_modules=list(config.lora.targets)
    )
    try:
        return get_peft_model(model, options)
    except ValueError as error:
        raise UsageError(f"--lora.targets {' '.join(config.lora.targets)}: {error}") from error


def default_learning_rate(method: str, d_model: int) -> float:
    """Half the pre-training rate for LoRA, whose weights are new, and a fortieth for full training, whose weights are not.

    The fortieth is the rule of thumb of the published full fine-tunings; the half gives whisper-base the rate of the demo's recipe.
    """
    nearest = min(PRETRAINING_RATES, key=lambda width: abs(width - d_model))
    return PRETRAINING_RATES[nearest] * (0.5 if method == "lora" else 0.025)
