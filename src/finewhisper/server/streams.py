"""Answers that come piece by piece."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack

from fastapi.responses import StreamingResponse
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from finewhisper.errors import FinewhisperError
from finewhisper.server.errors import ClientGoneError
from finewhisper.server.limits import PATIENCE_S, while_connected

_log = logging.getLogger(__name__)


async def streamed(
    request: Request,
    pieces: AsyncGenerator[bytes, None],
    held: AsyncExitStack,
    media_type: str,
    failed: Callable[[Exception], bytes],
) -> StreamingResponse:
    """Answer with pieces as they come.

    What is raised before the first piece is raised from here, and so becomes an answer with a status of its own.

    Args:
        request: has been read to its end.
        held: what the pieces need; taken over, and closed when the last piece is sent or the client goes away.
        failed: the last piece, for an error after the first one.
    """
    first = await while_connected(request, anext(pieces, b""))

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        try:
            async for piece in pieces:
                yield piece
        except FinewhisperError as error:
            yield failed(error)
        except Exception as error:
            _log.exception("an answer broke off")
            yield failed(error)

    return _Streamed(all_pieces(), held.pop_all(), media_type)


class _Streamed(StreamingResponse):
    """Frees what it holds even where the client has gone before the first piece was sent."""

    def __init__(self, pieces: AsyncIterator[bytes], held: AsyncExitStack, media_type: str) -> None:
        super().__init__(pieces, media_type=media_type, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            try:
                await asyncio.wait_for(send(message), PATIENCE_S)
            except asyncio.TimeoutError:  # else it would hold its place, and its recording, for as long as it likes
                raise ClientGoneError(f"the client did not read for {PATIENCE_S:g} s; its answer breaks off") from None

        async with self._held:
            try:
                await super().__call__(scope, receive, sent)
            except ClientGoneError as error:
                _log.warning("%s", error)
