"""Whether a run fits into the device's memory: said before the first step, and found out for ``--batch-seconds auto``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, NoReturn

import torch
from peft import PeftModel
from peft.helpers import disable_input_dtype_casting
from transformers import WhisperConfig

from finewhisper import machine
from finewhisper.audio import HOP_LENGTH, WINDOW_S, Seconds
from finewhisper.engines.transformers import PRECISIONS
from finewhisper.errors import FinewhisperError, TrainingError, UnsupportedError
from finewhisper.features import log_mel_torch
from finewhisper.model import ModelFolder
from finewhisper.progress import note
from finewhisper.training import processes
from finewhisper.training.batches import BatchPlan, Clip, LengthBatches
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.loss_guard import is_out_of_memory, smaller
from finewhisper.training.memory import Demand, Footprint, Load, converted_bytes
from finewhisper.vocabulary import IGNORED
from finewhisper.whisper import LengthAwareWhisper

#: Devices on which a batch is tried; elsewhere the estimate decides, for a system that runs out of memory ends the process.
TRIED_ON = {"cuda"}
#: How much more than the estimate must be free for a batch to be taken without a trial.
SPARE = 1.25
#: The share of a GPU's memory that a trial leaves alone: batches of other lengths leave holes that no later batch fits.
HOLES = 0.05


class Room(NamedTuple):
    """A device's memory in bytes, before anything of the run lies in it."""

    free: int
    most: int  #: what could be had at the utmost, with swap


