"""Sockets of a real uvicorn with an application that answers at once, or never."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from finewhisper.server import sockets as module
from finewhisper.server.sockets import MOST_HEADER_BYTES, Sockets, affordable

PATIENCE_S = 30.0
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
BROKEN_CHUNK = b"POST /stream HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nnonsense\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    if scope["path"] == "/slow":
        await asyncio.sleep(PATIENCE_S)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.sleep(0.2)
    body = bytes(50_000_000) if scope["path"] == "/large" else b"here"
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(most: int = 100, headers_s: float = 1.0) -> Iterator[Callable[[], socket.socket]]:
    """A function that connects to a server; with sockets of that many, and so long for headers."""
    bound = socket.create_server(("127.0.0.1", 0))
    bounds = Sockets(most, headers_s)
    protocol: Any = bounds.protocol
    config = uvicorn.Config(application, http=protocol, lifespan="off", log_config=None, h11_max_incomplete_event_size=MOST_HEADER_BYTES)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    with ExitStack() as opened:
        yield lambda: opened.enter_context(socket.create_connection(bound.getsockname(), timeout=PATIENCE_S))
    server.should_exit = server.force_exit = True
    thread.join(PATIENCE_S)


def answer(connection: socket.socket) -> bytes:
    """All that comes until the other side closes, or has answered whole."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while not received.endswith(b"here\r\n0\r\n\r\n") and (block := connection.recv(1 << 16)):
            received += block
    return received


def test_headers_that_do_not_come_are_not_waited_for():
    with serving(headers_s=0.3) as connect:
        silent, begun = connect(), connect()
        begun.sendall(GET[:20])
        assert answer(silent) == b""
        assert answer(begun).startswith(b"HTTP/1.1 408 ")


def test_headers_that_trickle_in_are_not_waited_for():
    with serving(headers_s=0.4) as connect:
        connection, began_s = connect(), time.monotonic()
        with contextlib.suppress(OSError):
            for byte in GET * 20:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        assert time.monotonic() - began_s < PATIENCE_S / 3


def test_a_second_request_on_the_same_socket_has_as_long():
    with serving(headers_s=0.4) as connect:
        connection = connect()
        for _ in range(3):
            connection.sendall(GET)
            assert b"200 OK" in answer(connection)
            time.sleep(0.2)
        connection.sendall(GET[:9])
        assert answer(connection).startswith(b"HTTP/1.1 408 ")


def test_a_request_that_is_worked_on_is_not_interrupted_by_the_clock_of_headers():
    with serving(headers_s=0.2) as connect:
        connection = connect()
        connection.sendall(SLOW)
        connection.settimeout(0.8)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_idle_sockets_shut_nobody_out():
    with serving(most=20, headers_s=PATIENCE_S) as connect:
        idle = [connect() for _ in range(300)]
        asking = connect()
        asking.sendall(GET)
        assert b"200 OK" in answer(asking)
        assert answer(idle[0]) == b""


def test_where_all_sockets_are_at_work_a_new_one_is_told_to_come_again_and_the_others_stay():
    with serving(most=5) as connect:
        working = [connect() for _ in range(5)]
        for connection in working:
            connection.sendall(SLOW)
        time.sleep(0.5)
        refused = connect()
        assert answer(refused).startswith(b"HTTP/1.1 503 ")
        working[0].settimeout(0.2)
        with pytest.raises(TimeoutError):
            working[0].recv(1)
        working[0].close()
        time.sleep(0.2)
        welcome = connect()
        welcome.sendall(GET)
        assert b"200 OK" in answer(welcome)


def test_headers_are_read_up_to_a_number_of_bytes():
    with serving(headers_s=PATIENCE_S) as connect:
        for piece in (b"X-A: " + b"b" * 1000 + b"\r\n", b"c" * 1000):
            connection = connect()
            connection.sendall(GET[:-2])
            sent, began_s = 0, time.monotonic()
            with contextlib.suppress(OSError):
                while sent < 150_000_000:
                    connection.sendall(piece * 64)
                    sent += len(piece) * 64
            assert sent < 10_000_000
            assert time.monotonic() - began_s < PATIENCE_S / 3
            fitting = connect()
            fitting.sendall(GET[:-2] + piece[:1005].replace(b"ccc", b"X: ", 1).rstrip() + b"\r\n\r\n")
            assert b"200 OK" in answer(fitting)


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET / HTTP/9.9\r\n\r\n", GET + b"nonsense\r\n\r\n", b"\r\n" * 9, BROKEN_CHUNK]
)
def test_garbage_is_refused_and_leaves_no_traceback(garbage: bytes, caplog: pytest.LogCaptureFixture):
    with serving() as connect:
        connection = connect()
        connection.sendall(garbage)
        answer(connection)
        following = connect()
        following.sendall(GET)
        assert b"200 OK" in answer(following)
    broken = [record for record in caplog.records if record.exc_info and record.exc_info[0] is not asyncio.CancelledError]
    assert not broken, "but for what was still answering when the server ended"


def test_whoever_does_not_read_an_answer_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE_S", 0.2)
    with serving(most=1, headers_s=PATIENCE_S) as connect:
        connection = connect()
        connection.sendall(GET.replace(b"/ ", b"/large "))
        time.sleep(1.5)
        following = connect()
        following.sendall(GET)
        assert b"200 OK" in answer(following)


def test_there_are_no_more_sockets_than_files_may_be_opened(caplog: pytest.LogCaptureFixture):
    assert affordable(512, 64, lambda wanted: wanted) == 512
    assert affordable(512, 64, lambda wanted: 1024) == 512
    assert not caplog.records
    assert affordable(512, 64, lambda wanted: 500) == 125
    assert "LimitNOFILE" in caplog.text
