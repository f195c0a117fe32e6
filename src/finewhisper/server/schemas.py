"""How forms with a recording are described at ``/openapi.json``: we read them ourselves, so FastAPI cannot know."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from finewhisper.server.service import RequestOptions

#: A client may not ask for more: each costs as much as another request.
MOST_BEAMS = 10


class FormOptions(BaseModel):
    """The fields of a form beside its recording; those that a server does not know are passed over, as clients send many."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class DecodingOptions(FormOptions):
    """How the recording is decoded, where a client wants it other than by default."""

    beam_size: int | None = Field(None, ge=1, le=MOST_BEAMS)
    """Hypotheses that are kept at each step: more take longer and are sometimes better; 1 is greedy, the default."""
    vad: bool | None = None
    """Look for speech first and decode only that; where it is left out, as transcribe does without --vad."""

    def requested(self, **settled: Any) -> RequestOptions:
        """What the fields ask the service for; fields that a form has not stay at their defaults.

        Args:
            settled: what the route itself decides.
        """
        names = type(self).model_fields.keys() & {field.name for field in fields(RequestOptions)}
        given = {name: getattr(self, name) for name in names}
        words = "word" in getattr(self, "timestamp_granularities", ())
        return RequestOptions(**given | {"beam_size": self.beam_size or 1, "word_timestamps": words} | settled)


def form(options: type[FormOptions], sound: str, *, in_address: bool = False) -> dict[str, Any]:
    """What to add to a route's description.

    Args:
        sound: the field that holds the recording.
        in_address: whether options may also stand in the address.
    """
    described = {name: _in_text(field) for name, field in options.model_json_schema()["properties"].items()}
    fields: dict[str, Any] = {sound: {"type": "string", "format": "binary", "description": "The recording, in any format."}} | described
    schema = {"type": "object", "required": [sound], "properties": fields}
    body = {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    query = [
        {"name": name, "in": "query", "required": False, "description": field.get("description", ""), "schema": field}
        for name, field in described.items()
    ]
    return {"requestBody": body} | ({"parameters": query} if in_address else {})


def _in_text(field: dict[str, Any]) -> dict[str, Any]:
    """A field as forms know it: one may be left out, but there is no null."""
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) != 1:
        return field
    known = {name: value for name, value in field.items() if name != "anyOf" and (name, value) != ("default", None)}
    return {**known, **kinds[0]}


def refusals(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What may go wrong with any request that brings a recording."""
    reasons = {
        400: "The recording cannot be decoded, or a field is wrong.",
        401: "An API key is missing or wrong.",
        404: "There is no such model.",
        413: "The recording is too large or too long.",
        429: "The server is busy; the header Retry-After says when to ask again.",
        503: "The server is shutting down.",
        507: "The server's disk is full.",
    }
    return {status: {"description": reason, "content": {"application/json": {"example": example}}} for status, reason in reasons.items()}
