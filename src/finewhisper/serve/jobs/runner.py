"""What works on jobs, tells their webhooks and forgets them, as long as the server runs."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from finewhisper import audio
from finewhisper.audio import Seconds
from finewhisper.errors import AudioError, FinewhisperError, UsageError
from finewhisper.serve.errors import BusyError, ClosingError, fault
from finewhisper.serve.jobs import webhooks
from finewhisper.serve.jobs.config import JobsConfig
from finewhisper.serve.jobs.options import JobOptions, shown
from finewhisper.serve.jobs.results import kept
from finewhisper.serve.jobs.store import Job, Store
from finewhisper.serve.service import Service

Value = TypeVar("Value")

_log = logging.getLogger(__name__)

#: Progress is written down no more often.
_REPORT_S: Seconds = 1.0
#: The first pause before a webhook is called again.
_FIRST_PAUSE_S: Seconds = 2.0
_EXPIRY_EVERY_S: Seconds = 600.0
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
        await asyncio.to_thread(self.store.close)

    async def check_room(self) -> None:
        """Raises: BusyError where as many jobs wait as may; ClosingError where the server shuts down."""
        if self._service.closing:
            raise ClosingError("the server is shutting down; ask another one, or again later")
        count, size = await asyncio.to_thread(self.store.waiting)
        if count >= self.config.most or size >= self.config.most_megabytes * 1_000_000:
            raise BusyError(f"{count} jobs with {size / 1e6:.0f} MB wait already; come again later", retry_after_s=60.0)

    def wake(self) -> None:
        """There is a new job."""
        self._queued.set()

    async def cancel(self, job: Job) -> None:
        """Give up a job that is not over."""
        await asyncio.to_thread(self.store.cancel, job.id)
        working = self._working.get(job.id)
        if working is not None:
            working.cancel()

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        while not self._service.closing:
            self._queued.clear()
            job = await asyncio.to_thread(self.store.start)
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
                await asyncio.shield(asyncio.to_thread(self.store.hand_back, job.id))
                raise
            finally:
                del self._working[job.id]

    async def _heard(self, job: Job) -> None:
        """Work on a job until it is over."""
        recording = self.store.recording(job.id)
        try:
            wish = JobOptions.model_validate(job.options).wish()
            length_s = await asyncio.to_thread(_duration, recording)
            heard = await self._service.transcript(recording, wish, progress=self._reports(job.id, length_s))
        except ClosingError:
            await asyncio.to_thread(self.store.hand_back, job.id)
            return
        except Exception as error:
            known = fault(error)
            if known.status >= 500:
                _log.exception("job %s failed", job.id)
            await asyncio.to_thread(self.store.finish, job.id, None, {"type": known.kind, "message": known.message})
        else:
            await asyncio.to_thread(self.store.finish, job.id, kept(heard), None)
        over = await asyncio.to_thread(self.store.get, job.id, job.owner)
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
                self._run(_in_thread(self.store.report, job, min(done_s / length_s, 1.0)))

        return advance

    async def _tell(self, job: Job) -> None:
        """Call a job's webhook until it has taken the result or has been asked often enough."""
        body = json.dumps(shown(job), ensure_ascii=False).encode()
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
        await asyncio.to_thread(self.store.told, job.id)

    async def _expire(self) -> None:
        while True:
            await asyncio.to_thread(self.store.expire, time.time() - self.config.keep_hours * 3600)
            await asyncio.sleep(_EXPIRY_EVERY_S)


async def _in_thread(function: Callable[..., None], *arguments: Any) -> None:
    await asyncio.to_thread(function, *arguments)


def _duration(recording: Any) -> Seconds:
    """0 where the header does not say; reading the file will say what is wrong with it."""
    try:
        return audio.duration(recording)
    except AudioError:
        return 0.0
