"""Several processes that train one model: what the first does alone, and what each does a share of.

``torchrun`` and ``accelerate launch`` start the processes and tell each its number. Every batch is dealt out over them, and so is the
development set, so that losses, weights and scores do not depend on how many there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import parse_flag_from_env
from torch import distributed
from torch.utils.data import Sampler
from transformers import Trainer
from transformers.integrations import is_deepspeed_zero3_enabled

from finewhisper import progress
from finewhisper.audio import SAMPLE_RATE
from finewhisper.errors import UsageError
from finewhisper.training.batches import LengthBatches, Window
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.dataset import Example, collate
from finewhisper.vocabulary import IGNORED

Item = TypeVar("Item")
Result = TypeVar("Result")

#: The first process may decode a large corpus while the others wait for it. A process that dies ends the others by itself.
LONGEST_WAIT = timedelta(days=1)


def join(*, cpu: bool) -> None:
    """Meet the other processes, if this one was started as one of several; all but the first are silent from then on.

    Args:
        cpu: do not look for GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    PartialState(cpu=cpu, timeout=LONGEST_WAIT)
    if not is_first():
        progress.silence()
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for the rest of the process


def leave() -> None:
    """Part from the other processes, when all is done."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def count() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def number() -> int:
    """This process' number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that prints and writes."""
    return number() == 0


def wait() -> None:
    """Wait until every process is here."""
    if distributed.is_initialized():
        distributed.barrier()


def first_alone(work: Callable[[], Result]) -> Result:
    """Let the first process work and give all of them its result; where it fails, it alone says why and all end."""
    if count() == 1:
        return work()
    told: list[Any] = [None, True]  # the result, and whether the work failed
    try:
        if is_first():
            told = [work(), False]
    finally:
        distributed.broadcast_object_list(told)
    result, failed = told
    if failed:
        raise SystemExit(2)
    return result  # type: ignore[no-any-return]


def dealt_out(items: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]]) -> list[Result]:
    """Let each process work on a share of the items; all get all results, in the order of the items."""
    shares: list[Any] = [None] * count()
    mine = work(items[number() :: count()])
    if count() == 1:
        return mine
    distributed.all_gather_object(shares, mine)
    results: list[Any] = [None] * len(items)
    for first, share in enumerate(shares):
        results[first :: count()] = share
    return results


def mean(value: torch.Tensor) -> torch.Tensor:
    """The mean of a value over all processes."""
    if distributed.is_initialized():
        distributed.all_reduce(value)
    return value / count()


def together(mine: list[Result]) -> list[Result]:
    """The items of all processes, those of the first first."""
    shares: list[Any] = [mine] * count()
    if count() > 1:
        distributed.all_gather_object(shares, mine)
    return [item for share in shares for item in share]


def share_weights() -> bool:
    """Whether the launcher asks for FSDP or DeepSpeed, with which a process may hold a part of the weights only."""
    return bool(parse_flag_from_env("ACCELERATE_USE_FSDP") or parse_flag_from_env("ACCELERATE_USE_DEEPSPEED"))


def require_whole_weights(trainer: Trainer, config: FinetuneConfig) -> None:
    """Refuse what every process needs all weights for, where FSDP or ZeRO-3 leaves it a part of them, or needs before a step is taken.

    Raises:
        UsageError: naming the option.
    """
    if config.method == "adalora" and trainer.is_deepspeed_enabled:
        raise UsageError(
            "--method adalora: DeepSpeed takes its steps within the backward pass, before the importance of a rank can be read from its "
            "gradients; use lora, or train without DeepSpeed"
        )
    if not (trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled()):
        return
    parts = "FSDP and ZeRO-3 leave each process a part of the weights"
    if config.dev:
        raise UsageError(f"--dev: {parts}, with which it cannot decode; leave --dev out and evaluate the result, or train without them")
    if config.method == "adalora":
        raise UsageError(f"--method adalora: {parts}, and ranks are shared out over all of them; use lora, or train without them")


class Share(Sampler[list[Window]]):
    """This process' share of each batch; none where a batch has fewer windows than there are processes."""

    def __init__(self, batches: LengthBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Window]]:
        for batch in self.batches:
            yield batch[number() :: count()]


def collate_share(examples: list[Example]) -> dict[str, Any]:
    """As :func:`collate`; without examples half a second of silence and no label, for all processes must take every step together."""
    if examples:
        return collate(examples)
    unlabelled = torch.full((1, 1), IGNORED)
    return {
        "waveforms": torch.zeros(1, SAMPLE_RATE // 2),
        "decoder_input_ids": torch.zeros(1, 1, dtype=torch.long),
        "labels": unlabelled,
        "rows": [],
        "faults": [],
    }
