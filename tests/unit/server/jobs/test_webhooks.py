"""Results are sent where a client may have them sent, and nowhere else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from finewhisper.errors import UsageError
from finewhisper.server.jobs.webhooks import WebhookError, checked, post


@contextmanager
def receiver(status: int, location: str = "") -> Iterator[tuple[str, list[bytes]]]:
    """A server on this machine, and what was posted to it."""
    bodies: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook?job=1", bodies
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_result_arrives_where_the_settings_allow_the_host():
    with receiver(204) as (address, bodies):
        post(address, b'{"state": "done"}', ["127.0.0.1"], 30.0)
    assert bodies == [b'{"state": "done"}']


def test_an_answer_that_is_no_success_is_an_error():
    with receiver(500) as (address, _), pytest.raises(WebhookError, match="status 500"):
        post(address, b"{}", ["127.0.0.1"], 30.0)


def test_nothing_is_followed():
    with receiver(204) as (inner, bodies), receiver(307, inner) as (address, _), pytest.raises(WebhookError, match="status 307"):
        post(address, b"{}", ["127.0.0.1"], 30.0)
    assert bodies == []


def test_a_server_that_never_ends_its_answer_is_given_up():
    listening = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listening.accept()
        with connection:
            try:
                for _ in range(600):
                    connection.sendall(b"H")
                    time.sleep(0.1)
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    began_s = time.monotonic()
    with listening, pytest.raises(WebhookError):
        post(f"http://127.0.0.1:{listening.getsockname()[1]}/", b"{}", ["127.0.0.1"], 1.0)
    assert time.monotonic() - began_s < 30
    thread.join()


def test_the_time_counts_from_the_beginning(monkeypatch: pytest.MonkeyPatch):
    """Not anew for each of: looking up the name, connecting, shaking hands, answering."""
    look_up, allowed_s = socket.getaddrinfo, []

    def slow(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.3)
        return look_up(*arguments, **options)

    class Timer(threading.Timer):
        def __init__(self, interval: float, *arguments: Any) -> None:
            allowed_s.append(interval)
            super().__init__(interval, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    monkeypatch.setattr(threading, "Timer", Timer)
    with receiver(204) as (address, _):
        post(address, b"{}", ["127.0.0.1"], 30.0)
    assert [seconds <= 29.7 for seconds in allowed_s] == [True]


PRIVATE = ("127.0.0.1", "127.1.2.3", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]")
#: 10.0.0.1 as a network between IPv6 and IPv4 would write it.
CARRIED = ("[64:ff9b::a00:1]", "[64:ff9b:1::a00:1]", "[2002:a00:1::1]", "[::ffff:10.0.0.1]", "[::10.0.0.1]", "[2001:0:a00:1::1]")


@pytest.mark.parametrize("host", [*PRIVATE, *CARRIED, "localhost"])
def test_private_addresses_are_refused(host: str):
    with pytest.raises(UsageError, match="is not a public address"):
        checked(f"http://{host}/", [])
    with pytest.raises(UsageError, match="is not a public address"):
        post(f"http://{host}:9/", b"{}", [], 5.0)


def test_a_name_is_judged_by_the_address_that_is_called(monkeypatch: pytest.MonkeyPatch):
    """Whoever owns a name can let it point to this machine after it was checked."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))])
    assert checked("http://rebound.example/", []) == "http://rebound.example/"
    with pytest.raises(UsageError, match=r"rebound\.example is not a public address"):
        post("http://rebound.example/", b"{}", [], 5.0)


NO_ADDRESSES = (
    "",
    "ftp://example.org/",
    "file:///etc/passwd",
    "http://",
    "http://user:word@example.org/",
    "http://a b/",
    "http://example.org:0/",
    "http://example.org:99999/",
    "http://example.org/\r\nX: y",
    "http://[::1",
    "http://" + "a" * 3000,
)


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(UsageError, match="webhook: must be an address"):
        checked(address, [])
