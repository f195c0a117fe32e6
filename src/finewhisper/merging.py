"""``finewhisper merge``: adapters and their base, or several models of one base, become one full model.

Everything happens in the space of full weights, so that it is the same for every method: ``W = W_base + scale · (mean(W_tuned) - W_base)``.
For LoRA, whose ``W_tuned`` is ``W_base + alpha / rank · B·A`` (arXiv 2106.09685, section 4.1), a scale is the same as scaling alpha. A
scale below 1 gives back some of what fine-tuning forgot (Wortsman et al. 2022, arXiv 2109.01903); the mean of several models of one base
is often better than each of them (arXiv 2203.05482). The base is checked by the fingerprint that fine-tuning recorded, because an
adapter on another base yields a plausible but worse model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from pydantic import Field, field_validator

from finewhisper.alignment import choose_heads, require
from finewhisper.config import Config, Flag, Paths
from finewhisper.errors import ModelError, UsageError
from finewhisper.formats import Kind
from finewhisper.generation import complete
from finewhisper.model import AUXILIARY_FILES, Context, ModelCard, ModelFolder, versions
from finewhisper.model_names import advice
from finewhisper.outputs import atomic_folder, require_absent, require_apart
from finewhisper.tensors import OUTPUT, Float32, Written, in_library_order, write
from finewhisper.weights import Adapted, Full, Weights

if TYPE_CHECKING:
    from finewhisper.alignment.run import Alignment

#: What tells a reader of the merged model how it was made.
_HISTORY = ("training.json", "training.png", "config.yaml", "forgetting.json", "forgetting.png")
_WEIGHTS: dict[Kind, str] = {"adapter": "adapter_model.safetensors", "transformers": "model*.safetensors"}


class MergeConfig(Config):
    """Writes a complete Hugging Face folder, in the precision that the base is stored in.

    Several models of one base are averaged. With --scale below 1 the result lies between the base and what was tuned.
    """

    models: Annotated[Paths, Flag(positional=True)]
    """Folders that `finewhisper finetune` wrote: adapters or full models, all of the same base."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder for the merged model."""
    scale: float = Field(1.0, ge=0, le=1)
    """How much of what was learnt is added to the base: 0 is the base, 1 the tuned model."""
    average: int | None = Field(None, ge=2)
    """Take the mean of the last so many checkpoints of the run in place of its result."""
    base: Path | None = None
    """The base model, where it is no longer where fine-tuning found it."""
    align: Path | None = None
    """Manifest with speech that the model is for, such as its dev set: choose on it the attention heads that tell when words are spoken,
    write them into the result, and print how far their times are off, before and after; needs torch."""
    overwrite: bool = False
    """Replace what is in --output."""

    @field_validator("models")
    @classmethod
    def _some_models(cls, models: tuple[Path, ...]) -> tuple[Path, ...]:
        if not models:
            raise ValueError("name at least one folder that finewhisper finetune wrote")
        return models


@dataclass(frozen=True)
class MergeResult:
    """Where the merged model is."""

    output: Path
    matrices: int  #: how many weight matrices and vectors differ from the base
    scale: float
    alignment: Alignment | None = None  #: None where none was asked for

    def __str__(self) -> str:
        following = f"finewhisper convert {self.output} {self.output}-int8 --to ctranslate2 --quantization int8"
        scaled = "" if self.scale == 1 else f", {self.scale:g} of the way from the base"
        found = f"\n{self.alignment}" if self.alignment else ""
        return f"{self.output}: a full model, {self.matrices} matrices changed{scaled}{found}\nNext: {following}"


