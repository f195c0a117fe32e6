"""What this machine has: cores, memory and idle time, within what a container may use of them; on Linux, macOS and Windows alike."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path
from typing import NamedTuple

_CGROUP, _MEMINFO, _STAT = Path("/sys/fs/cgroup"), Path("/proc/meminfo"), Path("/proc/stat")
#: How long :func:`busy_cores` looks; the kernel counts hundredths of a second.
_LOOK_S = 0.3


class Memory(NamedTuple):
    """Bytes that are available."""

    free: int
    swap: int


def memory(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> Memory | None:
    """What is available now, within the limit of the container if there is one; on macOS all that is built in.

    Returns:
        None where the system does not say.
    """
    try:
        lines = [line.split() for line in meminfo.read_text(encoding="ascii").splitlines()]
        known = {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines}
        free, swap = known["MemAvailable"], known.get("SwapFree", 0)
    except (OSError, KeyError):  # no Linux
        return _windows_memory() or _built_in()
    try:
        limit, used = (int((cgroup / name).read_text()) for name in ("memory.max", "memory.current"))
        cached = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines()).get("inactive_file", "0")
    except (OSError, ValueError):  # there is none, or it says "max"
        return Memory(free, swap)
    return Memory(min(free, limit - used + int(cached)), swap)


class _MemoryStatus(ctypes.Structure):
    """``MEMORYSTATUSEX`` of Windows' sysinfoapi.h."""

    _fields_ = (
        ("length", ctypes.c_uint32),
        ("load", ctypes.c_uint32),
        ("total_physical", ctypes.c_uint64),
        ("free_physical", ctypes.c_uint64),
        ("total_page_file", ctypes.c_uint64),
        ("free_page_file", ctypes.c_uint64),  #: with the memory itself
        ("total_virtual", ctypes.c_uint64),
        ("free_virtual", ctypes.c_uint64),
        ("free_extended", ctypes.c_uint64),
    )


def _windows_memory() -> Memory | None:
    windows = getattr(ctypes, "windll", None)
    if windows is None:
        return None
    status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
    if not windows.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
        return None
    return Memory(status.free_physical, max(0, status.free_page_file - status.free_physical))


def _built_in() -> Memory | None:
    if not hasattr(os, "sysconf"):
        return None
    try:
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), 0)
    except (OSError, ValueError):  # the system has no such name
        return None


def cores(cgroup: Path = _CGROUP) -> int:
    """How many this process may use: those it is bound to, and no more than the processor time that its container is given."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return max(1, min(usable, round(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # there is no limit, or it says "max"
        return usable


def busy_cores(stat: Path = _STAT, look_s: float = _LOOK_S) -> float | None:
    """How many of the cores that this process may use are busy while it sleeps for a moment, so with the work of others.

    The load average would count what this process, and the command before it, did in the last minute; it is asked only on macOS, which
    says nothing better.

    Returns:
        None where the system does not say.
    """
    before = _times(stat)
    if before is None:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    time.sleep(look_s)
    after = _times(stat) or before
    shares = [_busy(before[core], after[core]) for core in before.keys() & after.keys()]
    known = [share for share in shares if share is not None]
    return sum(known) if known else None


class _Times(NamedTuple):
    """Of a core since the machine started, in the system's own unit."""

    idle: int
    total: int
    cores: int = 1  #: that they are the sum of


def _busy(before: _Times, after: _Times) -> float | None:
    total = after.total - before.total
    return before.cores * (1 - (after.idle - before.idle) / total) if total > 0 else None


def _times(stat: Path) -> dict[int, _Times] | None:
    """By the numbers of the cores that this process may use; on Windows the sum of all."""
    try:
        lines = [line.split() for line in stat.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError):  # no Linux
        return _windows_times()
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    counted = {words[0]: [int(word) for word in words[1:9]] for words in lines if words and words[0].startswith("cpu")}
    counts = {core: counted[f"cpu{core}"] for core in mine if f"cpu{core}" in counted}
    return {core: _Times(idle=ticks[3] + ticks[4], total=sum(ticks)) for core, ticks in counts.items()} or None


def _windows_times() -> dict[int, _Times] | None:
    windows = getattr(ctypes, "windll", None)
    if windows is None:
        return None
    idle, kernel, user = ctypes.c_uint64(), ctypes.c_uint64(), ctypes.c_uint64()  # FILETIMEs; the kernel's has the idle time in it
    if not windows.kernel32.GetSystemTimes(ctypes.byref(idle), ctypes.byref(kernel), ctypes.byref(user)):
        return None
    return {0: _Times(idle.value, kernel.value + user.value, os.cpu_count() or 1)}
