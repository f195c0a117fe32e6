"""What this machine can do, found out by doing it once on a few numbers before anything is read or written."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import torch

from finewhisper.errors import MissingExtraError, UnsupportedError
from finewhisper.finetune.config import FinetuneConfig


def require_supported(config: FinetuneConfig, device: torch.device) -> None:
    """Refuse what this machine cannot do.

    Raises:
        UnsupportedError: the device lacks the precision, bitsandbytes does not work on it, or there is no compiler for it.
        MissingExtraError: bitsandbytes is not installed.
    """
    if config.precision == "float16" and device.type == "cpu":
        raise UnsupportedError("--precision float16: needs a GPU; on a CPU use bfloat16 or float32")
    if config.precision == "bfloat16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UnsupportedError("--precision bfloat16: this GPU does not compute in it; use float16 or float32")
    if config.quantize != "none":
        _try(lambda: _quantized_step(config.quantize, device), f"--quantize {config.quantize}: does not work on {device}; use none")
    if config.optimizer == "adamw-8bit":
        _try(lambda: _eight_bit_step(device), f"--optimizer adamw-8bit: does not work on {device}; use adamw or adafactor")

    if config.compile:
        _try(
            lambda: torch.compile(torch.cos)(torch.ones(64, device=device)),
            "--compile: needs a C++ compiler such as g++, or Triton on a GPU",
        )


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
