"""Cores, memory and idle time: as the system says, within the container's limit, on systems that say it differently or not at all."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finewhisper import machine
from finewhisper.machine import Memory, busy_cores, cores, memory

NOWHERE = Path("/nowhere")


def test_memory_is_what_the_system_says_within_the_containers_limit(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 8000 kB\nMemFree: 1000 kB\nMemAvailable: 4000 kB\nSwapFree: 500 kB\nHugePages_Total: 0\n")
    assert memory(meminfo, tmp_path) == (4_096_000, 512_000)
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 200000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert memory(meminfo, tmp_path) == (4_096_000, 512_000)
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory(meminfo, tmp_path) == (300_000, 512_000)


def test_memory_is_what_is_built_in_where_there_is_no_proc() -> None:
    found = memory(NOWHERE, NOWHERE)
    assert found is not None
    assert found.free > 10**8
    assert found.swap == 0


def windows(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    """Windows' kernel32, and a POSIX that lacks what Windows lacks."""
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=SimpleNamespace(**functions)), raising=False)
    for name in ("sysconf", "sched_getaffinity", "getloadavg"):
        monkeypatch.delattr(os, name, raising=False)


def test_memory_on_windows_is_what_globalmemorystatusex_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(pointer: Any) -> int:
        status = pointer._obj
        assert ctypes.sizeof(status) == status.length == 64, "as sysinfoapi.h has it"
        status.free_physical, status.free_page_file = 3 * 10**9, 5 * 10**9
        return 1

    windows(monkeypatch, GlobalMemoryStatusEx=fill)
    assert memory(NOWHERE, NOWHERE) == Memory(3 * 10**9, 2 * 10**9)
    windows(monkeypatch, GlobalMemoryStatusEx=lambda pointer: 0)
    assert memory(NOWHERE, NOWHERE) is None


def test_a_system_that_says_nothing_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sysconf", "sched_getaffinity", "getloadavg"):
        monkeypatch.delattr(os, name)
    assert memory(NOWHERE, NOWHERE) is None
    assert busy_cores(NOWHERE, 0) is None
    assert cores(NOWHERE) == os.cpu_count()


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("", 8)]
)
def test_cores_are_no_more_than_the_container_is_given(quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path) == expected


def test_only_the_cores_that_this_process_may_use_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Core 1 and 3 are this process'; core 0 is busy with something that is not in its way."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 3}, raising=False)
    stat = tmp_path / "stat"

    def write(*idle: int) -> None:
        rows = [f"cpu{core} {100 - ticks} 0 0 {ticks} 0 0 0 0 0 0" for core, ticks in enumerate(idle)]
        stat.write_text("\n".join(["cpu  9 9 9 9 9 9 9 9 9 9", *rows, "intr 5 6"]))

    stat.write_text("\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *(f"cpu{core} 0 0 0 0 0 0 0 0 0 0" for core in range(4))]))
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: write(0, 25, 0, 100))
    assert busy_cores(stat, 1) == pytest.approx(0.75)
    monkeypatch.setattr(machine.time, "sleep", lambda seconds: None)
    assert busy_cores(stat, 1) is None, "a kernel that counts nothing says nothing"


def test_busy_cores_on_windows_are_what_getsystemtimes_says(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(100, 150, 50), (150, 220, 80)])  # idle, kernel with idle, user: 50 of 100 idle

    def fill(*pointers: Any) -> int:
        for pointer, value in zip(pointers, next(readings), strict=True):
            pointer._obj.value = value
        return 1

    windows(monkeypatch, GetSystemTimes=fill)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert busy_cores(NOWHERE, 0) == pytest.approx(2.0)


def test_another_process_at_work_is_noticed() -> None:
    """On this machine, whatever else runs: a process that never rests keeps a core busy, or its share of one."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as worker:
        try:
            found = busy_cores(look_s=0.5)
        finally:
            worker.kill()
    assert found is not None
    assert found > 0.3
