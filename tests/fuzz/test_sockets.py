"""Hostile sockets at a real server: bytes that are no request, requests that never end, broken WebSocket frames, and messages that say what
no client would. None brings the server down or is a defect, and whoever behaves is served all the while.

340 sessions in ``make fuzz``. A failure names the seed.
"""

from __future__ import annotations

import base64
import json
import os
import random
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from besieging import PATIENCE_S, besieged
from fuzzing import damaged, seeds

pytestmark = pytest.mark.real

HEADERS_S = 1.0
#: After which a hostile client goes away, whatever the server does.
STAY_S = 0.15
GET = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
POST = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
UPGRADE = (
    b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
    b"Sec-WebSocket-Version: 13\r\n\r\n"
)
PATHS = (
    b"/v1/realtime",
    b"/v1/realtime?intent=transcription",
    b"/v1/listen",
    b"/v1/listen?encoding=pcm_f32le&sample_rate=48000",
    b"/v1/listen?encoding=opus",
)
QUERIES = (
    b"/v1/listen?sample_rate=-1", b"/v1/listen?language=%ED%A0%80", b"/v1/listen?model=%00%0A", b"/v1/realtime?intent=talk", b"/v1/nowhere",
    b"/v1/listen?beam_size=99999999999999999999&vad=perhaps", b"/v1/realtime?model=" + b"x" * 5000, b"/", b"//", b"/v1/listen?key=%FF",
)  # fmt: skip
GARBAGE = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-x\r\n", b"GET /\r\n\r\n", b"GET / HTTP/0.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", b"CONNECT a:80 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET /%00%0d%0a%ff%ed%a0%80/../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n", b"\r\n" * 500, b"\0" * 500,
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", b"BREW /pot HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
)  # fmt: skip
#: What may stand in place of any value of a message.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 10**30, 1e308, float("nan"), float("inf"), "", "\ud800", "x\udfff\ud800", "\0", "中文",
    "x" * 50_000, [], [[]], {},
    {"type": []}, [None], "9" * 5000, "session.update",
)  # fmt: skip
MESSAGES: tuple[dict[str, Any], ...] = (
    {"type": "end"},
    {"type": "input_audio_buffer.append", "audio": base64.b64encode(bytes(4800)).decode(), "event_id": "e"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {
        "type": "session.update",
        "session": {
            "type": "transcription",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": {"model": "whisper-1", "language": "en", "prompt": "names"},
                    "turn_detection": {"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500},
                }
            },
        },
    },
    {
        "type": "transcription_session.update",
        "session": {
            "input_audio_format": "pcm16",
            "input_audio_transcription": {"model": "whisper-1", "language": "en"},
            "turn_detection": None,
        },
    },
)


def with_faults(value: Any, chance: random.Random) -> Any:
    """The same with some values replaced by ones of other kinds, and some keys gone or new."""
    if chance.random() < 0.15:
        return chance.choice(VALUES)
    if not isinstance(value, dict):
        return value
    changed = {name: with_faults(inner, chance) for name, inner in value.items() if chance.random() > 0.05}
    return changed | ({chance.choice(("type", "audio", "", "\ud800")): chance.choice(VALUES)} if chance.random() < 0.1 else {})


def message(chance: random.Random) -> tuple[int, bytes]:
    """A frame's code and its content."""
    kind = chance.random()
    if kind < 0.6:
        text = json.dumps(with_faults(chance.choice(MESSAGES), chance))
        return 1, text.encode()
    if kind < 0.75:
        return 1, damaged(json.dumps(chance.choice(MESSAGES)).encode(), chance)
    if kind < 0.85:
        return 1, chance.choice(
            (b"[" * 100_000, b'{"a":' * 50_000, b'{"type": ' + b"9" * 5000 + b"}", b"", b"null", b'"end"', b"\xff", b'{"type": "\\ud800"}')
        )
    return 2, chance.choice((b"", b"\0", chance.randbytes(4801), bytes(200_000), b"\xff" * 4800, b"OpusHead" + chance.randbytes(50)))


def frame(code: int, content: bytes, chance: random.Random) -> bytes:
    """A masked frame, some broken."""
    first, length = 0x80 | code, len(content)
    told = (
        bytes([0x80 | length])
        if length < 126
        else struct.pack(">BH" if length < 65_536 else ">BQ", 0x80 | (126 if length < 65_536 else 127), length)
    )
    whole = bytes([first]) + told + bytes(4) + content
    if chance.random() > 0.03:
        return whole
    return chance.choice((
        bytes([0xF0 | code]) + whole[1:], bytes([code]) + whole[1:], bytes([first, 5]) + b"hello", bytes([first]) + b"\xff" * 9 + bytes(4),
        b"\x88\x81" + bytes(4) + b"\x01", b"\x88\x82" + bytes(4) + b"\x00\x01", b"\x89\xfe\xff\xff" + bytes(4),
        b"\x83\x80" + bytes(4),
    b"\x80\x80" + bytes(4), chance.randbytes(50),
    ))  # fmt: skip


