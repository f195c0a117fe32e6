"""Looks at every optimizer step before it is taken, and stops a training that has gone wrong, naming what it was fed.

A loss or a gradient that is not a number would spoil all weights in one step. A loss that jumps and stays up means that the run
diverges: all that it computes from then on is lost. And where memory runs out, the batch is named that was too much for it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finewhisper.audio import SAMPLE_RATE, WINDOW_S
from finewhisper.errors import TrainingError
from finewhisper.manifest import Utterance
from finewhisper.training import processes
from finewhisper.training.config import FinetuneConfig

#: What :func:`finewhisper.training.dataset.collate` makes; the first axis of everything in it is the window.
Batch = dict[str, Any]

#: With float16 the loss scale begins at 2^16 and is halved at every overflow; after so many in a row it is not the scale's fault.
_MOST_OVERFLOWS = 30


class Losses:
    """The losses of the last steps, and for how many steps in a row they have been far above them.

    Far above is more than twice the median and more than six standard deviations above it, as the median absolute deviation estimates
    them (Leys et al. 2013). Batches of other lengths and speakers reach either now and then, so a single one means nothing; five in
    a row do. MosaicML's callback for the training of language models uses the same factor and number (llm-foundry, KillLossSpike).
    Three steps are enough to begin with, for a learning rate that is far too high shows before the tenth.
    """

    WINDOW, FEWEST, TIMES, DEVIATIONS, IN_A_ROW = 100, 3, 2.0, 6.0, 5

    def __init__(self) -> None:
        self.ordinary: deque[float] = deque(maxlen=self.WINDOW)
        self.above = 0

    def add(self, loss: float) -> int:
        """Note a step's loss; for how many steps in a row it has been far above."""
        if len(self.ordinary) >= self.FEWEST and loss > self.bound():
            self.above += 1
        else:
            self.above = 0
            self.ordinary.append(loss)
        return self.above

    def bound(self) -> float:
        """The loss from which on a step is far above the others."""
        middle = median(self.ordinary)
        deviation = 1.4826 * median(abs(loss - middle) for loss in self.ordinary)  # of a normal distribution
        return max(self.TIMES * middle, middle + self.DEVIATIONS * deviation)


