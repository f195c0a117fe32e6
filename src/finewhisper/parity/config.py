"""What ``finewhisper parity`` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import field_validator, model_validator

from finewhisper.config import Device, Flag, Paths, build
from finewhisper.conversion.config import ConvertConfig
from finewhisper.errors import UsageError
from finewhisper.formats import FORMATS, RUNNABLE
from finewhisper.scoring.config import ScoringConfig


@dataclass(frozen=True)
class Copy:
    """A copy to be made."""

    kind: str
    precision: str

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.precision}"

    def conversion(self, source: Path, target: Path) -> ConvertConfig:
        """How to make it, without the comparison that the table is for. Raises: UsageError."""
        wanted: dict[str, Any] = {"source": source, "target": target, "to": self.kind, "quantization": self.precision, "verify": False}
        return build(ConvertConfig, wanted, name=lambda _: f"--to {self.kind}:{self.precision}")


class ParityConfig(ScoringConfig):
    """Decodes a manifest with a model and with copies of it, and counts the utterances in which a copy writes another text.

    The first model is the source; the others are its copies, and with --to more are made of it. All get the same windows, decoded
    once, greedily without times unless options say otherwise. A float32 copy should differ in no utterance, an 8-bit one by at most half
    a point of the error rate; --require fails where one does.
    """

    models: Annotated[Paths, Flag(positional=True)]
    """Folders of the source and of its copies, of any kind."""
    manifest: Path
    """Manifest with speech that the model is for."""
    to: tuple[str, ...] = ()
    """Copies to make: kinds such as ctranslate2,ggml,onnx in their usual precisions, or with one chosen, as in ctranslate2:int8."""
    keep: Annotated[Path | None, Flag(role="place")] = None
    """Folder to keep the copies in, by names such as ctranslate2-int8; default: they are deleted."""
    figures: Annotated[Path | None, Flag(alias="--json", role="output")] = None
    """JSON file to write the figures to."""
    require: bool = False
    """Fail, with exit code 2, where a copy misses what is expected of its precision."""
    device: Device = "cpu"
    """Where to compute: cpu, cuda, a certain GPU such as cuda:1, or auto, which is CUDA where there is one."""

    @field_validator("to", mode="before")
    @classmethod
    def _separated(cls, targets: Any) -> Any:
        """Commas separate as spaces do."""
        given = [targets] if isinstance(targets, str) else targets
        return [part.strip() for target in given for part in str(target).split(",") if part.strip()]

    @field_validator("to")
    @classmethod
    def _known_kinds(cls, targets: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for copy in copies(targets):
                copy.conversion(Path("source"), Path("target"))
        except UsageError as error:
            raise ValueError(str(error).removeprefix("--to ")) from None
        return targets

    @model_validator(mode="after")
    def _something_to_compare(self) -> ParityConfig:
        if not self.models:
            raise ValueError("name the source model, and its copies or --to KIND to make some")
        if len(self.models) == 1 and not self.to:
            raise ValueError("there is nothing to compare the model with: name its copies too, or make some with --to ctranslate2")
        if self.keep is not None and not self.to:
            raise ValueError("--keep: keeps the copies that --to makes; name kinds with --to")
        return self

    @property
    def copies(self) -> list[Copy]:
        """The copies to make."""
        return copies(self.to)


def copies(targets: tuple[str, ...]) -> list[Copy]:
    """What ``--to`` asks for, each copy once.

    Raises:
        UsageError: there is no such kind.
    """
    found: dict[Copy, None] = {}
    for target in targets:
        kind, _, precision = target.partition(":")
        if kind not in RUNNABLE:
            raise UsageError(f"there is no kind {kind!r}; the kinds are {', '.join(RUNNABLE)}")
        found |= dict.fromkeys(Copy(kind, chosen) for chosen in ([precision] if precision else FORMATS[kind].compared))
    return list(found)
