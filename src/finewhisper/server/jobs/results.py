"""A transcript as it is kept with its job, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from finewhisper.transcript import Transcript

_TRANSCRIPT = TypeAdapter(Transcript)


def kept(transcript: Transcript) -> dict[str, Any]:
    """Everything that is known of a transcript, as JSON has it."""
    return asdict(transcript)


def restored(content: Mapping[str, Any]) -> Transcript:
    """The transcript that was kept."""
    return _TRANSCRIPT.validate_python(dict(content))
