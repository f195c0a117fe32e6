"""For those who watch the server: whether it lives, and whether it takes work."""

from __future__ import annotations

from fastapi import APIRouter, Response

from finewhisper import __version__
from finewhisper.server.service import Service


def routes(service: Service) -> APIRouter:
    """``/healthz``, which many also ask as ``/health``, and ``/readyz``."""
    router = APIRouter(tags=["health"])

    @router.get("/health", include_in_schema=False)
    @router.get("/healthz", summary="Whether the server lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @router.get("/readyz", summary="Whether the server takes work", responses={503: {"description": "It is loading or shutting down."}})
    async def readyz(response: Response) -> dict[str, object]:
        if not service.ready:
            response.status_code = 503
        status = "ok" if service.ready else "shutting down" if service.closing else "loading"
        return {"status": status, "models": service.models.names, "loaded": service.models.loaded, "running": service.running}

    return router
