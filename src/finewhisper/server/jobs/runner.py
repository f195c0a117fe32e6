"""What works on jobs, tells their webhooks and forgets them, as long as the server runs."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from finewhisper import audio
from finewhisper.audio import Seconds
from finewhisper.errors import AudioError, CutShortError, FinewhisperError, StorageError, UsageError
from finewhisper.server.errors import BusyError, ClosingError, TooLargeError, fault
from finewhisper.server.jobs import webhooks
from finewhisper.server.jobs.config import JobsConfig
from finewhisper.server.jobs.options import JobOptions, shown
from finewhisper.server.jobs.results import kept
from finewhisper.server.jobs.store import Job, Store
from finewhisper.server.service import Service

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

#: Progress is written down no more often.
_REPORT_S: Seconds = 1.0
#: The first pause before a webhook is called again.
_FIRST_PAUSE_S: Seconds = 2.0
_EXPIRY_EVERY_S: Seconds = 600.0
#: Until the disk is tried again.
_RETRY_S: Seconds = 10.0
#: Webhooks that are called at a time; SQLite and the file system have threads of their own.
_CALLERS = 4


class Runner:
    """Jobs in motion.

    Args:
        store: is closed when the runner is.
    """

    def __init__(self, service: Service, store: Store, config: JobsConfig) -> None:
        self.store, self.config = store, config
        self._service = service
        self._queued = asyncio.Event()
        self._adding = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._working: dict[str, asyncio.Task[None]] = {}
        self._callers = ThreadPoolExecutor(_CALLERS, thread_name_prefix="webhook")

    def start(self) -> None:
        """Go on with what the last process left, and work on what comes."""
        for _ in range(self.config.together):
            self._run(self._work())
        self._run(self._expire())
        for job in self.store.untold():
            self._run(self._tell(job))

    async def close(self) -> None:
        """Hand back what is in work."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._callers.shutdown(wait=False, cancel_futures=True)
        try:
            await asyncio.to_thread(self.store.hand_back)
        except StorageError as error:  # the next process will find them running, and begin them again
            _log.error("%s", error)
        await asyncio.to_thread(self.store.close)

    async def check_room(self, more_bytes: int = 0) -> None:
        """See whether one more recording may wait, which has at least so many bytes.

        Raises:
            BusyError: as many jobs wait as may.
            ClosingError: the server shuts down.
            TooLargeError: it has more bytes than all of them may have together.
        """
        if self._service.closing:
            raise ClosingError("the server is shutting down; ask another one, or again later")
        limit = self.config.most_megabytes * 1_000_000
        if more_bytes > limit:
            raise TooLargeError(f"the recording is larger than the {limit / 1e6:g} MB that jobs may have here; raise --jobs.most-megabytes")
        count, size = await asyncio.to_thread(self.store.waiting)
        if count >= self.config.most or size + max(more_bytes, 1) > limit:
            raise BusyError(f"{count} jobs with {size / 1e6:.0f} MB wait already; come again later", retry_after_s=60.0)

    async def add(self, owner: str, options: Mapping[str, Any], webhook: str | None, recording: Path) -> Job:
        """Take over a recording and queue a job for it. Raises: as :meth:`check_room`, as many may have come at once."""
        async with self._adding:
            await self.check_room(recording.stat().st_size)
            job = await asyncio.to_thread(self.store.add, owner, options, webhook, recording)
        self._queued.set()
        return job

    async def cancel(self, job: Job) -> None:
        """Give up a job that is not over."""
        await asyncio.to_thread(self.store.cancel, job.id)
        working = self._working.get(job.id)
        if working is not None:
            working.cancel()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a task of the jobs ended in a defect", exc_info=error)

    async def _work(self) -> None:
        while not self._service.closing:
            self._queued.clear()
            job = await _patiently(self.store.start)
            if job is None:
                await self._queued.wait()
                continue
            self._queued.set()  # there may be more, for the others
            working = self._working[job.id] = asyncio.get_running_loop().create_task(self._heard(job))
            try:
                await asyncio.wait({working})
            except asyncio.CancelledError:  # the server ends
                working.cancel()
                await asyncio.wait({working})
                raise
            finally:
                del self._working[job.id]

    async def _heard(self, job: Job) -> None:
        """Work on a job until it is over."""
        recording = self.store.recording(job.id)
        try:
            requested = JobOptions.model_validate(job.options).requested()
            length_s = await asyncio.to_thread(_duration, recording)
            heard = await self._service.transcript(recording, requested, progress=self._reports(job.id, length_s))
        except ClosingError:
            await _patiently(self.store.hand_back, job.id)
            return
        except Exception as error:
            known = fault(error)
            if known.status >= 500:
                _log.exception("job %s failed", job.id)
            await _patiently(self.store.finish, job.id, None, {"type": known.kind, "message": known.message})
        else:
            await _patiently(self.store.finish, job.id, kept(heard), None)
        over = await _patiently(self.store.get, job.id, job.owner)
        if over is None or over.state == "cancelled":
            return
        self._service.metrics.finished(over.state)
        if over.webhook is not None:
            self._run(self._tell(over))

    def _reports(self, job: str, length_s: Seconds) -> Callable[[Seconds], None]:
        """Takes what has been transcribed, and writes it down now and then."""
        done_s, written_s = 0.0, time.monotonic()

        def advance(seconds: Seconds) -> None:
            nonlocal done_s, written_s
            done_s += seconds
            if length_s > 0 and time.monotonic() - written_s >= _REPORT_S:
                written_s = time.monotonic()
                self._run(self._report(job, min(done_s / length_s, 1.0)))

        return advance

    async def _report(self, job: str, progress: float) -> None:
        try:
            await asyncio.to_thread(self.store.report, job, progress)
        except StorageError as error:
            _log.warning("job %s: its progress is not written down: %s", job, error)

    async def _tell(self, job: Job) -> None:
        """Call a job's webhook until it has taken the result or has been asked often enough."""
        body = await asyncio.to_thread(lambda: json.dumps(shown(job), ensure_ascii=False).encode())  # hours of speech take a while
        loop = asyncio.get_running_loop()
        arguments = (job.webhook or "", body, self.config.webhook_hosts, self.config.webhook_timeout)
        for attempt in range(self.config.webhook_tries):
            if attempt:
                await asyncio.sleep(_FIRST_PAUSE_S * 2 ** (attempt - 1))
            try:
                await loop.run_in_executor(self._callers, webhooks.post, *arguments)
                break
            except UsageError as error:
                _log.warning("job %s: %s", job.id, error)
                break
            except FinewhisperError as error:
                _log.warning("job %s: %s", job.id, error)
        await _patiently(self.store.told, job.id)

    async def _expire(self) -> None:
        while True:
            await _patiently(self.store.expire, time.time() - self.config.keep_hours * 3600)
            await asyncio.sleep(_EXPIRY_EVERY_S)


async def _patiently(function: Callable[..., Value], *arguments: Any) -> Value:
    """Call a method of the store until it succeeds: a disk that is full may have room again.

    Where the awaiting task is cancelled, the call that is under way still comes to its end first.
    """
    while True:
        call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            await asyncio.wait({call})
            raise
        except StorageError as error:
            _log.error("%s; trying again in %g s", error, _RETRY_S)
        await asyncio.sleep(_RETRY_S)


def _duration(recording: Any) -> Seconds:
    """0 where the header does not say; reading the file will say what is wrong with it."""
    try:
        return audio.duration(recording)
    except CutShortError as error:
        return error.found_s
    except AudioError:
        return 0.0
