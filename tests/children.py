"""Child processes that start in a second: all are forked from one that has imported torch and computed nothing."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from typing import Any

PROCESSES = multiprocessing.get_context("forkserver")
# What all children need is imported once.
PROCESSES.set_forkserver_preload(["finewhisper.training.run", "matplotlib.backends.backend_agg", "matplotlib.figure"])


def together(count: int, function: Callable[..., Any], *arguments: Any, **environment: str) -> list[int | None]:
    """Call a function in so many processes that know of each other as torchrun would tell them; their exit codes, by rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(count)}
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank), **shared, **environment} for rank in range(count)]
    children = [PROCESSES.Process(target=_with_environment, args=(variables, function, arguments)) for variables in ranks]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]


def _with_environment(variables: dict[str, str], function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    os.environ.update(variables)
    function(*arguments)
