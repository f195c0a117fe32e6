"""``/v1/jobs``: hand in a recording, ask for its state and result, give it up. docs/jobs.md has examples."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from finewhisper.server.jobs import webhooks
from finewhisper.server.jobs.options import JobOptions, shown, written
from finewhisper.server.jobs.runner import Runner
from finewhisper.server.jobs.store import Job
from finewhisper.server.keys import Keys, bearer
from finewhisper.server.openai import SUBRIP, WEBVTT, refusal
from finewhisper.server.schemas import form, refusals
from finewhisper.server.service import Service
from finewhisper.server.uploads import received

_TYPES = {"json": "application/json", "text": "text/plain", "srt": SUBRIP, "vtt": WEBVTT}
_RESULT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The job, or its result in the form that was asked for.", "content": {kind: {} for kind in _TYPES.values()}},
    409: {"description": "There is no result."},
}

Form = Literal["json", "text", "srt", "vtt"]


class Jobs:
    """The runner of a server that takes jobs, once it has started."""

    runner: Runner | None = None

    def started(self) -> Runner:
        """Raises: HTTPException where the server takes none."""
        if self.runner is None:
            raise HTTPException(404, "this server takes no jobs; start it with --jobs.folder FOLDER")
        return self.runner


def routes(service: Service, keys: Keys, jobs: Jobs) -> APIRouter:
    """The addresses."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    problems = refusals(refusal(ValueError()))
    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "There is no such job."}}

    @router.post("", status_code=202, summary="Hand in a recording", responses=problems, openapi_extra=form(JobOptions, "file"))
    async def submit(request: Request) -> JSONResponse:
        runner = jobs.started()
        await runner.check_room()
        with service.place():
            async with received(request, service.config, "file") as upload:
                options = upload.options(JobOptions)
                service.models.resolve(options.model)
                if options.webhook is not None:
                    webhooks.checked(options.webhook, runner.config.webhook_hosts)
                values = options.model_dump(mode="json", exclude={"webhook"})
                job = await runner.add(_owner(keys, request), values, options.webhook, upload.path)
        return JSONResponse(shown(job), 202, {"Location": f"/v1/jobs/{job.id}"})

    @router.get("", summary="The newest jobs", responses=unknown)
    async def newest(request: Request, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> dict[str, Any]:
        found = await asyncio.to_thread(jobs.started().store.newest, _owner(keys, request), limit)
        return {"object": "list", "data": [shown(job) for job in found]}

    @router.get("/{job}", summary="The state of a job, or its result", response_class=Response, responses=unknown | _RESULT)
    async def state(request: Request, job: str, format: Form | None = None) -> Response:  # noqa: A002 - the parameter's name
        found = await asyncio.to_thread(_found, jobs.started(), job, _owner(keys, request))
        if format is not None and found.result is None:
            raise HTTPException(409, f"job {found.id} is {found.state}: there is no result")
        return await asyncio.to_thread(_rendered, found, format)

    @router.delete("/{job}", summary="Give up a job, or forget one that is over", responses=unknown)
    async def delete(request: Request, job: str) -> Response:
        runner, owner = jobs.started(), _owner(keys, request)
        found = await asyncio.to_thread(_found, runner, job, owner)
        if found.over:
            await asyncio.to_thread(runner.store.remove, found.id)
            return JSONResponse({"id": found.id, "object": "job", "deleted": True})
        await runner.cancel(found)
        return await asyncio.to_thread(lambda: _rendered(_found(runner, job, owner), None))

    return router


def _found(runner: Runner, job: str, owner: str) -> Job:
    """A job of an owner. Raises: HTTPException where there is none."""
    found = runner.store.get(job, owner)
    if found is None:
        raise HTTPException(404, "there is no such job")
    return found


def _rendered(job: Job, form: Form | None) -> Response:
    """A job, or its result in a form; made in a thread, as hours of speech take a while."""
    if form is None:
        return JSONResponse(shown(job))
    return PlainTextResponse(written(job, form), media_type=_TYPES[form])


def _owner(keys: Keys, request: Request) -> str:
    """Whoever brings the same key; of a server without keys, everybody."""
    return hashlib.sha256(bearer(request).encode() if keys.needed else b"").hexdigest()
