"""A line for each request and each socket, with an id that the client gets too, for people or for machines."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from contextvars import ContextVar
from typing import Any, Literal

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finewhisper.serve.metrics import Metrics

#: The id of the request or socket that is being worked on; "" outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_log = logging.getLogger("finewhisper.requests")
#: What a client may call its request itself.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Asked every few seconds by machines: not worth a line each.
_QUIET = {"/healthz", "/readyz", "/metrics"}


def set_up(log_format: Literal["text", "json"]) -> None:
    """Write everything that is logged in this process to standard error, in one format."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # that it starts and ends is told without it


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        named = request_id.get()
        return super().formatMessage(record) + (f" [{named}]" if named else "")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname, "message": record.getMessage()}
        content |= {"request_id": request_id.get()} if request_id.get() else {}
        content |= getattr(record, "fields", {})
        if record.exc_info:
            content["error"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False)


class RequestLog:
    """Gives each request and socket an id, notes how it ended, and answers for requests that end in a defect."""

    def __init__(self, app: ASGIApp, metrics: Metrics, broken: Any) -> None:
        """``broken`` makes the answer of a scope and an exception that nobody expected."""
        self._app, self._metrics, self._broken = app, metrics, broken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        token = request_id.set(_id(scope))
        try:
            await (self._request if scope["type"] == "http" else self._socket)(scope, receive, send)
        finally:
            request_id.reset(token)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.get().encode())]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except Exception as error:
            _log.exception("%s %s ended in a defect", scope["method"], scope["path"])
            if not status:
                answer: Response = self._broken(scope, error)
                await answer(scope, receive, sent)
        finally:
            took_s = time.perf_counter() - started_s
            self._metrics.answered(scope["method"], getattr(scope.get("route"), "path", "") or "other", status, took_s)
            _note(scope, scope["method"], status, took_s, quiet=scope["path"] in _QUIET and status < 400)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The status of a socket is the code that it was closed with, by whichever side was first."""
        started_s, status = time.perf_counter(), 0

        async def received() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "websocket.disconnect":
                status = status or message.get("code", 0)
            return message

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "websocket.close":
                status = status or message.get("code", 0)
            await send(message)

        try:
            await self._app(scope, received, sent)
        finally:
            _note(scope, "WS", status, time.perf_counter() - started_s)


def _note(scope: Scope, method: str, status: int, took_s: float, *, quiet: bool = False) -> None:
    client = scope["client"][0] if scope.get("client") else "-"
    fields = {"client": client, "method": method, "path": scope["path"], "status": status, "seconds": round(took_s, 4)}
    level = logging.DEBUG if quiet else logging.INFO
    _log.log(level, "%s %s %s %d %.3f s", client, method, scope["path"], status, took_s, extra={"fields": fields})


def _id(scope: Scope) -> str:
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex
