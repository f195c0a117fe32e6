"""The API of Whisper-Finetune's servers, for programs that call them: /recognition and /recognition_stream."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from finewhisper.language import Language
from finewhisper.server.errors import fault
from finewhisper.server.limits import while_connected
from finewhisper.server.schemas import DecodingOptions, form, refusals
from finewhisper.server.service import RequestOptions, Service
from finewhisper.server.streams import streamed
from finewhisper.server.uploads import received
from finewhisper.transcript import Segment, Task, Transcript
from finewhisper.transcript.writers import noticed


class UpstreamOptions(DecodingOptions):
    """The fields beside the recording, in the form or in the address."""

    to_simple: bool = True
    """Write simplified Chinese characters."""
    remove_pun: bool = False
    """Leave out punctuation."""
    task: Task = "transcribe"
    """transcribe, or translate into English."""
    language: Language = "zh"
    """Code of the spoken language; None or nothing detects it."""
    model: str = ""
    """A model's name, where the server has several."""

    def requested(self, **settled: Any) -> RequestOptions:
        return super().requested(language_is_default="language" not in self.model_fields_set, **settled)


def routes(service: Service) -> APIRouter:
    """The two addresses."""
    router = APIRouter(tags=["upstream"])
    problems = refusals(refusal(ValueError()))
    described = form(UpstreamOptions, "audio", in_address=True)

    @router.post("/recognition", summary="Transcribe a recording", responses=problems, openapi_extra=described)
    async def recognition(request: Request) -> dict[str, Any]:
        with service.place():
            async with received(request, service.config, "audio") as upload:
                requested = upload.options(UpstreamOptions).requested()
                heard = await while_connected(request, service.transcript(upload.path, requested))
        return {"results": [_result(segment) for segment in heard.segments], "text": heard.text, "code": 0} | noticed(heard)

    @router.post(
        "/recognition_stream",
        summary="Transcribe a recording, segment by segment",
        response_class=StreamingResponse,
        responses=problems
        | {200: {"description": "JSON objects, each followed by a zero byte.", "content": {"application/octet-stream": {}}}},
        openapi_extra=described,
    )
    async def recognition_stream(request: Request) -> StreamingResponse:
        async with AsyncExitStack() as held:
            held.enter_context(service.place())
            upload = await held.enter_async_context(received(request, service.config, "audio"))
            requested = upload.options(UpstreamOptions).requested()
            parts = await held.enter_async_context(aclosing(service.parts(upload.path, requested)))
            return await streamed(request, _lines(parts), held, "application/octet-stream", lambda error: _line(refusal(error)))

    return router


async def _lines(parts: AsyncIterator[Transcript]) -> AsyncGenerator[bytes, None]:
    """A line for each segment; and one without text at the end, where there is something that the client should know of its recording."""
    part: Transcript | None = None
    async for part in parts:
        for segment in part.segments:
            yield _line(_result(segment) | {"language": part.language})
    if part is not None and part.notices:
        end = Segment("", part.duration_s, part.duration_s)
        yield _line(_result(end) | {"language": part.language} | noticed(part))


def _result(segment: Segment) -> dict[str, Any]:
    return {"result": segment.text, "start": round(segment.start_s, 2), "end": round(segment.end_s, 2)}


def _line(content: dict[str, Any]) -> bytes:
    """One object of a stream: a zero byte ends it."""
    return json.dumps(content, ensure_ascii=False).encode() + b"\0"


def refusal(error: Exception) -> dict[str, Any]:
    """An error as this API tells it: the code is the HTTP status."""
    known = fault(error)
    return {"code": known.status, "msg": known.message}
