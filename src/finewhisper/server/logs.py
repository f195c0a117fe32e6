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
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finewhisper.server.prometheus import Metrics

#: The id of the request or socket that is being worked on; "" outside of one.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_log = logging.getLogger("finewhisper.requests")
#: What a client may call its request itself.
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
#: Asked every few seconds by machines: not worth a line each.
_QUIET = {"/health", "/healthz", "/readyz", "/metrics"}
#: What ends a line, moves a terminal's cursor, turns the direction of writing, cannot be seen, or is no character at all.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
#: What would let a path look like the rest of a line.
_PARTING = re.compile('[\\s%"]')
#: Longer paths are cut in the log.
_LONGEST_PATH = 500
#: Methods that are counted each by itself; clients may invent any number of others.
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}


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
        record.message = safe(record.message)
        return super().formatMessage(record) + (f" [{named}]" if named else "")

    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler's
        return super().format(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the library's name
        """Indented, so that no line of it, which a client may have had a part in, looks like the beginning of another record."""
        return "\n".join(f"  {safe(line)}" for line in super().formatException(ei).split("\n"))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname, "message": record.getMessage()}
        content |= {"request_id": request_id.get()} if request_id.get() else {}
        content |= getattr(record, "fields", {})
        if record.exc_info:
            content["error"] = self.formatException(record.exc_info)
        return safe(json.dumps(content, ensure_ascii=False, default=str))


def safe(text: str) -> str:
    """The text with escapes (valid in JSON too) for whatever could make one line look like several, or like another one."""
    return _UNSAFE.sub(_escaped, text)


def quoted(path: str) -> str:
    """A path as one word."""
    return safe(_PARTING.sub(lambda found: quote(found[0]), path[:_LONGEST_PATH]))


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


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
            _log.exception("%s %s ended in a defect", quoted(scope["method"]), quoted(scope["path"]))
            if not status:
                answer: Response = self._broken(scope, error)
                await answer(scope, receive, sent)
        finally:
            took_s = time.perf_counter() - started_s
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.answered(method, getattr(scope.get("route"), "path", "") or "other", status, took_s)
            _note(scope, quoted(scope["method"]), status, took_s, quiet=scope["path"] in _QUIET and status < 400)

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
    client = quoted(scope["client"][0]) if scope.get("client") else "-"
    path = quoted(scope["path"])
    fields = {"client": client, "method": method, "path": path, "status": status, "seconds": round(took_s, 4)}
    level = logging.DEBUG if quiet else logging.INFO
    _log.log(level, "%s %s %s %d %.3f s", client, method, path, status, took_s, extra={"fields": fields})


def _id(scope: Scope) -> str:
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex
