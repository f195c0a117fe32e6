"""Everything ``finewhisper evaluate`` needs, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from finewhisper.config import Config, Flag
from finewhisper.errors import UsageError
from finewhisper.text import Normalizer
from finewhisper.transcript import Task
from finewhisper.vocabulary import language_code


class EvaluateConfig(Config):
    """Writes result.json (scores, counts, signature), utterances.csv and report.html, a page that needs no network.

    Scores are comparable only where their signatures agree: the same manifest, normaliser and decoding.
    """

    model: Annotated[Path, Flag(positional=True)]
    """Folder of the model: Hugging Face, CTranslate2, ggml or ONNX."""
    manifest: Path
    """Manifest with the utterances and what is said in them."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder to write."""
    baseline: Path | None = None
    """Output of an earlier evaluation on the same manifest, to show before and after."""
    title: str | None = None
    """Heading of the report; default: the model's and the manifest's names."""
    overwrite: bool = False
    """Replace the folder if it is there."""

    language: str | None = None
    """Language of all utterances, as a code or name; default: each line's own, else detected."""
    task: Task = "transcribe"
    """transcribe, or translate where the sentences are English translations."""
    timestamps: bool = False
    """Let the model write times, as it does for subtitles."""
    full_windows: bool = False
    """Pad every clip to 30 s, as OpenAI's program does, whatever context the model can do with."""
    vad: bool | None = None
    """Decode only where somebody speaks; default: clips in which nobody does are not decoded, the others whole."""
    beam_size: int = Field(1, ge=1)
    """Hypotheses kept while decoding; 1 is greedy."""
    batch_size: int = Field(16, ge=1)
    """Clips decoded together."""

    context_sweep: bool = False
    """Find the smallest safe margin of silence after a clip on this (dev) set, and store it in the model's finewhisper.json."""

    normalize: str = "auto"
    """How text is made comparable: auto chooses by language; else steps such as basic,spaces; none compares raw text."""
    unit: Literal["auto", "word", "character"] = "auto"
    """What the report aligns; auto: characters for scripts without spaces, else words. Both rates are always computed."""
    limit: int | None = Field(None, ge=1)
    """Score only this many utterances, from the manifest's start."""
    skip_bad: bool = False
    """Leave out clips that cannot be decoded, listing them, instead of stopping."""
    players: int = Field(200, ge=0)
    """Most utterances, worst first, whose audio goes into the report."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute; auto is CUDA where there is one."""
    precision: str = "auto"
    """Type to compute in, such as float32, float16 or int8; auto is what suits the model and device."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 leaves the choice to the engine."""
    assistant: Path | None = None
    """Folder of a smaller Hugging Face model with the same vocabulary, to draft the text that the model, one like it, then checks."""

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str | None) -> str | None:
        try:
            return None if language is None else language_code(language)
        except UsageError as error:
            raise ValueError(str(error)) from None

    @field_validator("normalize")
    @classmethod
    def _known_steps(cls, steps: str) -> str:
        try:
            return steps if steps == "auto" else ",".join(Normalizer.named(steps).steps) or "none"
        except UsageError as error:
            raise ValueError(str(error).removeprefix("--normalize: ")) from None

    def normalizer(self, language: str | None) -> Normalizer:
        """The normaliser for utterances in ``language``."""
        return Normalizer.for_language(language) if self.normalize == "auto" else Normalizer.named(self.normalize)
