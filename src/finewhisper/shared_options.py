"""Options that mean the same in several verbs, each declared once; a verb's configuration inherits those that it takes."""

from __future__ import annotations

from pydantic import Field

from finewhisper.config import Config, Device
from finewhisper.language import Language
from finewhisper.transcript import Task


class ComputeOptions(Config):
    """Where a network is computed."""

    device: Device = "auto"
    """Where to compute: cpu, cuda, a certain GPU such as cuda:1, or auto, which is CUDA where there is one."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 leaves the choice to the engine."""


class EngineOptions(ComputeOptions):
    """How an engine runs a model."""

    precision: str = "auto"
    """Type to compute in, such as float32, float16 or int8; auto is what suits the model and device."""


class LanguageOptions(Config):
    """What is spoken, and what is to be written."""

    language: Language = None
    """Language that is spoken, as a code or name; default, or auto: what a manifest says of each utterance, else detected."""
    task: Task = "transcribe"
    """transcribe, or translate into English."""


class RecognitionOptions(LanguageOptions):
    """How speech becomes text."""

    beam_size: int = Field(1, ge=1)
    """Hypotheses kept while decoding; 1 is greedy."""
    vad: bool | None = None
    """Decode only where somebody speaks; default: in recordings longer than 30 s, and shorter ones whole unless nobody speaks in them."""
    full_windows: bool = False
    """Pad every clip to 30 s, as OpenAI's program does, whatever context the model can do with."""