def room(device: torch.device) -> Room | None:
    """What this process can have of the device; processes of one machine share its memory evenly. None where the system does not say."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return Room(free, free)
    found = machine.memory()
    if found is None:
        return None
    share = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return Room(found.free // share, sum(found) // share)


@dataclass(frozen=True)
class Fit:
    """A run and the device that it must fit into."""

    config: FinetuneConfig
    footprint: Footprint
    device: torch.device
    room: Room | None  #: None where the system does not say
    reading: int = 0  #: bytes of memory at the highest point of reading the base

    @classmethod
    def of(cls, config: FinetuneConfig, sizes: WhisperConfig, device: torch.device, base: ModelFolder | None = None) -> Fit:
        """To be asked by all processes before the model is loaded.

        Args:
            base: whose files are read, for what that takes.

        Raises:
            UnsupportedError: weights, gradients and the optimizer's state alone do not fit, or batches cannot be tried.
            UsageError: as :func:`methods.adapt`.
        """
        footprint = processes.first_alone(lambda: Footprint.of(config, sizes, device.type))
        converted = 0 if base is None or device.type != "cpu" else converted_bytes(base, config)
        fit = cls(config, footprint, device, room(device), footprint.weights + converted if converted else 0)
        problems = [problem for problem in processes.together([fit._impossible()]) if problem]
        if problems:
            _stop(UnsupportedError(problems[0]))
        return fit

    def _impossible(self) -> str:
        """Why the run is certain to fail on this process' device; empty where it is not."""
        if processes.share_weights():
            shared = "FSDP and DeepSpeed share the weights out, so that no process can try a batch by itself; give a number"
            return f"--batch-seconds auto: {shared}" if self.config.batch_seconds == "auto" else ""
        if self.room is None:
            unknown = "this system does not say how much memory is free; give a number"
            return f"--batch-seconds auto: {unknown}" if self.config.batch_seconds == "auto" else ""
        lasting = self.demand(Load(1, 0, 0, 0)).lasting
        if lasting <= self.room.most:
            return ""
        return (
            f"--method {self.config.method}: weights, gradients and the optimizer's state take {_gb(lasting)} of memory, and {self.device} "
            f"has {_gb(self.room.most)} free. Take a smaller model, or {_lighter(self.config)}"
        )

    def demand(self, load: Load) -> Demand:
        return self.footprint.demand(load, processes.count())

    def largest(self, batches: LengthBatches) -> Load:
        """This process' part of the batch that needs most."""
        loads: set[Load] = set()
        for epoch in range(batches.plan.epochs):
            batches.set_epoch(epoch)
            parts = (batch[:: processes.count()] for batch in batches)
            loads.update(Load.of(part, batches.clips, previous_text=self.config.previous_text > 0) for part in parts)
        batches.set_epoch(0)
        return max(loads, key=lambda load: self.demand(load).activations)

    def tell(self, load: Load) -> None:
        """Say what will be needed and what there is, and warn where that is not enough."""
        demand = self.demand(load)
        state = demand.gradients + demand.optimizer
        free = f"{_gb(self.room.free)} free on {self.device}" if self.room else f"how much is free on {self.device} is not known here"
        reading = f"; up to {_gb(self.reading)} while the base is read in another type" if self.reading > demand.total else ""
        note(
            f"memory: about {_gb(demand.total)} expected (weights {_gb(demand.weights)}, gradients and optimizer {_gb(state)}, activations "
            f"{_gb(demand.activations)} of the largest batch, {load}{reading}); {free}"
        )
        if self.room and demand.total > self.room.free and not processes.share_weights():
            now = f"(now {self.config.batch_seconds}; auto finds what fits)"
            lower = f"lower --batch-seconds {now} or --batch-size (now {self.config.batch_size})"
            note(f"  this may not be enough: {smaller(self.config, lower, recomputes=self.footprint.recomputes)}")

    def batch_seconds(self, clips: Sequence[Clip], fits: Callable[[Load], bool]) -> Seconds:
        """The most seconds in a batch whose largest part fits in every process, halved from what ``--batch-size`` can fill.

        Raises:
            TrainingError: not even single windows fit.
        """
        load = Load(1, 0, 0, 0)
        for seconds in _halves(self.config.batch_size * WINDOW_S):
            plan = replace(BatchPlan.of(self.config.model_copy(update={"batch_seconds": seconds})), epochs=1)
            load = self.largest(LengthBatches(clips, plan))
            if all(processes.together([fits(load)])):
                note(f"--batch-seconds auto: {seconds:g}")
                return seconds
        advice = smaller(self.config, _lighter(self.config), recomputes=self.footprint.recomputes)
        return _stop(TrainingError(f"--batch-seconds auto: not even {load} fit into the memory of {self.device}; {advice}"))

    def by_estimate(self, load: Load) -> bool:
        """Whether a batch fits, as far as one can tell."""
        return self.room is not None and SPARE * self.demand(load).total <= self.room.free

    def by_trial(self, model: LengthAwareWhisper | PeftModel) -> Callable[[Load], bool]:
        """A function that tries a batch of silence on the device, forward and backward, and leaves no trace of it."""
        model.to(self.device)
        return lambda load: self._tried(model, load)

    def _tried(self, model: LengthAwareWhisper | PeftModel, load: Load) -> bool:
        training, cuda = model.training, self.device.type == "cuda"
        model.train()
        fits = True
        with torch.random.fork_rng(devices=[self.device] if cuda else []), torch.compiler.set_stance("force_eager"):
            try:
                self._step(model, load)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                fits = False  # the error holds all tensors of the step until the end of this block
        model.zero_grad(set_to_none=True)
        model.train(training)
        if cuda:
            torch.cuda.empty_cache()
        return fits

    def _step(self, model: LengthAwareWhisper | PeftModel, load: Load) -> None:
        """A forward and a backward pass, beside as much memory as only a real step takes: for the optimizer, and between processes."""
        demand = self.demand(load)
        lacking = demand.optimizer + demand.gradients - 4 * self.footprint.learning
        spared = int(HOLES * torch.cuda.get_device_properties(self.device).total_memory) if self.device.type == "cuda" else 0
        _reserved = torch.empty(lacking + spared, dtype=torch.uint8, device=self.device)
        waveforms = torch.zeros(load.windows, load.frames * HOP_LENGTH, device=self.device)
        tokens = torch.zeros(load.windows, load.tokens, dtype=torch.long, device=self.device)
        labels = torch.full_like(tokens, IGNORED)
        labels.view(-1)[: load.labels] = 0
        dtype = PRECISIONS[self.config.precision]
        features = log_mel_torch(waveforms, self.footprint.sizes.num_mel_bins)
        silence = {"silence": torch.ones(load.windows, load.silence, dtype=torch.long, device=self.device)} if load.silence else {}
        half = dtype != torch.float32
        with disable_input_dtype_casting(model, half), torch.autocast(self.device.type, dtype, enabled=half):  # as SpeechTrainer does
            loss = model(input_features=features, decoder_input_ids=tokens, labels=labels, **silence).loss
        loss.backward()


def settled(config: FinetuneConfig, fit: Fit, clips: Sequence[Clip], model: LengthAwareWhisper | PeftModel) -> FinetuneConfig:
    """The configuration with a number in place of ``--batch-seconds auto``.

    Raises:
        TrainingError: not even single windows fit.
    """
    if config.batch_seconds != "auto":
        return config
    fits = fit.by_trial(model) if fit.device.type in TRIED_ON else fit.by_estimate
    return config.model_copy(update={"batch_seconds": fit.batch_seconds(clips, fits)})


def _stop(error: FinewhisperError) -> NoReturn:
    """End all processes, with one message."""
    if not processes.is_first():
        raise SystemExit(2)
    raise error


def _halves(seconds: Seconds) -> Iterator[Seconds]:
    while seconds > WINDOW_S:
        yield seconds
        seconds /= 2
    yield WINDOW_S


def _lighter(config: FinetuneConfig) -> str:
    """What makes weights, gradients and the optimizer's state smaller, and is not done yet."""
    if config.trains_adapter:
        return "pass --quantize 4bit" if config.quantize == "none" else "lower --lora.rank"
    return "pass --method lora" + (" or --optimizer adamw-8bit" if config.optimizer == "adamw" else "")


def _gb(count: int) -> str:
    return f"{count / 1e9:.2g} GB" if count < 1e10 else f"{count / 1e9:.0f} GB"