def run(config: MergeConfig) -> MergeResult:
    """Merge adapters or models into their base.

    Raises:
        ModelError: a folder is not a tuned model, or the base is missing or is not the one that was fine-tuned.
        UsageError: there is nothing to merge, or a run has fewer checkpoints than are to be averaged.
        StorageError: the output is there already, or cannot be written.
    """
    models = [ModelFolder.open(path, "adapter", "transformers") for path in config.models]
    if len(models) == 1 and models[0].kind == "transformers" and config.scale == 1 and not (config.average or config.align):
        raise UsageError(
            f"{models[0].path}: is a full model already; to go back towards its base give --scale, such as --scale 0.7, "
            "to average several models name them all, and to choose the heads of word times give --align MANIFEST"
        )
    base = _base(models[0], config.base)
    require_apart(config.output, [("the base", base.path)], "--output")
    for other in models[1:]:
        _require_base(other, base)
    require_absent(config.output, replace=config.overwrite)
    if config.align is not None:
        require(config.align)
    alignment = None
    sources = [source for model in models for source in (_checkpoints(model, config.average) if config.average else [model])]
    with atomic_folder(config.output, replace=config.overwrite) as temporary:
        changed = _merge(sources, base, config.scale, temporary)
        card = _card(models, sources, config.scale)
        card.write(temporary)
        complete(temporary, card.languages, card.task)
        if config.align is not None:
            alignment = choose_heads(ModelFolder.open(temporary, "transformers"), config.align)
            alignment.place(temporary / "generation_config.json")
            card.model_copy(update={"alignment": alignment.record()}).write(temporary)
        if len(models) == 1:
            for name in _HISTORY:
                if (models[0].path / name).is_file():
                    shutil.copyfile(models[0].path / name, temporary / name)
        (temporary / "README.md").write_text(_readme(models, sources, config.scale), encoding="utf-8")
    return MergeResult(config.output, changed, config.scale, alignment)


def _base(tuned: ModelFolder, given: Path | None) -> ModelFolder:
    """The base model, proved to be the one that was trained on."""
    recorded = (tuned.card.base or {}).get("path")
    path = given or (Path(str(recorded)) if recorded else _base_of_adapter(tuned))
    if not path.is_dir():
        raise ModelError(f"{tuned.path}: its base model is not at {path} any more; say where it is with --base FOLDER")
    base = ModelFolder.open(path, "transformers")
    _require_base(tuned, base)
    return base


def _base_of_adapter(adapter: ModelFolder) -> Path:
    """What peft wrote down: a folder, or a hub id whose files are in the cache of the hub's library. Raises: ModelError."""
    named = adapter.config.get("base_model_name_or_path") if adapter.kind == "adapter" else None
    if not isinstance(named, str) or not named:
        raise ModelError(f"{adapter.path}: names no base model; name it yourself with --base FOLDER")
    places = [Path(named), adapter.path / named]
    if named.count("/") == 1:
        with suppress(HFValidationError):
            cached = try_to_load_from_cache(named, "config.json")
            places += [Path(cached).parent] if isinstance(cached, str) else []
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise ModelError(
            f"{adapter.path}: its base model {named} is not on this machine; {advice(Path(named))}, and name it with --base FOLDER"
        )
    return found


def _require_base(tuned: ModelFolder, base: ModelFolder) -> None:
    fingerprint = (tuned.card.base or {}).get("fingerprint")
    if fingerprint is not None and base.fingerprint() != fingerprint:
        raise ModelError(
            f"{base.path}: is not the base that {tuned.path} was trained on (its weights differ from the recorded fingerprint "
            f"{str(fingerprint)[:12]}…); give the right one with --base FOLDER, and merge only models of one base"
        )


def _checkpoints(run: ModelFolder, count: int) -> list[ModelFolder]:
    """The last ``count`` checkpoints of a fine-tuning, which are folders of weights with no card of their own."""
    found = [path for path in (run.path / "checkpoints").glob("checkpoint-*") if any(path.glob(_WEIGHTS[run.kind]))]
    found.sort(key=lambda path: int(path.name.rpartition("-")[2]))
    if len(found) < count:
        raise UsageError(
            f"--average {count}: there are {len(found)} checkpoints below {run.path}; finetune keeps as many as --keep-checkpoints says"
        )
    return [ModelFolder(path, run.kind) for path in found[-count:]]


