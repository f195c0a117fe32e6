"""Everything ``finewhisper evaluate`` needs, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from finewhisper.config import Flag
from finewhisper.scoring.config import ScoringConfig


class EvaluateConfig(ScoringConfig):
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

    context_sweep: bool = False
    """Find the smallest safe margin of silence after a clip on this (dev) set, and store it in the model's finewhisper.json."""

    players: int = Field(200, ge=0)
    """Most utterances, worst first, whose audio goes into the report."""

    precision: str = "auto"
    """Type to compute in, such as float32, float16 or int8; auto is what suits the model and device."""
    assistant: Path | None = None
    """Folder of a smaller Hugging Face model with the same vocabulary, to draft the text that the model, one like it, then checks."""
