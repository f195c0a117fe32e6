"""A real server for hostile clients, and what must hold of it when they have gone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

import serving

CHILD = str(Path(__file__).parent / "fuzz" / "server_child.py")
#: What a server may take above what it took before hostile clients came.
MOST_MORE_BYTES = 400_000_000
PATIENCE_S = 60.0


@contextmanager
def besieged(model: Path, *options: str) -> Iterator[serving.Running]:
    """A server that at the end of the block still lives, answers, has logged no defect and has not grown beyond the bound."""
    with serving.running(model, *options, program=(CHILD,)) as server:
        before = resident_bytes(server)
        yield server
        assert server.process.poll() is None, "".join(server.log[-50:])
        assert httpx.get(f"{server.address}/health", timeout=PATIENCE_S).status_code == 200
        if before is not None:
            assert (resident_bytes(server) or 0) - before < MOST_MORE_BYTES
        time.sleep(0.1)  # its last lines are read by a thread
        defects = [line for line in server.log if "Traceback" in line or " ERROR " in line or " CRITICAL " in line]
        assert not defects, "".join(server.log)[-5000:]


def resident_bytes(server: serving.Running) -> int | None:
    """The most memory that the server has had; None where the system does not tell."""
    try:
        status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii")
    except OSError:
        return None
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
