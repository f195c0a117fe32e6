"""AdaLoRA (Zhang et al. 2023, arXiv 2303.10512): ranks are taken from the matrices that use them least.

Each update is B·diag(E)·A. After every optimizer step the importance of each of its directions is estimated from weights and gradients,
and the least important ones of the whole model are set to zero, until --lora.rank is left on average. peft has the arithmetic; what it
leaves to the training loop is done here: the call at the right point of each step, the number of steps, the pull towards orthogonal
directions (peft adds it to the loss only for models with a task type, and there once for each accumulated batch), and what a checkpoint
needs to go on as if nothing had happened.
"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finewhisper.errors import UsageError
from finewhisper.training.config import AdaloraOptions

Pattern = dict[str, list[bool]]  # which directions are left, by the name of the matrix' lora_E


class RankAllocation(TrainerCallback):  # type: ignore[misc]
    """Takes ranks away while the model trains."""

    def __init__(self, model: PeftModel, options: AdaloraOptions) -> None:
        self.model, self.options = model, options
        self.config = model.peft_config["default"]
        self.allocator = model.base_model.rankallocator
        self.pattern: Pattern | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        """Trainer alone knows how many optimizer steps there will be. Raises: UsageError: too few to learn which directions matter."""
        self.config.total_step = state.max_steps
        self.config.tinit = int(self.options.hold_share * state.max_steps)
        self.config.tfinal = int(self.options.final_share * state.max_steps)
        if self.config.total_step - self.config.tfinal < 2:
            raise UsageError(
                f"--method adalora: of {state.max_steps} steps none is left to learn which ranks matter before they are taken away; raise "
                "--max-steps or --epochs, or take --method lora"
            )
        if state.global_step:
            self.pattern = remaining(self.model)
            self._recall(optimizer)

    def on_pre_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        add_orthogonality_gradient(self.model, self.options.orthogonality)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, optimizer: Any = None, **_: Any
    ) -> None:
        """Between the optimizer's step and the clearing of the gradients, which the importance is made of."""
        if getattr(optimizer, "step_was_skipped", False):  # float16 overflowed: the gradients are not numbers
            for parameter in _directions(self.model).values():
                parameter.grad = torch.zeros_like(parameter)
        self.config.rank_pattern = self.pattern
        self.model.base_model.update_and_allocate(state.global_step + 1)
        # With a pattern in its configuration peft would cut the matrices in checkpoints, which then would not fit the model in training.
        self.pattern, self.config.rank_pattern = self.config.rank_pattern, None
        self._remember(optimizer)

    def _remember(self, optimizer: Any) -> None:
        """Keep the running means of the importance beside the optimizer's own, so that every checkpoint has both or neither."""
        for name, parameter in _directions(self.model).items():
            if name in self.allocator.exp_avg_ipt:
                optimizer.state[parameter]["sensitivity"] = self.allocator.exp_avg_ipt[name]
                optimizer.state[parameter]["uncertainty"] = self.allocator.exp_avg_unc[name]

    def _recall(self, optimizer: Any) -> None:
        for name, parameter in _directions(self.model).items():
            kept = optimizer.state.get(parameter, {})
            if "sensitivity" in kept:
                self.allocator.ipt[name] = torch.zeros_like(parameter)
                self.allocator.exp_avg_ipt[name], self.allocator.exp_avg_unc[name] = kept["sensitivity"], kept["uncertainty"]


def remaining(model: PeftModel) -> Pattern:
    """The directions whose weight is not zero, as peft writes them into ``adapter_config.json``."""
    return {name: (weight != 0).flatten().tolist() for name, weight in _directions(model).items() if ".lora_E." in name}


@torch.no_grad()
def add_orthogonality_gradient(model: PeftModel, strength: float) -> None:
    """Add to the gradients that of ``strength`` times the mean over all A and B of ‖A·Aᵀ - 1‖ and ‖Bᵀ·B - 1‖ (equation 4)."""
    matrices = {name: weight for name, weight in _directions(model).items() if ".lora_E." not in name}
    for name, weight in matrices.items():
        rows = weight if ".lora_A." in name else weight.T  # (rank, width)
        excess = rows @ rows.T - torch.eye(len(rows), device=rows.device)
        gradient = 2 * excess @ rows / excess.norm().clamp_min(1e-12)
        assert weight.grad is not None
        weight.grad.add_(gradient if ".lora_A." in name else gradient.T, alpha=strength / len(matrices))


def _directions(model: PeftModel) -> dict[str, torch.nn.Parameter]:
    """The adapter's A, B and E, by the names that peft's allocator gives them."""
    return {name: weight for name, weight in model.base_model.model.named_parameters() if "lora_" in name}
