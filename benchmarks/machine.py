"""What a benchmark must know about the machine it runs on: its clock, its memory, its limits and its name."""

from __future__ import annotations

import gc
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import resident
import torch

from finewhisper.model import versions


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(device: torch.device, work: Callable[[], Any], repeats: int) -> float:
    """The median time of ``work``, which runs once before the clock starts."""
    return statistics.median(_times(device, work, repeats))


def _times(device: torch.device, work: Callable[[], Any], repeats: int) -> list[float]:
    work()
    times = []
    for _ in range(repeats):
        synchronize(device)
        began = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - began)
    return times


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a large square matrix product at its best: the practical ceiling of every layer."""
    size = 8192 if device.type == "cuda" else 1024
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / min(_times(device, lambda: left @ right, repeats=5))


def copy_bandwidth(device: torch.device) -> float:
    """Bytes/s of a large copy at its best, bytes read and bytes written together."""
    count = 2**31 if device.type == "cuda" else 2**28
    source = torch.randint(0, 255, (count,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * count / min(_times(device, lambda: target.copy_(source), repeats=5))


def reset_peak(device: torch.device) -> None:
    """Forget the highest memory use so far."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Linux: resets VmHWM


def peak_bytes(device: torch.device) -> int:
    """The highest memory use since the last reset: what torch allocated on a GPU, or this process's resident memory, Python included."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resident.peak_bytes()


def held_bytes(device: torch.device) -> int:
    """GPU memory that is taken now, by whatever library or process; 0 on a CPU."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free


def device_name(device: torch.device) -> str:
    """The GPU's name, or the CPU's and how many of its threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


def description(device: torch.device, commit: str | None = None) -> dict[str, str]:
    """Device, driver, commit (git's, unless it is given) and versions: what a table of results must name."""
    described = {"device": device_name(device), "commit": commit or _said("git", "describe", "--always", "--dirty")}
    if device.type == "cuda":
        described["driver"] = _said("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
        described["cuda"] = str(torch.version.cuda)
    return described | versions("torch", "transformers", "peft", "ctranslate2") | {"python": platform.python_version()}


def _said(*command: str) -> str:
    """The first line that a command prints, or "unknown" where it cannot."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=Path(__file__).parent)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else "unknown"
