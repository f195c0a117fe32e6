"""Clocks wait for the device, memory peaks can be reset, and what is unknown is called so."""

from __future__ import annotations

import mmap
import time
from pathlib import Path

import machine
import pytest
import torch

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_the_clock_waits_until_a_gpu_has_finished(monkeypatch):
    """Work on a GPU is only handed over when the call returns; without waiting it would seem to take no time."""
    waiting = []

    def synchronize(_: torch.device) -> None:
        while waiting:
            waiting.pop()
            time.sleep(0.02)

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert machine.median_seconds(CUDA, lambda: waiting.append("kernel"), repeats=3) >= 0.02


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak cannot be reset on this system")
def test_a_peak_of_memory_can_be_forgotten():
    machine.reset_peak(CPU)
    before = machine.peak_bytes(CPU)
    block = mmap.mmap(-1, 200_000_000)  # fresh memory; torch may be given some that the process has freed and not returned
    block.write(bytes(200_000_000))
    assert machine.peak_bytes(CPU) - before > 150e6
    block.close()
    machine.reset_peak(CPU)
    assert machine.peak_bytes(CPU) - before < 100e6


def test_ceilings_are_what_a_processor_can_reach():
    assert 1e9 < machine.matmul_flops(CPU, torch.float32) < 1e14
    assert 1e8 < machine.copy_bandwidth(CPU) < 1e13


def test_a_description_names_device_driver_commit_and_versions(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = --query-gpu=driver_version ] && echo 580.1\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))  # and no git
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A GPU")
    described = machine.description(CUDA)
    assert (described["device"], described["driver"], described["commit"]) == ("A GPU", "580.1", "unknown")
    assert {"torch", "transformers", "python"} <= set(described)
    assert machine.description(CPU, commit="abc123")["commit"] == "abc123"
