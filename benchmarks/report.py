"""What the GPU benchmarks share: their options, and a table with the machine it was measured on."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import shapes
import torch

from finewhisper.engines.transformers import PRECISIONS, choose_device
from finewhisper.files import atomic_file


@dataclass(frozen=True)
class Common:
    """The options that both benchmarks have, made definite for the device."""

    device: torch.device
    dtype: torch.dtype
    shapes: list[str]


def parser(about: str) -> argparse.ArgumentParser:
    """A parser with the shared options."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--shape", nargs="+", choices=list(shapes.SHAPES), help="default: large-v3 and turbo on a GPU, tiny on a CPU")
    made.add_argument("--device", default="auto", help="cuda, cpu, or auto: CUDA where there is one")
    made.add_argument("--precision", choices=list(PRECISIONS), help="default: bfloat16 on a GPU, float32 on a CPU")
    made.add_argument("--seed", type=int, default=0, help="of the weights, the lengths and their order")
    made.add_argument("--json", type=Path, help="write every figure here too")
    made.add_argument("--out", type=Path, help="write the table here too, such as benchmarks/results/train_gpu_h100.md")
    made.add_argument("--commit", help="what is measured, where git cannot tell")
    return made


def common(arguments: argparse.Namespace) -> Common:
    """The shared options with the device's defaults."""
    device = choose_device(arguments.device)
    gpu = device.type == "cuda"
    precision = arguments.precision or ("bfloat16" if gpu else "float32")
    return Common(device, PRECISIONS[precision], arguments.shape or (["large-v3", "turbo"] if gpu else ["tiny"]))


def measured_on(arguments: argparse.Namespace, known: Common) -> dict[str, Any]:
    """What a reader must know of the machine, with its two ceilings as measured now."""
    return {
        **machine.description(known.device, arguments.commit),
        "precision": str(known.dtype).removeprefix("torch."),
        "matmul_flops_per_s": machine.matmul_flops(known.device, known.dtype),
        "copy_bytes_per_s": machine.copy_bandwidth(known.device),
    }


def heading(about: Mapping[str, Any]) -> str:
    """One line for each thing that is known, as Markdown."""
    shown = dict(about)
    shown["matrix product"] = f"{shown.pop('matmul_flops_per_s') / 1e12:.3g} TFLOP/s"
    shown["copy"] = f"{shown.pop('copy_bytes_per_s') / 1e9:.3g} GB/s, read and written"
    return "\n".join(f"- {name}: {value}" for name, value in shown.items())


def save(arguments: argparse.Namespace, about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], page: str) -> None:
    """Write what was asked for."""
    if arguments.json:
        _write(arguments.json, json.dumps({"machine": about, "rows": rows}, indent=2))
    if arguments.out:
        _write(arguments.out, page)


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
