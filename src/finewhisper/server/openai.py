"""OpenAI's API for transcription, as its clients speak it: https://platform.openai.com/docs/api-reference/audio."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field

from finewhisper.language import LANGUAGES, Language
from finewhisper.server.errors import fault
from finewhisper.server.limits import while_connected
from finewhisper.server.schemas import DecodingOptions, form, refusals
from finewhisper.server.service import Service
from finewhisper.server.streams import streamed
from finewhisper.server.uploads import received
from finewhisper.transcript import Segment, Task, Transcript, joint, written_language
from finewhisper.transcript.writers import noticed, srt, vtt
from finewhisper.transcription.finishing import compression_ratio

#: The types of subtitles.
SUBRIP, WEBVTT = "application/x-subrip", "text/vtt"

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]


class TranslationOptions(DecodingOptions):
    """The fields of a translation beside its recording."""

    model: str = ""
    """A model's name; whisper-1 is the server's first."""
    prompt: str = ""
    """What was said before: names and spellings to use."""
    response_format: ResponseFormat = "json"
    """The form of the answer."""
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    """Above 0 the text is drawn by chance."""


class TranscriptionOptions(TranslationOptions):
    """The fields of a transcription beside its recording."""

    language: Language = None
    """Code of the spoken language; detected where it is left out."""
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()
    """What verbose_json tells the times of: segments unless only words are named."""
    stream: bool = False
    """Send the text as it is heard, as server-sent events."""


def routes(service: Service) -> APIRouter:
    """``/v1/audio/transcriptions``, ``/v1/audio/translations`` and ``/v1/models``."""
    router = APIRouter(prefix="/v1", tags=["openai"])
    started = int(time.time())
    problems = refusals(refusal(ValueError()))

    def add(address: str, summary: str, options: type[TranslationOptions], task: Task) -> None:
        described = form(options, "file")

        @router.post(address, summary=summary, response_class=Response, responses=problems | _ANSWERS, openapi_extra=described)
        async def heard(request: Request) -> Response:
            return await _heard(request, service, options, task)

    add("/audio/transcriptions", "Transcribe a recording", TranscriptionOptions, "transcribe")
    add("/audio/translations", "Translate a recording into English", TranslationOptions, "translate")

    def model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": started, "owned_by": "finewhisper"}

    @router.get("/models", summary="The models of this server")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model(name) for name in service.models.names]}

    @router.get("/models/{name:path}", summary="One model of this server", responses={404: problems[404]})
    async def one_model(name: str) -> dict[str, Any]:
        return model(service.models.resolve(name))

    return router


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The text, in the form that was asked for.",
        "content": {
            "application/json": {"schema": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}},
            "text/plain": {},
            SUBRIP: {},
            WEBVTT: {},
            "text/event-stream": {},
        },
    }
}


async def _heard(request: Request, service: Service, kind: type[TranslationOptions], task: Task) -> Response:
    async with AsyncExitStack() as held:
        held.enter_context(service.place())
        upload = await held.enter_async_context(received(request, service.config, "file"))
        options = upload.options(kind)
        requested = options.requested(task=task)
        if isinstance(options, TranscriptionOptions) and options.stream:
            parts = await held.enter_async_context(aclosing(service.parts(upload.path, requested)))
            return await streamed(request, _events(parts, task), held, "text/event-stream", lambda error: _event(refusal(error)))
        heard = await while_connected(request, service.transcript(upload.path, requested))
    return _FORMS[options.response_format](heard, options, task)


async def _events(parts: AsyncIterator[Transcript], task: Task) -> AsyncGenerator[bytes, None]:
    """A delta for each segment; joined they are the text, which comes last."""
    text, duration_s, notices = "", 0.0, dict[str, Any]()
    async for part in parts:
        notices = noticed(part)
        duration_s = part.duration_s
        for segment in part.segments:
            delta = (joint(segment.text, written_language(part.language, task) or "") if text else "") + segment.text
            text += delta
            yield _event({"type": "transcript.text.delta", "delta": delta})
    yield _event({"type": "transcript.text.done", "text": text, "usage": _usage(duration_s)} | notices)


def _event(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()


def _usage(duration_s: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(duration_s)}


def _json(heard: Transcript, options: TranslationOptions, task: Task) -> Response:
    return JSONResponse({"text": heard.text, "usage": _usage(heard.duration_s)} | noticed(heard))


def _verbose(heard: Transcript, options: TranslationOptions, task: Task) -> Response:
    wanted: tuple[str, ...] = options.timestamp_granularities if isinstance(options, TranscriptionOptions) else ()
    content: dict[str, Any] = {
        "task": task,
        "language": LANGUAGES.get(heard.language, heard.language).lower(),
        "duration": round(heard.duration_s, 3),
        "text": heard.text,
        "usage": _usage(heard.duration_s),
    }
    if "segment" in wanted or "word" not in wanted:
        content["segments"] = [_segment(number, segment, options) for number, segment in enumerate(heard.segments)]
    if "word" in wanted:
        words = [word for segment in heard.segments for word in segment.words]
        content["words"] = [{"word": word.text, "start": round(word.start_s, 3), "end": round(word.end_s, 3)} for word in words]
    return JSONResponse(content | noticed(heard))


def _segment(number: int, segment: Segment, options: TranslationOptions) -> dict[str, Any]:
    """A segment with every key that OpenAI's clients expect; tokens and the place of a 30 s window mean nothing here."""
    return {
        "id": number,
        "seek": 0,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "tokens": [],
        "temperature": options.temperature,
        "avg_logprob": round(segment.avg_logprob or 0.0, 4),
        "compression_ratio": round(compression_ratio(segment.text), 4),
        "no_speech_prob": round(segment.no_speech_prob or 0.0, 4),
    }


_FORMS: dict[ResponseFormat, Callable[[Transcript, TranslationOptions, Task], Response]] = {
    "json": _json,
    "verbose_json": _verbose,
    "text": lambda heard, options, task: PlainTextResponse(f"{heard.text}\n"),
    "srt": lambda heard, options, task: PlainTextResponse(srt(heard), media_type=SUBRIP),
    "vtt": lambda heard, options, task: PlainTextResponse(vtt(heard), media_type=WEBVTT),
}


def refusal(error: Exception) -> dict[str, Any]:
    """An error as this API tells it."""
    known = fault(error)
    return {"error": {"message": known.message, "type": known.kind, "param": None, "code": known.code}}
