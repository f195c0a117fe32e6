"""Clients of a live socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import websockets

import serving
from finewhisper.audio import Waveform

#: The machine may be busy with other things.
PATIENCE_S = 300.0


def pcm(waveform: Waveform) -> bytes:
    return (waveform * 32767).astype("<i2").tobytes()


def socket(server: serving.Running, path: str = "/v1/listen", **options: Any) -> websockets.connect:
    return websockets.connect(f"ws{server.address.removeprefix('http')}{path}", open_timeout=PATIENCE_S, ping_timeout=None, **options)


async def next_message(connection: Any) -> dict[str, Any]:
    return dict(json.loads(await asyncio.wait_for(connection.recv(), PATIENCE_S)))


async def until(connection: Any, wanted: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """All messages up to the first that is wanted."""
    found = [await next_message(connection)]
    while not wanted(found[-1]):
        found.append(await next_message(connection))
    return found


async def listen(server: serving.Running, query: str, pieces: list[bytes], pause_s: float = 0.0) -> list[dict[str, Any]]:
    """Send messages and the end; everything that the server says."""
    async with socket(server, f"/v1/listen?{query}") as connection:
        for piece in pieces:
            await connection.send(piece)
            await asyncio.sleep(pause_s)
        await connection.send('{"type": "end"}')
        return await until(connection, lambda message: message["type"] in {"done", "error"})


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[first : first + size] for first in range(0, len(data), size)]


def finals(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "final"]


def silence(seconds: float) -> Waveform:
    return np.zeros(round(seconds * 16_000), dtype=np.float32)
