"""What clients of OpenAI's realtime API may set for a transcription session, in its present form and in that of the beta.

https://platform.openai.com/docs/api-reference/realtime has both; the names were checked against the types of the ``openai`` package.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from finewhisper.audio import Seconds
from finewhisper.errors import UsageError
from finewhisper.language import Language
from finewhisper.server.live.config import LiveConfig
from finewhisper.server.service import RequestOptions

#: The only rate of OpenAI's audio/pcm, in samples per second.
RATE = 24_000


class _Part(BaseModel):
    """What is not known here is passed over, as new fields appear often; what is known has to be right."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PcmFormat(_Part):
    """16-bit samples, little-endian, one channel."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class Transcription(_Part):
    """Which model listens, and to what."""

    model: str | None = None
    language: Language = None
    prompt: str | None = None


class TurnDetection(_Part):
    """How the end of an utterance is found."""

    type: Literal["server_vad"] = "server_vad"
    threshold: float = Field(0.5, gt=0.15, lt=1)
    prefix_padding_ms: int = Field(300, ge=0, le=1000)
    silence_duration_ms: int = Field(500, ge=100, le=5000)


class Input(_Part):
    """``session.audio.input``."""

    format: PcmFormat = PcmFormat()
    transcription: Transcription | None = Transcription()
    turn_detection: TurnDetection | None = TurnDetection()

    def shown(self) -> dict[str, Any]:
        return self.model_dump(mode="json") | {"noise_reduction": None}

    def changed(self, update: dict[str, Any], *, beta: bool) -> Input:
        """With the fields of an update, the others as they were.

        Args:
            update: the ``session`` of ``session.update``, or of the beta's ``transcription_session.update``.

        Raises:
            UsageError: a field is wrong, or the session is none for transcription.
        """
        if not isinstance(update, dict):
            raise UsageError("session: must be an object")
        given = _beta_input(update) if beta else _input(update)
        values = self.model_dump()
        for name in ("format", "transcription", "turn_detection"):
            if name not in given:
                continue
            merged = isinstance(given[name], dict) and isinstance(values[name], dict)
            values[name] = {**values[name], **given[name]} if merged else given[name]
        try:
            return Input.model_validate(values)
        except ValidationError as error:
            path = "session" if beta else "session.audio.input"
            raise UsageError("; ".join(f"{path}.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from None

    def requested(self, model: str) -> RequestOptions:
        """What is to be heard, by the model of the address unless the session names another."""
        chosen = self.transcription or Transcription()
        return RequestOptions(chosen.model or model, chosen.language, prompt=chosen.prompt or "")

    def live(self, config: LiveConfig) -> LiveConfig:
        """The server's settings with the session's pause."""
        if self.turn_detection is None:
            return config
        return config.model_copy(update={"pause_s": self.turn_detection.silence_duration_ms / 1000})

    @property
    def padding_s(self) -> Seconds:
        return 0.0 if self.turn_detection is None else self.turn_detection.prefix_padding_ms / 1000

    @property
    def threshold(self) -> float:
        return 0.5 if self.turn_detection is None else self.turn_detection.threshold


def _input(update: dict[str, Any]) -> dict[str, Any]:
    if update.get("type", "transcription") != "transcription":
        raise UsageError('session.type: this server transcribes and does not converse; send "transcription"')
    audio = update.get("audio")
    given = audio.get("input") if isinstance(audio, dict) else {}
    return given if isinstance(given, dict) else {}


def _beta_input(update: dict[str, Any]) -> dict[str, Any]:
    """The beta's flat fields under their present names."""
    given: dict[str, Any] = {name: update[name] for name in ("turn_detection",) if name in update}
    if "input_audio_transcription" in update:
        given["transcription"] = update["input_audio_transcription"]
    if update.get("input_audio_format", "pcm16") != "pcm16":
        raise UsageError('session.input_audio_format: must be "pcm16"')
    return given
