"""What ``finewhisper compare`` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import model_validator

from finewhisper.config import Flag
from finewhisper.scoring.config import ScoringConfig


class CompareConfig(ScoringConfig):
    """Prints the matrix of error rates and writes it as result.json, matrix.csv, matrix.md and matrix.png.

    The first model is what the others are compared with: name the base first to see what a fine-tuning has gained and forgotten.
    """

    models: Annotated[tuple[Path, ...], Flag(positional=True)]
    """Folders of the models, Hugging Face, CTranslate2, ggml or ONNX, the base first."""
    manifest: tuple[Path, ...]
    """Manifests to measure on; every line should say its language, else it is detected."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder to write."""
    names: tuple[str, ...] = ()
    """What to call the models in the table; default: their folders."""
    precision: str = "auto"
    """Type to compute in, such as float32, float16 or int8; auto is what suits the model and device."""
    overwrite: bool = False
    """Replace the folder if it is there."""

    @model_validator(mode="after")
    def _consistent(self) -> CompareConfig:
        if not self.models or not self.manifest:
            raise ValueError("name at least one model, and at least one manifest with --manifest")
        if self.names and len(self.names) != len(self.models):
            raise ValueError(f"--names: {len(self.names)} names for {len(self.models)} models; give one for each")
        return self
