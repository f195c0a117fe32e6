"""The web application: routes around a service that is handed in."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from finewhisper import __version__
from finewhisper.errors import FinewhisperError, StorageError
from finewhisper.server import docs, health, openai, prometheus, upstream
from finewhisper.server.addresses import Addresses, Lenient
from finewhisper.server.errors import ForeignHostError, ForeignOriginError, fault
from finewhisper.server.hosts import Visitors
from finewhisper.server.jobs.routes import Jobs
from finewhisper.server.jobs.routes import routes as job_routes
from finewhisper.server.jobs.runner import Runner
from finewhisper.server.jobs.store import Store
from finewhisper.server.keys import Keys
from finewhisper.server.live import realtime, socket
from finewhisper.server.live.connections import Connections
from finewhisper.server.logs import RequestLog
from finewhisper.server.service import Service

#: The page, its styles and scripts: all that a browser gets comes from here.
WEB = Path(__file__).parent.parent / "web"

#: Of all addresses; FastAPI would else describe an answer in a shape of its own.
_REFUSALS: dict[int | str, dict[str, Any]] = {"4XX": {"description": "The request is wrong; the message says how."}}

#: What a page of ours may load: its own files, and recordings that the user chose.
_CONTENT_POLICY = "default-src 'self'; media-src 'self' blob:; img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; \
base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

_log = logging.getLogger(__name__)


def create_app(service: Service) -> FastAPI:
    """All addresses of the server; the first model is loaded when the application starts, and everything is unloaded when it ends."""
    jobs, store = Jobs(), None if service.config.jobs.folder is None else Store(service.config.jobs.folder)

    if store is not None:
        service.metrics.watch_each("jobs", "Jobs that are kept.", "state", store.counts)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.load()
        unloading = asyncio.create_task(_unload_idle(service))
        jobs.runner = None if store is None else Runner(service, store, service.config.jobs)
        if jobs.runner is not None:
            jobs.runner.start()
        try:
            yield
        finally:
            unloading.cancel()
            if jobs.runner is not None:
                await jobs.runner.close()
            await asyncio.to_thread(service.close)

    app = FastAPI(title="finewhisper", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, responses=_REFUSALS)
    addresses = Addresses(app)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        return _refused(request, error, addresses)

    for kind in (FinewhisperError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, refused)
    app.include_router(health.routes(service))
    app.include_router(docs.routes())
    keys = Keys(service.config)
    for router in (upstream.routes(service), openai.routes(service), job_routes(service, keys, jobs), prometheus.routes(service.metrics)):
        app.include_router(router, dependencies=keys.dependencies)
    visitors = Visitors(service.config, needs_key=keys.needed)
    connections = Connections(service, keys, visitors)
    for sockets in (socket, realtime):
        app.include_router(sockets.routes(connections))
    app.include_router(addresses.sockets())
    if WEB.is_dir():
        app.mount("/", StaticFiles(directory=WEB, html=True), name="web")
    app.add_middleware(Lenient)
    app.add_middleware(_Guarded, visitors=visitors)
    app.add_middleware(_Headers)
    if service.config.cors_origins:
        app.add_middleware(CORSMiddleware, allow_origins=service.config.cors_origins, allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(RequestLog, metrics=service.metrics, broken=_answer)
    return app


async def _unload_idle(service: Service) -> None:
    """Now and then, look for models that nobody uses."""
    after_s = service.config.unload_after
    while after_s:
        await asyncio.sleep(min(after_s / 4, 60.0))
        for name in await asyncio.to_thread(service.models.unload_idle, after_s):
            _log.info("unloaded %s, unused for %g s", name, after_s)


def _refused(request: Request, error: Exception, addresses: Addresses) -> JSONResponse:
    if isinstance(error, HTTPException) and error.status_code in {404, 405} and error.detail in _UNEXPLAINED:
        error = addresses.missed(request.method, request.url.path)
    if isinstance(error, StorageError):  # the client is not told where
        _log.error("%s", error)
    return _answer(request.scope, error)


def _answer(scope: Scope, error: Exception) -> JSONResponse:
    """An error in the shape of the API that was asked."""
    known = fault(error)
    content = upstream.refusal(error) if scope["path"].startswith("/recognition") else openai.refusal(error)
    headers = dict(getattr(error, "headers", None) or {}) | ({"WWW-Authenticate": "Bearer"} if known.status == 401 else {})
    if known.status == 499:  # whoever is given up would else go on sending
        headers["Connection"] = "close"
    if known.retry_after_s is not None:
        headers["Retry-After"] = str(max(math.ceil(known.retry_after_s), 1))
    return JSONResponse(content, known.status, headers)


#: What the routing says where no route takes a request; our own routes say more.
_UNEXPLAINED = {HTTPStatus.NOT_FOUND.phrase, HTTPStatus.METHOD_NOT_ALLOWED.phrase}


class _Guarded:
    """Answers only to those who may ask; sockets are judged where they are accepted, as their refusals are messages."""

    def __init__(self, app: ASGIApp, visitors: Visitors) -> None:
        self._app, self._visitors = app, visitors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._visitors.check(HTTPConnection(scope))
            except (ForeignHostError, ForeignOriginError) as error:
                await _answer(scope, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


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
                own = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(header for header in _HEADERS if header[0] not in own)]
            await send(message)

        await self._app(scope, receive, sent)


_HEADERS = [
    (b"content-security-policy", _CONTENT_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]
