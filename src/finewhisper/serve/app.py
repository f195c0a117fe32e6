"""The web application: routes around a service that is handed in."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finewhisper import __version__
from finewhisper.errors import FinewhisperError
from finewhisper.serve import health, upstream
from finewhisper.serve.errors import Fault, fault
from finewhisper.serve.service import Service

#: The page, its styles and scripts: all that a browser gets comes from here.
WEB = Path(__file__).parent.parent / "web"

#: What a page of ours may load: its own files, and recordings that the user chose.
_CONTENT_POLICY = "default-src 'self'; media-src 'self' blob:; img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; \
base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

_log = logging.getLogger(__name__)


def create_app(service: Service) -> FastAPI:
    """All addresses of the server; the first model is loaded when the application starts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.load()
        try:
            yield
        finally:
            service.close()

    app = FastAPI(title="finewhisper", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(FinewhisperError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    for module in (health, upstream):
        app.include_router(module.routes(service))
    if WEB.is_dir():
        app.mount("/", StaticFiles(directory=WEB, html=True), name="web")
    app.add_middleware(_Headers)
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return _answer(request, _as_fault(error))


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """A defect: the client learns that it is one, the log gets the traceback from the server."""
    return _answer(request, fault(error))


def _as_fault(error: Exception) -> Fault:
    if isinstance(error, HTTPException):
        return Fault(error.status_code, "not_found_error" if error.status_code == 404 else "invalid_request_error", str(error.detail))
    return fault(error)


def _answer(request: Request, known: Fault) -> JSONResponse:
    """In the shape of the API that was asked."""
    content: dict[str, Any] = {"error": {"message": known.message, "type": known.kind, "param": None, "code": None}}
    if request.url.path.startswith("/recognition"):
        content = {"code": known.status, "msg": known.message}
    headers = {} if known.retry_after_s is None else {"Retry-After": str(max(round(known.retry_after_s), 1))}
    return JSONResponse(content, known.status, headers)


class _Headers:
    """What every answer says to browsers: nothing from other hosts, and nothing is guessed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        await self._app(scope, receive, sent)


_HEADERS = [
    (b"content-security-policy", _CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
