"""What a wrong address is told: the right one, or the method that it takes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cached_property

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from finewhisper.server.logs import quoted

#: Addresses of sockets, which ``/openapi.json`` does not know.
SOCKETS = ("/v1/listen", "/v1/realtime")
#: What other servers of speech call their address, by its last part.
_ELSEWHERE = dict.fromkeys(("asr", "inference", "recognize", "speech-to-text", "stt", "transcribe"), "/v1/audio/transcriptions")
_METHODS = {"get", "post", "put", "patch", "delete"}
#: Longer addresses are no mistyped ones.
_LONGEST = 200
_ALIKE = 0.7


class Addresses:
    """All addresses of an application, for those who miss them."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    @cached_property
    def _known(self) -> Mapping[str, tuple[str, ...]]:
        """The methods of each address; none for sockets."""
        described = {path: tuple(name.upper() for name in _METHODS & set(found)) for path, found in self._app.openapi()["paths"].items()}
        return described | dict.fromkeys(SOCKETS, ())

    def missed(self, method: str, path: str) -> HTTPException:
        """What to answer to a request that no route takes."""
        shown = quoted(path[:_LONGEST])
        for known, methods in self._known.items():
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(known)), path):
                if not methods:
                    return HTTPException(426, f"{shown} is opened as a WebSocket", {"Upgrade": "websocket"})
                taken = ", ".join(sorted(methods))
                return HTTPException(405, f"{shown} takes {taken}, not {method[:20]}", {"Allow": taken})
        nearest = self._nearest(path)
        if nearest is None:
            return HTTPException(404, f"there is no address {shown}; /docs shows those that there are")
        how = " or ".join(sorted(self._known[nearest])) or "as a WebSocket"
        return HTTPException(404, f"there is no address {shown}; did you mean {nearest} ({how})?")

    def _nearest(self, path: str) -> str | None:
        parts = [part for part in path[:_LONGEST].lower().split("/") if part]
        if not parts:
            return None
        if parts[-1] in _ELSEWHERE:
            return _ELSEWHERE[parts[-1]]
        # With what is often left out, as written, and without what proxies and other servers put before it.
        tried = ["/" + "/".join(some) for some in (["v1", *parts], parts, parts[1:], parts[2:]) if some]
        likeness = {known: max(difflib.SequenceMatcher(None, known, one).ratio() for one in tried) for known in self._known}
        best = max(likeness, key=lambda known: likeness[known])
        return best if likeness[best] >= _ALIKE else None

    def sockets(self) -> APIRouter:
        """Refuses sockets at all other addresses; comes last."""
        router = APIRouter()

        @router.websocket("/{path:path}")
        async def nowhere(socket: WebSocket) -> None:
            await socket.close(1008, f"there is no socket here; open {' or '.join(SOCKETS)}")

        return router


class Lenient:
    """Takes requests as they are meant: ``HEAD`` is ``GET`` without a body, and an empty value in the address is none."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        given = scope["query_string"].split(b"&")
        scope["query_string"] = b"&".join(pair for pair in given if pair.partition(b"=")[2])
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def without_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, without_body)
