"""``finewhisper serve``: start the server, and end it without dropping what it is working on."""

from __future__ import annotations

import asyncio
import socket
import time
from types import FrameType

import uvicorn

from finewhisper.audio import Seconds
from finewhisper.errors import UsageError
from finewhisper.progress import note
from finewhisper.server import logs
from finewhisper.server.app import create_app
from finewhisper.server.config import ServeConfig
from finewhisper.server.service import Service
from finewhisper.server.sockets import MOST_HEADER_BYTES, Sockets, affordable

#: How long answers that are on their way may take once nothing runs any more.
LAST_BYTES_S = 5

#: A message that is a little too large is refused by us, who can say why; a larger one is not read to its end.
_ROOM_BYTES = 65_536


def run(config: ServeConfig) -> None:
    """Serve until the process is told to end.

    Raises:
        ModelError, UnsupportedError, MissingExtraError: as :func:`finewhisper.engines.load_engine`.
        UsageError: the port is taken.
    """
    logs.set_up(config.log_format)
    service = Service(config)
    sockets = Sockets(affordable(config.connections, config.queue), config.header_timeout)
    settings = uvicorn.Config(
        create_app(service),
        host=config.host,
        port=config.port,
        http=sockets.protocol,  # type: ignore[arg-type] # it is only called
        h11_max_incomplete_event_size=MOST_HEADER_BYTES,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=config.live.frame_bytes + _ROOM_BYTES,
        ws_per_message_deflate=False,  # sound gains nothing, and a small message could become one of gigabytes
        timeout_graceful_shutdown=LAST_BYTES_S,
    )
    bound = _bound(config)
    with bound:
        _Server(settings, service).run(sockets=[bound])


def _bound(config: ServeConfig) -> socket.socket:
    """A socket at the address to listen on. Raises: UsageError."""
    bound = socket.socket(socket.AF_INET6 if ":" in config.host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((config.host, config.port))
    except OSError as error:
        bound.close()
        raise UsageError(
            f"--host {config.host} --port {config.port}: cannot listen there ({error.strerror}); choose another port"
        ) from error
    return bound


class _Server(uvicorn.Server):
    """uvicorn, but on SIGTERM it first finishes what runs, and refuses new work meanwhile."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self._service = service
        self._end_at_s: Seconds | None = None
        self._giving_up: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            models = ", ".join(self._service.models.names)
            note(f"serving {models}; running on http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it)")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._end_at_s is not None:
            super().handle_exit(sig, frame)
            return
        self._end_at_s = time.monotonic() + self._service.config.shutdown_timeout

    async def on_tick(self, counter: int) -> bool:
        if self._end_at_s is not None:
            if not self._service.closing:  # not done in the signal's handler, which may interrupt the event loop anywhere
                self._service.drain()
                note(f"shutting down; {self._service.running} requests and {self._service.sockets} live sockets are being finished")
            left_s = self._end_at_s - time.monotonic()
            if left_s < 0 and self._giving_up is None:
                self._giving_up = asyncio.create_task(asyncio.to_thread(self._service.models.close))  # who waits is told so
            if not (self._service.running or self._service.sockets) or left_s < -LAST_BYTES_S:
                self.should_exit = True
        return await super().on_tick(counter)
