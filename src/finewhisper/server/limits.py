"""What one client may take of the server: bytes, time to send them, and work only while it is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.types import Message

from finewhisper.audio import Seconds
from finewhisper.server.errors import ClientGoneError, TooLargeError

Result = TypeVar("Result")

#: A client that sends or reads nothing for so long in the middle of a request is given up.
PATIENCE_S: Seconds = 60.0


def limited_body(request: Request, limit_bytes: int, slowest_bytes_s: float = 0.0) -> Request:
    """The request with a body that ends in an error where it grows too long, whatever length it promised.

    Args:
        slowest_bytes_s: bytes that have to come in a second, on average after the first minute.

    Raises:
        TooLargeError: from here where the promise is too large already, else from reading it.
        ClientGoneError: from reading, where the client goes away, sends nothing any more, or too little.
    """
    too_large = TooLargeError(
        f"the request is larger than the {limit_bytes / 1e6:g} MB that this server takes; send less, or raise --max-upload"
    )
    promised = request.headers.get("content-length", "")
    if promised.isdecimal() and int(promised) > limit_bytes:
        raise too_large
    received, began_s = 0, time.monotonic()

    async def receive() -> Message:
        nonlocal received
        took_s = time.monotonic() - began_s
        if (took_s - PATIENCE_S) * slowest_bytes_s > received:  # or a few bytes now and then would hold a place for hours
            raise ClientGoneError(f"only {received} bytes were received in {took_s:.0f} s")
        try:
            message = await asyncio.wait_for(request.receive(), PATIENCE_S)
        except asyncio.TimeoutError:
            raise ClientGoneError(f"nothing was received for {PATIENCE_S:g} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError("the client went away while it sent")
        received += len(message.get("body", b""))
        if received > limit_bytes:
            raise too_large
        return message

    return Request(request.scope, receive)


async def while_connected(request: Request, work: Awaitable[Result]) -> Result:
    """Wait for work whose request has been read to its end; drop it when the client goes away.

    Raises:
        ClientGoneError: it went away.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGoneError("the client went away")
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.wait({working, leaving})  # what the work holds is free before anybody else closes it


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
