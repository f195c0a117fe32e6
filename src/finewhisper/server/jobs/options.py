"""What a job is asked for, and how it is shown."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field, field_validator

from finewhisper.audio import Seconds
from finewhisper.language import Language
from finewhisper.server.jobs.results import restored
from finewhisper.server.jobs.store import Job
from finewhisper.server.schemas import DecodingOptions
from finewhisper.transcript import Task
from finewhisper.transcript.cues import Layout
from finewhisper.transcript.writers import WRITERS

#: The forms of a result, and the writers that make them.
RESULT_FORMATS = {"json": "json", "text": "txt", "srt": "srt", "vtt": "vtt"}


class JobOptions(DecodingOptions):
    """The fields beside a job's recording."""

    model: str = ""
    """A model's name; whisper-1 is the server's first."""
    language: Language = None
    """Code of the spoken language; detected where it is left out."""
    task: Task = "transcribe"
    """transcribe, or translate into English."""
    prompt: str = ""
    """What was said before: names and spellings to use."""
    temperature: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    """Above 0 the text is drawn by chance."""
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()
    """With word, the result has the time of each word."""
    to_simple: bool = False
    """Write simplified Chinese characters."""
    remove_pun: bool = False
    """Leave out punctuation."""
    webhook: str | None = None
    """Address that the job is sent to when it is done or has failed."""

    @field_validator("webhook")
    @classmethod
    def _named(cls, webhook: str | None) -> str | None:
        return webhook or None


def shown(job: Job) -> dict[str, Any]:
    """A job as clients see it; its result is there when it is done."""
    content: dict[str, Any] = {
        "id": job.id,
        "object": "job",
        "state": job.state,
        "progress": round(job.progress, 4),
        "created_at": _time(job.created),
        "started_at": _time(job.started),
        "finished_at": _time(job.finished),
    }
    if job.error is not None:
        content["error"] = job.error
    if job.result is not None:
        content["result"] = result(job)
    return content


def result(job: Job) -> dict[str, Any]:
    """The transcript of a job that is done: text, language, duration and segments."""
    return dict(json.loads(written(job, "json")))


def written(job: Job, form: str) -> str:
    """The transcript of a job that is done, in one of :data:`RESULT_FORMATS`."""
    return WRITERS[RESULT_FORMATS[form]](restored(job.result or {}), Layout())


def _time(seconds: Seconds | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
