"""What a socket may cost before it has asked for anything: time, bytes, and one of the places that there are.

uvicorn waits for the headers of a request as long as somebody likes. Here each socket has :attr:`Sockets.headers_s` to bring them,
however it spreads them out; h11 bounds their bytes. Where all places are taken, whoever has waited longest without a request makes room,
so that idle sockets shut nobody out; only where all are at work, a new one is told to come again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from finewhisper.audio import Seconds
from finewhisper.server.limits import PATIENCE_S

_log = logging.getLogger(__name__)

#: Of one request's headers and its address together; browsers and proxies stop at 8 to 16 KB.
MOST_HEADER_BYTES = 64 * 1024
#: Until a socket that is closed has sent what it still holds.
_LAST_BYTES_S: Seconds = 5.0
#: The same warning is logged no more often.
_WARN_EVERY_S: Seconds = 60.0
#: Files that are open beside sockets and recordings: libraries, models, the database, webhooks.
_OTHER_FILES = 128
#: Files that one recording may have open: as it is received, as it is kept, and as it is decoded.
_FILES_OF_A_RECORDING = 4


class Sockets:
    """All open sockets of a server.

    Args:
        most: how many there may be, live sockets included.
        headers_s: seconds that a request's headers may take, from the connection or from the end of the answer before.
    """

    def __init__(self, most: int, headers_s: Seconds) -> None:
        self.most, self.headers_s = most, headers_s
        self.waiting: dict[BoundedProtocol, None] = {}  #: those without a request, those that have waited longest first
        self._warned_s = float("-inf")

    def protocol(self, **arguments: Any) -> BoundedProtocol:
        """What uvicorn asks for each new socket."""
        return BoundedProtocol(self, **arguments)

    def has_room(self, count: int) -> bool:
        """Whether one of so many sockets may stay; closes another one that asks for nothing, if need be."""
        if count <= self.most:
            return True
        self._warn()
        if not self.waiting:
            return False
        next(iter(self.waiting)).give_up()
        return True

    def _warn(self) -> None:
        if time.monotonic() - self._warned_s > _WARN_EVERY_S:
            self._warned_s = time.monotonic()
            _log.warning("%d sockets are open, as many as there may be (--connections): those without a request are closed", self.most)


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol on h11, which bounds the bytes of headers, with a clock."""

    def __init__(self, sockets: Sockets, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._sockets = sockets
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._sockets.has_room(len(self.connections)):
            self._wait(self._sockets.headers_s)
        else:
            self._refuse(
                "503 Service Unavailable", f"{self._sockets.most} sockets are open already; come again later", "Retry-After: 5\r\n"
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self._begun()
        self._stop(self._stalled)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._begun()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._begun()
        super().handle_websocket_upgrade(event)

    def on_response_complete(self) -> None:
        over = self.conn.their_state in {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}
        self._wait(self._sockets.headers_s if over else PATIENCE_S)  # the rest of what was refused is read, so that the answer arrives
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._refuse("400 Bad Request", f"{msg} Is it HTTP/1.1 with less than {MOST_HEADER_BYTES} bytes of headers?")
        else:
            self._close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._close()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop(self._stalled)
        self._stalled = self.loop.call_later(2 * PATIENCE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop(self._stalled)

    def give_up(self) -> None:
        """Close at once, for somebody who asks for something."""
        self._begun()
        self.transport.abort()

    def _wait(self, patience_s: Seconds) -> None:
        self._begun()
        self._sockets.waiting[self] = None
        self._deadline = self.loop.call_later(patience_s, self._too_slow)

    def _begun(self) -> None:
        """A request is there: its route has limits of its own."""
        self._sockets.waiting.pop(self, None)
        self._stop(self._deadline)

    def _too_slow(self) -> None:
        if self.conn.our_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse("408 Request Timeout", f"the headers did not come within {self._sockets.headers_s:g} s")
        else:
            self._close()

    def _refuse(self, status: str, message: str, header: str = "") -> None:
        """Answer without the application, in the shape of OpenAI's errors, and close."""
        error = {"message": message, "type": "invalid_request_error" if status < "5" else "server_error", "param": None, "code": None}
        body = json.dumps({"error": error}).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{header}Connection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        self._close()

    def _close(self) -> None:
        self._begun()
        self.transport.close()
        self.loop.call_later(_LAST_BYTES_S, self.transport.abort)  # whoever does not read would keep it open

    @staticmethod
    def _stop(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def affordable(connections: int, recordings: int, limits: Callable[[int], int] | None = None) -> int:
    """How many sockets may be open at a time without running out of the files that this process may open.

    Args:
        connections: as many are wanted.
        recordings: that may be received at a time.
        limits: has as many files allowed as can be, at most the number given, and says how many that are; the process' own unless given.
    """
    others = recordings * _FILES_OF_A_RECORDING + _OTHER_FILES
    allowed = (limits or _allow_files)(connections + others)
    if allowed >= connections + others:
        return connections
    fewer = max(allowed - others, allowed // 4)
    _log.warning(
        "this process may open %d files, so that %d of --connections %d are taken; raise the limit (ulimit -n, LimitNOFILE)",
        allowed,
        fewer,
        connections,
    )
    return fewer


def _allow_files(wanted: int) -> int:
    if sys.platform == "win32":  # which has no such limit, and no module of that name
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else min(soft, wanted)