def _merge(sources: list[ModelFolder], base: ModelFolder, scale: float, target: Path) -> int:
    """Write the weights, each computed in float32, in the types that the base stores them in; return how many of them changed.

    One tensor of each source is in memory at a time.
    """
    start = Full(base)
    tuned: list[Weights] = [Adapted(source, start) if source.kind == "adapter" else Full(source) for source in sources]
    untied = {OUTPUT} if not all(model.tied for model in tuned) else set()
    names = set(start) | untied
    shapes = {name: start.shape(name) for name in sorted(names)}
    for model in tuned:
        _require_same_shapes(shapes, {name: model.shape(name) for name in set(model) | untied})
    changed: set[str] = set()

    def values(name: str) -> Float32:
        before = start[name]
        after = interpolate(before, mean(_finite(name, sources, tuned)), scale)
        if not np.array_equal(after, before):
            changed.add(name)
        return after

    written = [Written(name, shape, partial(values, name), start.stored(name)) for name, shape in shapes.items()]
    write(target / "model.safetensors", in_library_order(written))
    config = base.config | {"architectures": ["WhisperForConditionalGeneration"]}
    if untied:
        config["tie_word_embeddings"] = False
    (target / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in AUXILIARY_FILES:
        if (base.files / name).is_file():
            shutil.copyfile(base.files / name, target / name)
    return len(changed)


def _finite(name: str, sources: list[ModelFolder], tuned: list[Weights]) -> Iterator[Float32]:
    """A weight of each source, one at a time."""
    for source, model in zip(sources, tuned, strict=True):
        weight = model[name]
        if not np.isfinite(weight).all():
            raise ModelError(f"{source.path}: {name} holds values that are not numbers; its training went wrong, use an earlier checkpoint")
        yield weight


def mean(weights: Iterable[Float32]) -> Float32:
    """The mean of a weight over models; of one, that one as it is."""
    found = iter(weights)
    total, count = next(found), 1
    for weight in found:
        total, count = total + weight, count + 1
    return total if count == 1 else np.asarray(total / count, dtype=np.float32)


def interpolate(base: Float32, tuned: Float32, scale: float) -> Float32:
    """``base + scale · (tuned - base)``, exactly ``base`` at 0 and exactly ``tuned`` at 1."""
    if scale in (0.0, 1.0):
        return tuned if scale else base
    between: Float32 = base + np.float32(scale) * (tuned - base)
    return between


def _require_same_shapes(shapes: Mapping[str, tuple[int, ...]], others: Mapping[str, tuple[int, ...]]) -> None:
    different = sorted(name for name in shapes.keys() | others.keys() if shapes.get(name) != others.get(name))
    if different:
        name = different[0]
        raise ModelError(f"the models are not of one base: {name} is {shapes.get(name)} in one and {others.get(name)} in another")


def _card(models: list[ModelFolder], sources: list[ModelFolder], scale: float) -> ModelCard:
    """The card of the first model, and what became of it."""
    cards = [model.card for model in models]
    share = scale if sources != models else scale * min(map(_share, cards))  # checkpoints are as they were trained
    context = _most_cautious([card.context for card in cards])
    if scale != 1 or sources != models or len(models) > 1:
        context = context.model_copy(update={"calibration": None})  # which was of other weights
    made = {"scale": scale, "share": share, "sources": [source.path.name for source in sources]}
    return cards[0].model_copy(
        update={
            "context": context.at(share),
            "languages": tuple(sorted({language for card in cards for language in card.languages})),
            "versions": {**cards[0].versions, **versions()},
            "merged": made,
        }
    )


def _share(card: ModelCard) -> float:
    """How far from the base a model lies already, of the way to what was trained."""
    trained = (card.training or {}).get("scale", 1.0)
    return float((card.model_extra or {}).get("merged", {}).get("share", trained))


def _most_cautious(contexts: list[Context]) -> Context:
    """One that has not learnt short contexts, else the one that needs the most silence."""
    return next((context for context in contexts if not context.trimmed), max(contexts, key=lambda context: context.margin_s))


def _readme(models: list[ModelFolder], sources: list[ModelFolder], scale: float) -> str:
    """The first model's card, speaking of a full model, and how this one was made."""
    names = ", ".join(source.path.name for source in sources)
    made = f"Merged by finewhisper from {names}" + ("." if scale == 1 else f"; {scale:g} of the way from the base to what was tuned.")
    path = models[0].path / "README.md"
    if len(models) > 1 or not path.is_file():
        return f"# A Whisper model\n\n{made}\n"
    text = path.read_text(encoding="utf-8")
    text = text.replace("library_name: peft", "library_name: transformers").replace("A LoRA adapter of", "A LoRA fine-tuning, merged, of")
    text = text.replace("finewhisper merge THIS_FOLDER -o MERGED\n", "").replace("-m MERGED", "-m THIS_FOLDER")
    return text if scale == 1 and sources == models else f"{text}\n{made} The scores above are those before it.\n"
