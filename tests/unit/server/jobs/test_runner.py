"""Jobs in motion: what happens when the server ends, or its disk is full, at the worst moment."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from finewhisper.errors import StorageError
from finewhisper.server.config import ServeConfig
from finewhisper.server.errors import BusyError, TooLargeError
from finewhisper.server.jobs import runner as runners
from finewhisper.server.jobs.config import JobsConfig
from finewhisper.server.jobs.runner import Runner
from finewhisper.server.jobs.store import Job, Store
from finewhisper.server.service import Service

pytestmark = pytest.mark.real

PATIENCE_S = 60.0


@asynccontextmanager
async def started(model: Path, folder: Path, **options: Any) -> AsyncIterator[Runner]:
    """A runner that works on jobs; no model is loaded for those of :func:`refused`."""
    service = Service(ServeConfig(model=(str(model),)))
    runner = Runner(service, Store(folder / "jobs"), JobsConfig(folder=folder / "jobs", **options))
    runner.start()
    try:
        yield runner
    finally:
        await runner.close()
        await asyncio.to_thread(service.close)


async def refused(runner: Runner, folder: Path, size: int = 5) -> Job:
    """A job that fails at once: there is no such language."""
    upload = folder / "upload"
    upload.write_bytes(b"x" * size)
    return await runner.add("me", {"language": "klingon"}, None, upload)


async def until_over(runner: Runner, job: Job) -> Job:
    for _ in range(round(PATIENCE_S / 0.01)):
        found = runner.store.get(job.id, "me")
        assert found is not None
        if found.over:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it was never over")


def test_a_server_that_ends_waits_for_the_result_that_is_being_written(quick_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def serve() -> Job:
        writing, written = threading.Event(), threading.Event()
        async with started(quick_model, tmp_path) as runner:
            finish = runner.store.finish

            def slow(*arguments: Any) -> None:
                writing.set()
                assert written.wait(PATIENCE_S)
                finish(*arguments)

            monkeypatch.setattr(runner.store, "finish", slow)
            job = await refused(runner, tmp_path)
            assert await asyncio.to_thread(writing.wait, PATIENCE_S)
            closing = asyncio.create_task(runner.close())
            await asyncio.wait({closing}, timeout=0.2)
            written.set()
            await closing
            return job

    job = asyncio.run(serve())
    after = Store(tmp_path / "jobs").get(job.id, "me")
    assert after is not None
    assert (after.state, after.starts) == ("failed", 1)


def test_a_job_that_was_begun_while_the_server_ended_is_handed_back(quick_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    async def serve() -> Job:
        async with started(quick_model, tmp_path, together=1) as runner:
            start, begun, go_on = runner.store.start, threading.Event(), threading.Event()

            def slow() -> Job | None:
                job = start()
                begun.set()
                assert go_on.wait(PATIENCE_S)
                return job

            monkeypatch.setattr(runner.store, "start", slow)
            job = await refused(runner, tmp_path)
            assert await asyncio.to_thread(begun.wait, PATIENCE_S)
            closing = asyncio.create_task(runner.close())
            await asyncio.wait({closing}, timeout=0.2)
            go_on.set()
            await closing
            return job

    job = asyncio.run(serve())
    after = Store(tmp_path / "jobs").get(job.id, "me")
    assert after is not None
    assert (after.state, after.starts) == ("queued", 0)


@pytest.mark.parametrize("method", ["start", "finish"])
def test_a_full_disk_is_tried_again(method: str, quick_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runners, "_RETRY_S", 0.01)

    async def serve() -> Job:
        async with started(quick_model, tmp_path) as runner:
            monkeypatch.setattr(runner.store, method, full_twice(getattr(runner.store, method)))
            return await until_over(runner, await refused(runner, tmp_path))

    assert asyncio.run(serve()).state == "failed"


def full_twice(method: Callable[..., Any]) -> Callable[..., Any]:
    left = 2

    def full(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left >= 0:
            raise StorageError("jobs.sqlite: cannot be read or written (database or disk is full)")
        return method(*arguments)

    return full


def test_what_came_at_once_is_counted_when_it_is_kept(quick_model: Path, tmp_path: Path):
    """Many recordings may be received while there is room for one."""

    async def serve() -> None:
        async with started(quick_model, tmp_path, most_megabytes=1) as runner:
            runner.store.start = lambda: None  # type: ignore[method-assign] # nobody works
            await runner.check_room()
            await refused(runner, tmp_path, 600_000)
            await runner.check_room()
            with pytest.raises(BusyError, match="1 jobs with 1 MB wait already"):
                await refused(runner, tmp_path, 600_000)
            with pytest.raises(TooLargeError, match=r"--jobs\.most-megabytes"):
                await refused(runner, tmp_path, 1_000_001)

    asyncio.run(serve())
