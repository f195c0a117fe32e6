"""What all live sockets have in common: who may open one, how many there are, and how messages come and go."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from finewhisper import json_values
from finewhisper.errors import FinewhisperError, UsageError
from finewhisper.server.errors import BusyError, ClientGoneError, ClosingError, KeyRefusedError, TooLargeError, fault
from finewhisper.server.hosts import Visitors
from finewhisper.server.keys import Keys
from finewhisper.server.live.config import LiveConfig
from finewhisper.server.service import Service

#: Reasons to close a socket (RFC 6455, section 7.4.1, and the registry it founded).
NORMAL, POLICY, TOO_BIG, DEFECT, RESTART, TRY_AGAIN = 1000, 1008, 1009, 1011, 1012, 1013

#: How OpenAI's clients in browsers hand over a key.
_KEY_PROTOCOL = "openai-insecure-api-key."
#: How the web page does: in base64url, as a subprotocol's name may not have every character that a key may have.
_ENCODED_KEY_PROTOCOL = "finewhisper-key."
#: The subprotocol that is chosen where it is offered. Browsers give up where they offered some and none is chosen.
PROTOCOL = "finewhisper"


class Connections:
    """The live sockets of a server."""

    def __init__(self, service: Service, keys: Keys, visitors: Visitors) -> None:
        self.service, self.config, self._keys, self._visitors = service, service.config.live, keys, visitors
        logging.getLogger("uvicorn.error").addFilter(_tamed)

    @contextmanager
    def place(self, socket: WebSocket) -> Iterator[None]:
        """A place for a socket.

        Raises:
            KeyRefusedError: it brings no key, or a wrong one.
            ForeignHostError, ForeignOriginError: as :meth:`finewhisper.server.hosts.Visitors.check`.
            BusyError: there is none left.
            ClosingError: the server is shutting down.
        """
        self._visitors.check(socket)
        if not self._keys.accepts(_key(socket)):
            raise KeyRefusedError('this server asks for an API key: send the header "Authorization: Bearer KEY", or ?key=KEY')
        if self.service.closing:
            raise ClosingError("the server is shutting down; ask another one, or again later")
        if self.service.sockets >= self.config.sockets:
            raise BusyError(f"{self.service.sockets} sockets are open already; come again later", retry_after_s=10.0)
        self.service.sockets += 1
        try:
            yield
        finally:
            self.service.sockets -= 1

    def messages(self, socket: WebSocket) -> Messages:
        """The messages of a socket that was accepted."""
        return Messages(socket, self.config, self.service.draining)

    @property
    def code_when_done(self) -> int:
        """Why a socket is closed whose sound was all heard."""
        return RESTART if self.service.closing else NORMAL


def _key(socket: WebSocket) -> str:
    """From the header, or where browsers can put it: in the address, or among OpenAI's subprotocols."""
    kind, _, key = socket.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return key.strip()
    offered = socket.scope.get("subprotocols", ())
    plain = (name.removeprefix(_KEY_PROTOCOL) for name in offered if name.startswith(_KEY_PROTOCOL))
    encoded = (_decoded(name.removeprefix(_ENCODED_KEY_PROTOCOL)) for name in offered if name.startswith(_ENCODED_KEY_PROTOCOL))
    return socket.query_params.get("key", "") or next(plain, "") or next(encoded, "")


def _decoded(key: str) -> str:
    """What base64url without padding says; nothing where it is something else."""
    try:
        return base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:
        return ""


def _tamed(record: logging.LogRecord) -> bool:
    """uvicorn logs the address of every socket, and a key may be in it; and it takes text that is no UTF-8 for a defect of ours."""
    if isinstance(record.args, tuple):
        record.args = tuple(value.partition("?")[0] if isinstance(value, str) else value for value in record.args)
    if record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError):
        record.exc_info, record.levelno, record.levelname = None, logging.WARNING, "WARNING"
    return True


class Messages:
    """The two directions of an accepted socket.

    Args:
        draining: set when the server wants to end.
    """

    def __init__(self, socket: WebSocket, config: LiveConfig, draining: asyncio.Event) -> None:
        self._socket, self._config, self._draining = socket, config, draining
        self._end_told = False

    async def receive(self) -> bytes | dict[str, Any] | None:
        """The next message: sound, an object, or, once, None where the server ends, so that no more sound is to be taken.

        Raises:
            ClientGoneError: the client went away, or was silent for too long.
            TooLargeError: it is larger than a message may be.
            UsageError: it is text but no JSON object.
        """
        message = await self._next()
        if message is None:
            self._end_told = True
            return None
        if message["type"] == "websocket.disconnect":
            raise ClientGoneError("the client went away")
        data = message.get("bytes")
        text = message.get("text")
        if max(len(data or b""), len(text or "")) > self._config.frame_bytes:
            raise TooLargeError(f"a message is larger than {self._config.frame_bytes} bytes; send the sound in smaller pieces")
        return data if data is not None else _object(text or "")

    async def _next(self) -> Message | None:
        """What comes first: a message, or the end of the server, unless that was told."""
        if self._draining.is_set() and not self._end_told:
            return None
        coming = asyncio.ensure_future(self._socket.receive())
        ending = asyncio.ensure_future(self._draining.wait())
        awaited: set[asyncio.Future[Any]] = {coming} if self._end_told else {coming, ending}
        try:
            done, _ = await asyncio.wait(awaited, timeout=self._config.idle_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if not coming.done():
                coming.cancel()
        if not done:
            raise IdleError(f"no message came for {self._config.idle_s:g} s")
        return coming.result() if coming in done else None

    async def send(self, content: dict[str, Any]) -> None:
        """Send an object. Raises: ClientGoneError where the client does not take it."""
        text = json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace").decode()  # half a surrogate pair is not UTF-8
        try:
            await asyncio.wait_for(self._socket.send_text(text), self._config.send_timeout_s)
        except asyncio.TimeoutError:
            raise ClientGoneError(f"the client did not read for {self._config.send_timeout_s:g} s") from None
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ClientGoneError("the client went away") from error

    async def close(self, code: int) -> None:
        """Close the socket, unless that has happened."""
        with suppress(WebSocketDisconnect, RuntimeError, asyncio.TimeoutError):
            await asyncio.wait_for(self._socket.close(code), self._config.send_timeout_s)


class IdleError(FinewhisperError):
    """A client has said nothing for too long."""


def closing_code(error: Exception) -> int:
    """Why a socket is closed."""
    if isinstance(error, (BusyError, ClosingError)):
        return TRY_AGAIN
    if isinstance(error, TooLargeError):
        return TOO_BIG
    if isinstance(error, (IdleError, KeyRefusedError)):
        return POLICY
    return DEFECT if fault(error).status >= 500 else POLICY


def _object(text: str) -> dict[str, Any]:
    try:
        content = json_values.parse(text)
    except ValueError as error:
        raise UsageError(f"a text message must be a JSON object; this one {error}") from None
    if not isinstance(content, dict):
        raise UsageError("a text message must be a JSON object; sound is sent in binary messages")
    return content
