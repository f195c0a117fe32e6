"""A real server in a process of its own, on a port that was free."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

#: A machine may be busy with other things for a while.
START_TIMEOUT_S = 120.0
END_TIMEOUT_S = 90.0


@dataclass
class Running:
    """A server that takes requests; ``log`` is what it has written to standard error so far."""

    address: str
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)


@contextmanager
def running(model: Path | str, *options: str, program: tuple[str, ...] = ("-m", "finewhisper")) -> Iterator[Running]:
    """``finewhisper serve -m MODEL`` with further options, ended as a service manager would.

    Args:
        program: what Python runs in place of the command.
    """
    command = [sys.executable, *program, "serve", "-m", str(model), "--port", "0", "--threads", "1", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    log: list[str] = []
    address: list[str] = []
    known = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if found := re.search(r"running on (http://[\d.]+:\d+)", line):
                address.append(found[1])
                known.set()
        known.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        assert known.wait(START_TIMEOUT_S), "".join(log)
        assert address, "".join(log)
        yield Running(address[0], process, log)
    finally:
        process.terminate()
        try:
            process.wait(END_TIMEOUT_S)
        finally:
            process.kill()
            reader.join(END_TIMEOUT_S)
            if process.stderr is not None:
                process.stderr.close()
