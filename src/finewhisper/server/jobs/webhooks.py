"""Results sent to an address that a client named, but only where the client could send them itself.

A server stands inside a network that its clients may not see. So a result goes to public addresses only, unless the server's settings name
the host; the address that was looked up is the one that is called, and nothing is followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Collection
from contextlib import closing, suppress
from urllib.parse import SplitResult, urlsplit

from finewhisper import __version__
from finewhisper.audio import Seconds
from finewhisper.errors import FinewhisperError, UsageError

#: Longer addresses are no addresses.
_LONGEST = 2000
#: Networks that carry IPv4 addresses in theirs, private ones too: mapped, compatible, NAT64 (both prefixes), Teredo and 6to4.
_CARRIERS = [
    ipaddress.IPv6Network(network) for network in ("::/96", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
]


class WebhookError(FinewhisperError):
    """A result could not be delivered."""


def checked(address: str, hosts: Collection[str]) -> str:
    """An address that may be called.

    Args:
        hosts: those that may be private.

    Raises:
        UsageError: it is none.
    """
    parts = _parts(address)
    if parts.hostname not in hosts:
        with suppress(ValueError):  # a name: what it stands for is looked up when it is called
            _refuse_private(parts.hostname or "", ipaddress.ip_address(parts.hostname or ""))
        if parts.hostname == "localhost":
            raise _private("localhost")
    return address


def post(address: str, body: bytes, hosts: Collection[str], timeout_s: Seconds) -> None:
    """Send a JSON body; return once it was taken (a status of 200 to 299).

    Raises:
        UsageError: the address may not be called.
        WebhookError: nobody is there, or took it in time.
    """
    parts, began_s = _parts(address), time.monotonic()
    try:
        with closing(_connected(parts, hosts, timeout_s)) as connection:
            left_s = max(timeout_s - (time.monotonic() - began_s), 0.0)
            late = threading.Timer(left_s, lambda: _break_off(connection))  # every single answer may be quick, and never end
            late.start()
            try:
                if isinstance(connection.sock, ssl.SSLSocket):
                    connection.sock.do_handshake()
                path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
                headers = {"Content-Type": "application/json", "User-Agent": f"finewhisper/{__version__}"}
                connection.request("POST", path, body, headers)
                status = connection.getresponse().status
            finally:
                late.cancel()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WebhookError(f"webhook {parts.hostname}: {error}") from error
    if not 200 <= status < 300:
        raise WebhookError(f"webhook {parts.hostname}: answered with status {status}")


def _parts(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and parts.username is None
    except ValueError:
        usable = False
    if not usable or len(address) > _LONGEST or not address.isascii() or any(character <= " " for character in address):
        raise UsageError("webhook: must be an address such as https://example.org/results, without a name or password")
    return parts


def _connected(parts: SplitResult, hosts: Collection[str], timeout_s: Seconds) -> http.client.HTTPConnection:
    """A connection to the first address of the host, which may be called; with TLS, hands have not been shaken."""
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    place = found[0][4]
    if host not in hosts:
        _refuse_private(host, ipaddress.ip_address(str(place[0]).partition("%")[0]))
    plain = socket.create_connection((str(place[0]), port), timeout_s)
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.sock = _encrypted(plain, host) if parts.scheme == "https" else plain
    except BaseException:
        plain.close()
        raise
    return connection


def _encrypted(plain: socket.socket, host: str) -> ssl.SSLSocket:
    return ssl.create_default_context().wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)


def _refuse_private(host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    carried = isinstance(address, ipaddress.IPv6Address) and any(address in network for network in _CARRIERS)
    if carried or not address.is_global or address.is_multicast:
        raise _private(host)


def _private(host: str) -> UsageError:
    return UsageError(f"webhook: {host} is not a public address; whoever runs the server can allow it with --jobs.webhook-hosts")


def _break_off(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError, TypeError):
        socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)  # TLS's own would first say goodbye, and let plain text through
