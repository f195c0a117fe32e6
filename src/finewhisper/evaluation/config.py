"""Everything ``finewhisper evaluate`` needs, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from finewhisper.config import Flag, Paths
from finewhisper.scoring.config import ScoringConfig
from finewhisper.shared_options import EngineOptions

if TYPE_CHECKING:
    from typing_extensions import Self

#: What says something of one model on one manifest alone.
_OF_ONE = ("baseline", "title", "context_sweep", "players")


class EvaluateConfig(ScoringConfig, EngineOptions):
    """One model on one manifest: writes result.json, utterances.csv and report.html, a page that needs no network.

    Several models or manifests: prints one table of error rates with their intervals, and writes it as result.json, matrix.csv, matrix.md
    and matrix.png. The first model is what the others are compared with: name the base first to see what a fine-tuning has gained and
    forgotten.

    Scores are comparable only where their signatures agree: the same manifest, normaliser and decoding.
    """

    model: Annotated[Paths, Flag(positional=True)]
    """Folder of the model, Hugging Face, CTranslate2, ggml or ONNX; of several, the one that the others are compared with comes first."""
    manifest: Paths
    """Manifests with the utterances and what is said in them."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder to write."""
    names: tuple[str, ...] = ()
    """What to call several models in the table; default: their folders."""
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.model or not self.manifest:
            raise ValueError("name at least one model, and at least one manifest with --manifest")
        if self.single:
            if self.names:
                raise ValueError("--names: is for a table of several models or manifests; --title names the report of one")
            return self
        for name in _OF_ONE:
            if getattr(self, name) != type(self).model_fields[name].default:
                step = "name the earlier model first in place of it" if name == "baseline" else "leave it out"
                raise ValueError(f"--{name.replace('_', '-')}: is for one model on one manifest; with several {step}")
        for what, given in (("MODEL", self.model), ("--manifest", self.manifest), ("--names", self.names)):
            twice = next((str(one) for one in given if given.count(one) > 1), None)
            if twice is not None:
                raise ValueError(f"{what}: {twice} is given twice; give each once")
        require_names(self.names, self.model)
        return self

    @property
    def single(self) -> bool:
        """Whether one model is looked at in detail, not several side by side."""
        return len(self.model) == len(self.manifest) == 1


class CompareConfig(ScoringConfig, EngineOptions):
    """Prints the matrix of error rates and writes it as result.json, matrix.csv, matrix.md and matrix.png.

    The first model is what the others are compared with: name the base first to see what a fine-tuning has gained and forgotten.
    """

    models: Annotated[Paths, Flag(positional=True)]
    """Folders of the models, Hugging Face, CTranslate2, ggml or ONNX, the base first."""
    manifest: Paths
    """Manifests to measure on; every line should say its language, else it is detected."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder to write."""
    names: tuple[str, ...] = ()
    """What to call the models in the table; default: their folders."""
    overwrite: bool = False
    """Replace the folder if it is there."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.models or not self.manifest:
            raise ValueError("name at least one model, and at least one manifest with --manifest")
        require_names(self.names, self.models)
        return self

    @classmethod
    def of(cls, config: EvaluateConfig) -> CompareConfig:
        """What ``evaluate`` is asked where there are several models or manifests."""
        shared = {name: getattr(config, name) for name in cls.model_fields if name != "models"}
        return cls(models=config.model, **shared)


def require_names(names: tuple[str, ...], models: tuple[Path, ...]) -> None:
    """Raises: ValueError: there is not one name for each model."""
    if names and len(names) != len(models):
        raise ValueError(f"--names: {len(names)} names for {len(models)} models; give one for each")
