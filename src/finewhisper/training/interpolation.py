"""A model's weights anywhere on the straight line from the base to what was learnt.

Interpolating with the base gives back some of what fine-tuning forgot (Wortsman et al. 2022, arXiv 2109.01903). An adapter stays an
adapter: scaling its last factor scales its update, so that whoever loads it, with finewhisper or with peft, gets the chosen model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from peft import PeftModel

from finewhisper import whisper
from finewhisper.model import ModelFolder
from finewhisper.whisper import LengthAwareWhisper

if TYPE_CHECKING:
    from finewhisper.training.trainer import SpeechTrainer

Weights = dict[str, torch.Tensor]  # on the CPU, by the names of the model's parameters


class Line:
    """The weights of ``model`` that learn, and where they were before they did.

    It must be made before training: DoRA's magnitudes begin at values of their own.
    """

    def __init__(self, model: LengthAwareWhisper | PeftModel, base: ModelFolder) -> None:
        self.model, self.base = model, base
        moving = self._moving() if isinstance(model, PeftModel) else []
        self._start: Weights = {name: weight for name, weight in self.learnt().items() if name in moving}

    def learnt(self) -> Weights:
        """A copy of the weights that learn, as they are now."""
        return {name: weight.detach().cpu().clone() for name, weight in self._parameters().items()}

    def place(self, learnt: Weights, scale: float) -> None:
        """Put the model at ``scale`` of the way from the base (0) to ``learnt`` (1)."""
        start = self.start() if scale != 1 else {}
        for name, parameter in self._parameters().items():
            weight = learnt[name]
            parameter.data.copy_(start[name] + scale * (weight - start[name]) if name in start else weight)

    def start(self) -> Weights:
        """Where the weights that are interpolated begin; the base's own, read again, where all weights learn."""
        if not self._start:
            weights = whisper.load(self.base, torch.float32).state_dict()
            self._start = {name: weights[name] for name in self._parameters()}
        return self._start

    def _parameters(self) -> dict[str, torch.nn.Parameter]:
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    def _moving(self) -> list[str]:
        """The factors of an adapter that its update is proportional to: E of AdaLoRA's B·E·A, else LoRA's B; and DoRA's magnitudes."""
        names = list(self._parameters())
        factor = "lora_E" if any(".lora_E." in name for name in names) else "lora_B"
        return [name for name in names if f".{factor}." in name or ".lora_magnitude_vector." in name]


def average(line: Line, trainer: SpeechTrainer, checkpoints: Sequence[Path]) -> Weights:
    """The mean of the weights of several checkpoints of one run (of an adapter's factors, which lie close together)."""
    total: Weights = {}
    for checkpoint in checkpoints:
        trainer._load_from_checkpoint(str(checkpoint))
        loaded = line.learnt()
        total = {name: total[name] + weight for name, weight in loaded.items()} if total else loaded
    return {name: weight / len(checkpoints) for name, weight in total.items()}
