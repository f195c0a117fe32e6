"""transformers' Trainer, taught three things: length-aware batches, features on the device, and scores from generated text."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from accelerate.data_loader import prepare_data_loader
from peft.helpers import disable_input_dtype_casting
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finewhisper.features import log_mel_torch
from finewhisper.progress import bar, note
from finewhisper.training import scoring
from finewhisper.training.augment.masks import Masking
from finewhisper.training.batches import LengthBatches
from finewhisper.training.corpus import Unusable
from finewhisper.training.dataset import SpeechDataset
from finewhisper.training.loss_guard import Guard
from finewhisper.training.processes import Share, collate_share, is_first, wait
from finewhisper.training.scoring import Scores

#: What a batch says of itself; the model gets the rest.
_FOR_US = ("rows", "faults")
#: Ways of sharing the work in which every process has all the weights.
_ONE_CAN_COMPUTE = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)


class SpeechTrainer(Trainer):  # type: ignore[misc]
    """Trains on :class:`SpeechDataset` in the batches of a :class:`LengthBatches`.

    Args:
        score: decodes the development sets with the model as it is and returns their error rates.
        masking: SpecAugment, where it is wanted.
        guard: looks at every step before it is taken.
        unusable: collects clips that turn out to be bad.
        n_mels: 80, or 128 for large-v3 and turbo.
    """

    def __init__(
        self,
        *,
        batches: LengthBatches,
        score: Callable[[], Scores] | None,
        guard: Guard,
        unusable: Unusable,
        n_mels: int,
        masking: Masking | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.unusable = unusable
        self.batches, self.score, self.guard, self.n_mels, self.masking = batches, score, guard, n_mels, masking
        self.add_callback(guard)
        if self.accelerator.distributed_type in _ONE_CAN_COMPUTE:
            guard.loss_of = self._loss_of

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches are dealt out by us, not by accelerate, which gives each process other batches and repeats some at the end."""
        assert isinstance(self.train_dataset, SpeechDataset)
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=Share(self.batches),
            collate_fn=collate_share,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.device.type == "cuda",  # from such memory a GPU fetches a batch while it still computes the last
        )
        whole = {"num_processes": 1, "process_index": 0, "put_on_device": True, "non_blocking": True}
        prepared: DataLoader[Any] = prepare_data_loader(loader, self.args.device, **whole)
        return prepared

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Waveforms travel to the device; spectrograms are made there, in the step."""
        prepared: dict[str, torch.Tensor] = super()._prepare_inputs(
            {name: values for name, values in inputs.items() if name not in _FOR_US}
        )
        waveforms = prepared.pop("waveforms")
        features = prepared["input_features"] = log_mel_torch(waveforms, self.n_mels)
        if self.masking is not None and self.model.training:
            self.masking.hide(features, waveforms, inputs["rows"], self.batches.epoch)
        return prepared

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        self.unusable.tell(inputs["faults"])
        self.guard.begins(inputs)
        # autocast converts what an adapter multiplies, so what peft converts to float32 before it would be converted back
        with disable_input_dtype_casting(self.model, self.args.bf16 or self.args.fp16):
            loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.guard.ends(loss)
        return loss

    @torch.no_grad()
    def _loss_of(self, inputs: dict[str, Any]) -> float:
        """The loss of a batch with the weights as they are, unmasked and without dropout."""
        self.model.eval()
        with self.compute_loss_context_manager():
            return float(self.compute_loss(self.model, self._prepare_inputs(inputs)))

    def evaluate(self, *_: Any, **__: Any) -> Scores:
        """Replace transformers' teacher-forced loss, which does not follow the error rate, by decoding."""
        if self.score is None:
            return {}
        self.model.eval()
        with torch.compiler.set_stance("force_eager"):  # --compile is for training; decoding would compile everything again
            scores = {scoring.LOGGED + name: value for name, value in self.score().items()}
        self.log(dict(scores))
        self.callback_handler.on_evaluate(self.args, self.state, self.control, scores)
        return scores

    def whole_weights(self) -> dict[str, torch.Tensor] | None:
        """All weights, in the first process, where each process holds a part of them (FSDP, DeepSpeed); all must ask for them together."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            return None
        weights: dict[str, torch.Tensor] = self.accelerator.get_state_dict(self.model_wrapped)
        return weights

    def _save_rng_state(self, output_dir: str) -> None:
        """Wait for the random state of every process, so that the state that Trainer writes next completes a checkpoint."""
        super()._save_rng_state(output_dir)
        wait()

    def _run_epoch(self, **arguments: Any) -> None:
        """Trainer would take one step more than ``max_steps`` after a resumption from the last one."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(**arguments)


class Checkpoints(TrainerCallback):  # type: ignore[misc]
    """Asks for a checkpoint every so many steps, besides the one that Trainer writes after each evaluation.

    The loss is logged before each, for Trainer forgets the steps since the last log when it resumes.
    """

    def __init__(self, every_steps: int | None) -> None:
        self.every_steps = every_steps

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.best_global_step:  # the folder may have moved since the state was written
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{state.best_global_step}")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        follows = args.save_strategy == "epoch" and (state.epoch == int(state.epoch) or state.global_step >= state.max_steps)
        if self.every_steps and state.global_step % self.every_steps == 0 and not follows:
            control.should_save = True
        control.should_log = control.should_log or control.should_save

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        wait()  # until the first process has deleted old checkpoints

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_log = True


class Patience(TrainerCallback):  # type: ignore[misc]
    """Ends training after so many evaluations in a row without a new best one; None: never.

    They are counted in the log, which is part of every checkpoint, so a resumed run stops where the whole run would have; transformers'
    own early stopping begins to count again.
    """

    def __init__(self, evaluations: int | None) -> None:
        self.evaluations = evaluations

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.evaluations is not None and (worse := scoring.since_best(state.log_history)) >= self.evaluations:
            control.should_training_stop = True
            note(f"step {state.global_step}: no better in {worse} evaluations, so training stops here (--patience {self.evaluations})")


class EpochOrder(TrainerCallback):  # type: ignore[misc]
    """Tells the batches which epoch begins, also after a resumption in mid-epoch."""

    def __init__(self, batches: LengthBatches) -> None:
        self.batches = batches

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.batches.set_epoch(int(state.epoch or 0))


class FreeMemory(TrainerCallback):  # type: ignore[misc]
    """Gives freed memory back to the system now and then.

    Batches of many lengths leave glibc's heap full of holes that no later batch fits; a run on a CPU would grow by gigabytes.
    """

    EVERY_STEPS = 10

    def __init__(self) -> None:
        self.trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc's own

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.trim is not None and state.global_step % self.EVERY_STEPS == 0:
            self.trim(0)


class ProgressBar(TrainerCallback):  # type: ignore[misc]
    """One bar over the optimizer steps with the loss, and a line for each evaluation."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar = bar("fine-tuning", state.max_steps, " steps")
        self.bar.update(state.global_step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Scores | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{logs['loss']:.3f}", epoch=f"{state.epoch:.1f}", refresh=False)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Scores, **_: Any) -> None:
        note(f"epoch {state.epoch:.1f}, step {state.global_step}: {scoring.text(scoring.logged(metrics))} on the development set")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.bar.close()


def tensorboard(tracker: str, workspace: Path) -> list[TrainerCallback]:
    """The callback that writes TensorBoard's files below ``workspace``, or none."""
    if tracker != "tensorboard" or not is_first():
        return []
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    return [TensorBoardCallback(SummaryWriter(str(workspace / "tensorboard")))]
