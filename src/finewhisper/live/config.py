"""When an utterance ends, and how often its words are looked for."""

from __future__ import annotations

from pydantic import Field

from finewhisper.config import Config


class CaptionConfig(Config):
    """The times of live captions."""

    pause_s: float = Field(0.5, ge=0.1, le=5)
    """Seconds of silence that end an utterance."""
    longest_s: float = Field(20.0, ge=5, le=28)
    """Seconds after which an utterance is cut though its speaker goes on."""
    step_s: float = Field(0.4, ge=0.1, le=5)
    """Seconds of new sound between two hypotheses: fewer show words sooner, and more often wrong ones."""
