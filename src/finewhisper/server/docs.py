"""``/docs``: Swagger UI over ``/openapi.json``, from files that the fastapi-offline package carries: nothing comes from other hosts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, Response

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>finewhisper: the API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="api"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null});\n'

#: Swagger UI sets styles of its own in the page, and its pictures are part of its styles.
_CONTENT_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'"


def routes() -> APIRouter:
    """``/docs`` and the files it needs."""
    router = APIRouter(include_in_schema=False)
    assets = _assets()

    @router.get("/docs")
    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _CONTENT_POLICY})

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript")

    @router.get("/docs/swagger-ui-bundle.js")
    async def script() -> FileResponse:
        return FileResponse(assets / "swagger-ui-bundle.js")

    @router.get("/docs/swagger-ui.css")
    async def styles() -> FileResponse:
        return FileResponse(assets / "swagger-ui.css")

    return router


def _assets() -> Path:
    package = importlib.util.find_spec("fastapi_offline")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("fastapi-offline is not installed", name="fastapi_offline")
    return Path(package.origin).parent / "static"