class Guard(TrainerCallback):  # type: ignore[misc]
    """Stops training with a :class:`TrainingError` that names the utterances of the step.

    Args:
        recomputes: whether gradient checkpointing is on.

    Attributes:
        loss_of: the loss of a batch with the weights as they are; None where it takes all processes to compute one.
    """

    def __init__(self, config: FinetuneConfig, utterances: Sequence[Utterance], *, recomputes: bool) -> None:
        self.config, self.utterances, self.recomputes = config, utterances, recomputes
        self.loss_of: Callable[[Batch], float] | None = None
        self.step, self.batches, self.losses = 0, list[Batch](), list[torch.Tensor]()
        self.history, self.suspects, self.overflows = Losses(), list[str](), 0

    def begins(self, batch: Batch) -> None:
        """A batch is about to be learnt from."""
        self.batches.append(batch)

    def ends(self, loss: torch.Tensor) -> None:
        """Its gradients have been added up."""
        self.losses.append(loss)

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.step = state.global_step + 1
        self._clear()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._clear()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, optimizer: Any = None, **_: Any
    ) -> None:
        total = processes.mean(torch.stack(self.losses).sum().float())
        loss, norm = torch.stack([total, gradient_norm(model).to(total.device)]).tolist()  # the step's one wait for the device
        self.overflows = 0 if math.isfinite(norm) else self.overflows + 1
        if not math.isfinite(loss):
            self._refuse(f"the loss is {loss}", args)
        if self.overflows > (_MOST_OVERFLOWS if getattr(optimizer, "scaler", None) else 0):
            self._refuse(f"the loss is {loss:.3f}, but its gradient {norm}", args)
        self._watch(loss, args)

    @contextmanager
    def memory_errors(self) -> Iterator[None]:
        """Say which batch was too much where memory runs out.

        Raises:
            TrainingError: it did.
        """
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if not self.batches:
                raise TrainingError(f"step {self.step}: memory ran out while --dev or --keep was decoded; lower --batch-size") from error
            windows, samples = self.batches[-1]["waveforms"].shape
            raise TrainingError(
                f"step {self.step}: memory ran out on a batch of {windows} windows of {samples / SAMPLE_RATE:.1f} s; "
                f"{self._smaller(windows * samples / SAMPLE_RATE * processes.count(), windows * processes.count())}",
                [self._line(row) for rows in self.batches[-1]["rows"] for row in rows],
            ) from error

    def _smaller(self, seconds: float, windows: int) -> str:
        """What to do where a batch of so many seconds was too much: half of it is likely to fit."""
        half = max(WINDOW_S, seconds // 2)
        first = f"lower --batch-size to {windows // 2} (now {self.config.batch_size})" if windows > 1 else ""
        if half < seconds:
            first = f"lower --batch-seconds to {half:g} (now {self.config.batch_seconds})"
        return smaller(self.config, first, recomputes=self.recomputes)

    def _clear(self) -> None:
        self.batches.clear()
        self.losses.clear()

    def _watch(self, loss: float, args: TrainingArguments) -> None:
        above = self.history.add(loss)
        if above == 1:
            self.suspects = [line for _, line in self._judged()]
        if above != Losses.IN_A_ROW:
            return
        message = (
            f"step {self.step}: the loss is {loss:.2f} and has been above {self.history.bound():.2f} for {above} steps in a row; before, "
            f"its median was {median(self.history.ordinary):.2f}. The run diverges: lower --learning-rate (now {args.learning_rate:g}), or "
            "look at the utterances with which it began, the worst first"
        )
        _stop(f"{message}. {_kept(args)}", self.suspects)

    def _refuse(self, what: str, args: TrainingArguments) -> None:
        message = f"step {self.step}: {what}. Training stopped before this step changed any weight; {_kept(args)}"
        judged = self._judged()
        guilty = [line for loss, line in judged if not math.isfinite(loss)]
        if 0 < len(guilty) < len(judged):
            _stop(f"{message}. It comes from these utterances; look at them, or take them out", guilty)
        advice = f"Lower --learning-rate (now {args.learning_rate:g}), or look at the utterances of the step"
        _stop(f"{message}. {advice}", [line for _, line in judged])

    def _judged(self) -> list[tuple[float, str]]:
        """The utterances of the step's batches, each with the loss of its window by itself, the worst first."""
        judged = []
        for batch in self.batches:
            for index, rows in enumerate(batch["rows"]):
                loss = self.loss_of({key: values[index : index + 1] for key, values in batch.items()}) if self.loss_of else math.nan
                suffix = f", loss {loss:.2f}" if self.loss_of else ""
                lines = [self._line(row) for row in rows] or ["a window in which nobody speaks, made for --no-speech"]
                judged += [(loss, line + suffix) for line in lines]
        return sorted(processes.together(judged), key=lambda item: -item[0] if math.isfinite(item[0]) else -math.inf)

    def _line(self, row: int) -> str:
        utterance = self.utterances[row]
        sentence = utterance.sentence if len(utterance.sentence) <= 40 else utterance.sentence[:40] + "…"
        return f"{self.config.train}:{utterance.line}: {utterance.path} ({utterance.length_s():.1f} s), {sentence!r}"


def _stop(message: str, utterances: Sequence[str]) -> None:
    """End all processes, with one message."""
    if not processes.is_first():
        raise SystemExit(2)
    raise TrainingError(message, utterances)


def gradient_norm(model: torch.nn.Module) -> torch.Tensor:
    """The Euclidean norm of all gradients together."""
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in model.parameters() if weight.grad is not None])
    whole: torch.Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of weights that processes share
    return whole


def smaller(config: FinetuneConfig, first: str, *, recomputes: bool) -> str:
    """What makes activations smaller: ``first``, and what is not done yet.

    Args:
        recomputes: whether gradient checkpointing is on.
    """
    advice = [
        first,
        "" if recomputes else "pass --gradient-checkpointing",
        "pass --precision bfloat16" if config.precision == "float32" else "",
    ]
    return " or ".join(filter(None, advice)) or "take a smaller model"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that there is not enough memory, on a GPU or for the process."""
    words = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(word in str(error) for word in words)


def _kept(args: TrainingArguments) -> str:
    """What is left of the run."""
    steps = sorted(int(path.name.rpartition("-")[2]) for path in Path(args.output_dir).glob("checkpoint-*"))
    return f"the checkpoint of step {steps[-1]} is kept in {args.output_dir}" if steps else "there was no checkpoint yet"
