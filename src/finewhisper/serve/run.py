"""``finewhisper serve``: start the server, and end it without dropping what it is working on."""

from __future__ import annotations

import asyncio
import time
from types import FrameType

import uvicorn

from finewhisper.audio import Seconds
from finewhisper.progress import note
from finewhisper.serve import logs
from finewhisper.serve.app import create_app
from finewhisper.serve.config import ServeConfig
from finewhisper.serve.service import Service

#: How long answers that are on their way may take once nothing runs any more.
_LAST_BYTES_S = 5


def run(config: ServeConfig) -> None:
    """Serve until the process is told to end.

    Raises:
        ModelError, UnsupportedError, MissingExtraError: as :func:`finewhisper.engines.load_engine`.
        UsageError: the port is taken.
    """
    logs.set_up(config.log_format)
    service = Service(config)
    settings = uvicorn.Config(
        create_app(service),
        host=config.host,
        port=config.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_BYTES_S,
    )
    _Server(settings, service).run()


class _Server(uvicorn.Server):
    """uvicorn, but on SIGTERM it first finishes what runs, and refuses new work meanwhile."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._end_at_s: Seconds | None = None
        self._giving_up: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._end_at_s is not None:
            super().handle_exit(sig, frame)
            return
        self._service.drain()
        self._end_at_s = time.monotonic() + self._service.config.shutdown_timeout
        note(f"shutting down; {self._service.running} requests are being finished")

    async def on_tick(self, counter: int) -> bool:
        if self._end_at_s is not None:
            left_s = self._end_at_s - time.monotonic()
            if left_s < 0 and self._giving_up is None:
                self._giving_up = asyncio.create_task(asyncio.to_thread(self._service.models.close))  # who waits is told so
            if not self._service.running or left_s < -_LAST_BYTES_S:
                self.should_exit = True
        return await super().on_tick(counter)
