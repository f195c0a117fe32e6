"""Which names the server answers to, and which pages may call it, where no key keeps others out.

A page of anybody's can send requests to a server on the visitor's machine. It cannot read the answers, unless its own name is made to
point to that machine (DNS rebinding): then the browser takes both for the same origin. So a server without keys answers only to names
that nobody else can point anywhere: addresses in digits, localhost, its own names, and those of ``--allowed-hosts``; and what a page of
another origin asks for is refused, even where the page would not see the answer.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from finewhisper.server.config import ServeConfig
from finewhisper.server.errors import ForeignHostError, ForeignOriginError

#: Asked by machines under whatever name; nothing can be done or learnt there.
_HARMLESS = {"/healthz", "/readyz", "/health"}
#: Methods that browsers take for harmless. What they read, they do not show to pages of other origins.
_SAFE = {"GET", "HEAD", "OPTIONS"}
#: Where reading is refused too.
_PRIVATE = ("/v1/", "/recognition", "/metrics")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")


class Visitors:
    """The rules of one server.

    Args:
        needs_key: a key is asked for, which a foreign page does not have; then only sockets are judged by their origin.
    """

    def __init__(self, config: ServeConfig, *, needs_key: bool) -> None:
        self._needs_key = needs_key
        self._origins = {origin.rstrip("/").lower() for origin in config.cors_origins}
        own = socket.gethostname()
        self._allowed = {host.lower().rstrip(".") for host in config.allowed_hosts}
        self._hosts = {name.lower() for name in ("localhost", config.host, own, own.partition(".")[0], f"{own}.local")} | self._allowed

    def check(self, connection: HTTPConnection) -> None:
        """See whether a request or socket may be answered.

        Raises:
            ForeignHostError: it asks for a host by a name that is not the server's.
            ForeignOriginError: a page of another origin asks.
        """
        path = connection.scope["path"]
        if path in _HARMLESS:
            return
        if not self._needs_key:
            self._check_host(connection.headers.get("host"))
        is_socket = connection.scope["type"] == "websocket"
        method = connection.scope.get("method", "GET")
        if is_socket or (not self._needs_key and method != "OPTIONS" and (method not in _SAFE or path.startswith(_PRIVATE))):
            self._check_origin(connection.headers.get("origin"), connection.headers.get("host"))

    def _check_host(self, host: str | None) -> None:
        if host is None or "*" in self._allowed:  # no browser leaves it out
            return
        name = host_name(host)
        if name in self._hosts or name.endswith(".localhost") or is_address(name) or _below(name, self._allowed):
            return
        raise ForeignHostError(
            f"this server is not known as {host!r}; start it with --allowed-hosts {name or 'NAME'} (or --api-keys) if it is to answer there"
        )

    def _check_origin(self, origin: str | None, host: str | None) -> None:
        if origin is None or "*" in self._origins or origin.lower() in self._origins:
            return
        authority = authority_of(origin)
        if authority and (authority == (host or "").lower() or self._is_named(host_name(authority))):
            return
        raise ForeignOriginError(f"pages of {origin} may not call this server; start it with --cors-origins {origin}")

    def _is_named(self, name: str) -> bool:
        """Whether a name was allowed: behind a proxy that passes on another ``Host``."""
        return name in self._allowed or _below(name, self._allowed)


def host_name(authority: str) -> str:
    """The host of ``host:port``, without brackets, in lower case; "" where it is none."""
    found = _AUTHORITY.fullmatch(authority.strip())
    return found[1].strip("[]").lower().rstrip(".") if found else ""


def is_address(name: str) -> bool:
    """Whether a host is an address in digits, which no name server can point elsewhere."""
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def authority_of(origin: str) -> str:
    """``host:port`` of an origin, in lower case; "" where it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _below(name: str, allowed: Collection[str]) -> bool:
    """Whether a name lies in an allowed domain, written with a leading dot."""
    return any(domain.startswith(".") and name.endswith(domain) for domain in allowed)
