"""What this machine can do: the type and the threads to compute with, and what it cannot, before anything is read or written."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable

import torch
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from finewhisper import machine
from finewhisper.errors import MissingExtraError, UnsupportedError, UsageError
from finewhisper.progress import note
from finewhisper.training import processes
from finewhisper.training.config import FinetuneConfig

#: What lets a CPU multiply 16-bit numbers in hardware, and torch's question for it. Others compute in bfloat16 too, but more slowly.
_BFLOAT16 = {"avx512_bf16": "_is_avx512_bf16_supported", "amx": "_is_amx_tile_supported"}
#: The first compute capability whose float16 is fast, Volta's.
_FAST_FLOAT16 = (7, 0)
#: The share of a machine's cores at whose work for others the fewer threads are worth a word.
_BUSY = 0.25


def settled(config: FinetuneConfig, device: torch.device) -> FinetuneConfig:
    """The configuration with the fastest type of this machine in place of ``--precision auto``; several processes take the first's."""
    if config.precision != "auto":
        return config
    return config.model_copy(update={"precision": processes.first_alone(lambda: _fastest(device))})


def _fastest(device: torch.device) -> str:
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16"
        return "float16" if torch.cuda.get_device_capability(device) >= _FAST_FLOAT16 else "float32"
    features = [feature for feature, question in _BFLOAT16.items() if _has(question)]
    if features:
        note(f"--precision auto: bfloat16, for this processor has {', '.join(features)}")
        return "bfloat16"
    note("--precision auto: float32, for this processor has neither avx512_bf16 nor amx")
    return "float32"


def _has(question: str) -> bool:
    """Whether torch says yes; no where it cannot be asked, as in a torch for other processors."""
    try:
        return bool(getattr(torch.cpu, question)())
    except (AttributeError, RuntimeError):
        return False


def use_threads(config: FinetuneConfig, device: torch.device) -> None:
    """Compute with as many threads as asked for, or as this machine has cores for; say so, and where others keep the cores busy.

    Threads wait for each other in every layer, so one whose core is taken stops all.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), machine.cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))))
    threads = torch.get_num_threads()
    note(f"computing on {device} in {config.precision}; CPU threads: {threads}")
    if device.type == "cpu" and threads > 1 and processes.count() == 1:
        _warn_if_busy(threads)


def _warn_if_busy(threads: int) -> None:
    busy, cores = machine.busy_cores(), machine.cores()
    if busy is None or busy < _BUSY * cores or cores - busy >= threads:
        return
    fewer = max(1, int(cores - busy))
    note(f"  others keep {busy:.1f} of {cores} cores busy, and threads wait for each other: --threads {fewer} may be faster")


def require_supported(config: FinetuneConfig, device: torch.device) -> None:
    """Refuse what this machine cannot do.

    Raises:
        UsageError: there is no such tracker.
        UnsupportedError: the tracker is not installed, the device lacks the precision, bitsandbytes does not work on it, or there is no
            compiler for it.
        MissingExtraError: bitsandbytes is not installed.
    """
    if device.type == "cuda" and device.index:  # Trainer computes on the first that the process sees
        raise UnsupportedError(
            f"--device {config.device}: finetune uses the first GPU that it sees; run it with CUDA_VISIBLE_DEVICES={device.index} "
            "and --device cuda"
        )
    if config.precision == "float16" and device.type == "cpu":
        raise UnsupportedError("--precision float16: needs a GPU; on a CPU use bfloat16 or float32")
    if config.precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UnsupportedError("--precision bfloat16: this GPU does not compute in it; use float16 or float32")
    _require_tracker(config.tracker)
    if config.quantize != "none":
        _try(lambda: _quantized_step(config.quantize, device), f"--quantize {config.quantize}: does not work on {device}; use none")
    if config.optimizer == "adamw-8bit":
        _try(lambda: _eight_bit_step(device), f"--optimizer adamw-8bit: does not work on {device}; use adamw or adafactor")

    if config.compile:
        _try(
            lambda: torch.compile(torch.cos)(torch.ones(64, device=device)),
            "--compile: needs a C++ compiler such as g++, or Triton on a GPU",
        )


def _require_tracker(tracker: str) -> None:
    if tracker == "none":
        return
    if tracker not in INTEGRATION_TO_CALLBACK:
        raise UsageError(f"--tracker {tracker}: must be none, {', '.join(sorted(INTEGRATION_TO_CALLBACK))}")
    if tracker not in get_available_reporting_integrations():
        raise UnsupportedError(f"--tracker {tracker}: is not installed here; install it, or choose tensorboard or none")


def _try(action: Callable[[], object], message: str) -> None:
    try:
        action()
    except ModuleNotFoundError as error:
        if error.name != "bitsandbytes":
            raise
        raise MissingExtraError("bitsandbytes", "quant") from error
    except Exception as error:  # a missing kernel or library shows in many ways
        raise UnsupportedError(f"{message} ({textwrap.shorten(str(error), 200)})") from error


def _quantized_step(bits: str, device: torch.device) -> None:
    """One matrix product and its gradient with the weights held in few bits."""
    import bitsandbytes

    kind = bitsandbytes.nn.Linear4bit if bits == "4bit" else bitsandbytes.nn.Linear8bitLt
    options = {"quant_type": "nf4"} if bits == "4bit" else {"has_fp16_weights": False}
    layer = kind(64, 64, bias=False, **options).to(device)
    layer(torch.ones(2, 64, device=device, requires_grad=True)).sum().backward()


def _eight_bit_step(device: torch.device) -> None:
    """One step of a weight that is large enough for 8-bit statistics."""
    import bitsandbytes

    weight = torch.nn.Parameter(torch.ones(8192, device=device))
    weight.grad = torch.ones_like(weight)
    bitsandbytes.optim.AdamW8bit([weight]).step()
