"""``finewhisper merge``: an adapter and its base become one full model that needs neither.

LoRA adds ``alpha / rank · B·A`` to each adapted matrix W (arXiv 2106.09685, section 4.1); merging stores the sum. The base is checked by
the fingerprint that fine-tuning recorded, because an adapter on another base yields a plausible but worse model.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from finewhisper.config import Config, Flag
from finewhisper.errors import MissingExtraError, ModelError
from finewhisper.files import atomic_folder
from finewhisper.model import ModelFolder, versions

#: What tells a reader of the merged model how it was made.
_HISTORY = ("training.json", "training.png", "config.yaml")


class MergeConfig(Config):
    """Writes a complete Hugging Face folder, in the precision that the base is stored in."""

    adapter: Annotated[Path, Flag(positional=True)]
    """Folder that `finewhisper finetune` wrote."""
    output: Annotated[Path, Flag(alias="-o")]
    """Folder for the merged model."""
    base: Path | None = None
    """The base model, where it is no longer where fine-tuning found it."""
    overwrite: bool = False
    """Replace what is in --output."""


@dataclass(frozen=True)
class MergeResult:
    """Where the merged model is."""

    output: Path
    matrices: int  #: how many weight matrices were changed

    def __str__(self) -> str:
        following = f"finewhisper convert {self.output} {self.output}-int8 --to ctranslate2 --quantization int8"
        return f"{self.output}: a full model, {self.matrices} matrices changed\nNext: {following}"


def run(config: MergeConfig) -> MergeResult:
    """Merge an adapter into its base.

    Raises:
        ModelError: the folder is not an adapter, or the base is missing or is not the one that was fine-tuned.
        StorageError: the output is there already, or cannot be written.
    """
    adapter = ModelFolder.open(config.adapter, "adapter")
    base = _base(adapter, config.base)
    with atomic_folder(config.output, replace=config.overwrite) as temporary:
        matrices = _merge(adapter, base, temporary)
        for name in _HISTORY:
            if (adapter.path / name).is_file():
                shutil.copyfile(adapter.path / name, temporary / name)
        card = adapter.card.model_copy(update={"versions": {**adapter.card.versions, **versions()}})
        card.write(temporary)
        (temporary / "README.md").write_text(_readme(adapter), encoding="utf-8")
    return MergeResult(config.output, matrices)


def _base(adapter: ModelFolder, given: Path | None) -> ModelFolder:
    """The base model, proved to be the one that the adapter was trained on."""
    recorded = adapter.card.base or {}
    path = given or Path(str(recorded.get("path") or adapter.config.get("base_model_name_or_path") or ""))
    if not path.is_dir():
        raise ModelError(f"{adapter.path}: its base model is not at {path} any more; say where it is with --base FOLDER")
    base = ModelFolder.open(path, "transformers")
    fingerprint = recorded.get("fingerprint")
    if fingerprint is None and given is None:
        raise ModelError(f"{adapter.path}: has no finewhisper.json that names its base; name it yourself with --base FOLDER")
    if fingerprint is not None and base.fingerprint() != fingerprint:
        raise ModelError(
            f"{path}: is not the base that {adapter.path} was trained on (its weights differ from the recorded fingerprint "
            f"{str(fingerprint)[:12]}…); give the right one with --base FOLDER"
        )
    return base


def _merge(adapter: ModelFolder, base: ModelFolder, target: Path) -> int:
    """Add the adapter in float32, store in the base's own precision; return how many matrices changed."""
    try:
        import torch
        from peft import PeftModel

        from finewhisper import whisper
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    model = whisper.load(base, torch.float32)
    try:
        adapted = PeftModel.from_pretrained(model, str(adapter.path), is_trainable=False)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ModelError(f"{adapter.path}: does not fit {base.path} ({error}); give the right base with --base FOLDER") from error
    changed = len([name for name, _ in adapted.named_parameters() if name.endswith("lora_A.default.weight")])
    merged = adapted.merge_and_unload(safe_merge=True)  # safe: refuses weights that are not numbers
    stored = base.config.get("dtype") or base.config.get("torch_dtype") or "float32"
    whisper.save(merged.to(getattr(torch, stored)), base.path, target)
    return changed


def _readme(adapter: ModelFolder) -> str:
    """The adapter's model card, speaking of a full model."""
    path = adapter.path / "README.md"
    if not path.is_file():
        return f"# A Whisper model\n\nMerged by finewhisper from the adapter {adapter.path.name}.\n"
    text = path.read_text(encoding="utf-8")
    text = text.replace("library_name: peft", "library_name: transformers").replace("A LoRA adapter of", "A LoRA fine-tuning, merged, of")
    return text.replace("finewhisper merge THIS_FOLDER -o MERGED\n", "").replace("-m MERGED", "-m THIS_FOLDER")