def bytes_that_are_no_request(chance: random.Random) -> Iterator[bytes]:
    yield chance.choice((*GARBAGE, chance.randbytes(chance.choice((1, 100, 70_000))), damaged(GET * chance.choice((1, 50)), chance)))


def a_request_that_stops(chance: random.Random) -> Iterator[bytes]:
    whole = chance.choice((GET, POST + b"Content-Length: 1000\r\n\r\n--x\r\n", UPGRADE % PATHS[0]))
    yield whole[: chance.randrange(len(whole))]


def a_request_that_trickles(chance: random.Random) -> Iterator[bytes]:
    for at in range(chance.randint(3, 15)):
        yield GET[at : at + 1]
        time.sleep(0.01)


def headers_without_end(chance: random.Random) -> Iterator[bytes]:
    yield GET[:-2]
    piece = chance.choice((b"X-A: " + b"b" * 1000 + b"\r\n", b"c" * 1000, b"X: y\r\n" * 100, b" folded\r\n" * 100))
    for _ in range(300):
        yield piece * 10


def requests_in_a_row(chance: random.Random) -> Iterator[bytes]:
    yield GET * chance.choice((2, 500)) + chance.choice(
        (b"", b"nonsense\r\n\r\n", GET[:20], POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
    )


def a_broken_handshake(chance: random.Random) -> Iterator[bytes]:
    yield damaged(UPGRADE % chance.choice((*PATHS, *QUERIES)), chance)


def a_socket_with_broken_messages(chance: random.Random) -> Iterator[bytes]:
    yield UPGRADE % (chance.choice(PATHS) if chance.random() < 0.9 else chance.choice(QUERIES))
    for _ in range(chance.randint(1, 12)):
        yield frame(*message(chance), chance)


KINDS: tuple[Callable[[random.Random], Iterator[bytes]], ...] = (
    bytes_that_are_no_request,
    a_request_that_stops,
    a_request_that_trickles,
    headers_without_end,
    requests_in_a_row,
    a_broken_handshake,
    *(a_socket_with_broken_messages,) * 6,
)


def visited(address: tuple[str, int], seed: int) -> bytes:
    """What a hostile client got back."""
    chance = random.Random(f"socket{seed}")
    received = b""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection, suppress(OSError):
        for piece in KINDS[seed % len(KINDS)](chance):
            connection.sendall(piece)
            if piece.endswith(UPGRADE[-30:]):  # frames come after the handshake
                received += connection.recv(1 << 16)
        connection.settimeout(STAY_S)
        while block := connection.recv(1 << 16):
            received += block
    return received


def test_hostile_sockets_bring_nothing_down(random_model: Path):
    tried: dict[str, int] = {}
    with (
        besieged(random_model, "--header-timeout", str(HEADERS_S), "--connections", "60", "--live.sockets", "30") as server,
        listening(server.address),
    ):
        address = place(server.address)
        left_open = []
        for seed in seeds(full=340, sample=48):
            received = visited(address, seed)
            status = re.match(rb"HTTP/1.1 (\d+)", received)
            assert status is None or status[1] < b"500", f"seed {seed}: {received[:300]!r}"
            assert b"server_error" not in received, f"seed {seed}: {received[-300:]!r}"
            name = KINDS[seed % len(KINDS)].__name__
            tried[name] = tried.get(name, 0) + 1
            left_open.append(socket.create_connection(address))
            if seed % 20 == 0:
                assert httpx.get(f"{server.address}/health", timeout=PATIENCE_S).status_code == 200
        for connection in left_open:
            connection.close()
    assert set(tried) == {kind.__name__ for kind in KINDS}


@contextmanager
def listening(address: str) -> Iterator[None]:
    """A client that behaves has its socket open all the while, and is heard at the end."""
    from websockets.sync.client import connect

    with connect(f"ws{address.removeprefix('http')}/v1/listen?language=en", ping_interval=None) as connection:
        assert json.loads(connection.recv(PATIENCE_S))["type"] == "ready"
        yield
        connection.send(os.urandom(32_000))
        connection.send('{"type": "end"}')
        while (told := json.loads(connection.recv(PATIENCE_S)))["type"] != "done":
            assert told["type"] in {"partial", "final"}
        assert told["duration"] == 1.0


def place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("http://").partition(":")
    return host, int(port)
