"""A model folder: what the stages of the pipeline hand to one another.

The kind of a folder is read from the files in it, never from its name. ``finewhisper.json`` travels with every folder we write and
says what the model learnt: whether its context may be trimmed to the audio, its languages, where its weights came from.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from finewhisper import __version__, json_values
from finewhisper.audio import Seconds
from finewhisper.completion import completed
from finewhisper.errors import ModelError
from finewhisper.files import atomic_file, sha256
from finewhisper.formats import FORMATS, GGML_NAME, Kind
from finewhisper.model_names import advice, is_model
from finewhisper.model_numbers import (
    Stored,
    require_ctranslate2,
    require_ggml,
    require_sizes,
    require_token_ids,
    require_weights_fit,
    safetensors_header,
)
from finewhisper.outputs import recover
from finewhisper.small_files import read_json
from finewhisper.transcript import Task

CARD_NAME = "finewhisper.json"
#: The small files beside the weights that a Whisper folder may hold; which tool reads which is in docs/convert.md.
AUXILIARY_FILES = (
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "normalizer.json",
)

#: At less of the way from a base a model is given full windows, as the base is: at 0.2 one looped on short contexts, at 0.4 it did not.
LEAST_TRIMMED_SCALE = 0.4


class Context(BaseModel):
    """Which lengths of audio context the model has learnt.

    ``trimmed`` is true only for a model that was trained on windows as short as a clip; any other model loops on the shortest, so
    engines give it 20 s at least.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    trimmed: bool = False
    padded: bool = False  #: always 30 s, as OpenAI's own program has it
    margin_s: Seconds = 1.0  #: silence after the clip at inference
    trained_margin_s: tuple[Seconds, Seconds] | None = None  #: the range of margins met in training
    full_window_share: float | None = None  #: share of training batches that were 30 s windows
    calibration: Mapping[str, Any] | None = None  #: how ``margin_s`` was chosen by ``evaluate --context-sweep``

    def full(self) -> Context:
        """The same model in windows of 30 s."""
        return self.model_copy(update={"trimmed": False, "padded": True})

    def at(self, scale: float) -> Context:
        """The same at ``scale`` of the way from the base, which has learnt no short contexts, to the model that has."""
        return self if scale >= LEAST_TRIMMED_SCALE else Context()

    @property
    def name(self) -> str:
        """As it stands in the signature of a score."""
        return "30s" if self.padded else f"trimmed+{self.margin_s}s" if self.trimmed else "from-20s"


class ModelCard(BaseModel):
    """The content of ``finewhisper.json``; unknown keys of newer versions are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    context: Context = Context()
    languages: tuple[str, ...] = ()  #: codes that fine-tuning saw; empty for a base model
    timestamps: bool | None = None  #: whether fine-tuning labels had timestamps; None for a base model
    source: Mapping[str, Any] | None = None  #: name, address and SHA-256 of what was downloaded or converted
    base: Mapping[str, Any] | None = None  #: path and fingerprint of the model that was fine-tuned
    training: Mapping[str, Any] | None = None  #: manifest hash, rows, steps, scores
    verification: Mapping[str, Any] | None = None  #: how a converted copy compared with its source
    versions: Mapping[str, str] = {}

    @property
    def task(self) -> Task:
        """What fine-tuning taught it to do; a base model does both."""
        return "translate" if (self.training or {}).get("task") == "translate" else "transcribe"

    def write(self, folder: Path) -> None:
        """Write ``finewhisper.json`` into ``folder``."""
        text = json.dumps(self.model_dump(mode="json", exclude_none=True), ensure_ascii=False, indent=2)
        with atomic_file(folder / CARD_NAME) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def versions(*packages: str) -> dict[str, str]:
    """The versions of finewhisper and of ``packages`` that are installed, for the record."""
    found = {"finewhisper": __version__}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class ModelFolder:
    """A checked folder and its kind; a ggml file or an OpenAI checkpoint may be a bare file, to convert from."""

    path: Path
    kind: Kind
    derived: Path | None = field(default=None, repr=False, compare=False)  #: see :attr:`files`

    @property
    def files(self) -> Path:
        """Where the files are to be read: ``path``, or a temporary folder that also has what others left out of theirs."""
        return self.derived or self.path

    @classmethod
    def open(cls, path: Path | str, *kinds: Kind) -> ModelFolder:
        """Recognise a folder and check that its files are there.

        Args:
            kinds: what the caller can use; all when empty.

        What a folder of others lacks is derived from what it has, see :mod:`finewhisper.completion`.

        Raises:
            ModelError: there is no such folder, it is not a Whisper model, a file is missing, or it is of another kind; the message
                names the command that turns it into the right kind.
        """
        path = Path(path)
        if not path.exists():
            recover(path)  # a replacement may have been killed between two renames
        kind = _sniff(path)
        files = completed(path, kind)
        missing = [name for name in FORMATS[kind].needed if path.is_dir() and not (files / name).is_file()]
        if missing:
            raise ModelError(f"{path}: a {kind} folder without {', '.join(missing)}; copy what is missing from the original model")
        folder = cls(path, kind, None if files == path else files)
        folder._require_numbers()
        if kinds and kind not in kinds:
            raise ModelError(f"{path}: is a {kind} folder, but {' or '.join(kinds)} is needed here; {_next_step(path, kind, kinds)}")
        return folder

    def _require_numbers(self) -> None:
        """Refuse what would lead native code astray. Raises: ModelError."""
        if self.kind in ("transformers", "onnx"):
            require_sizes(self.config, self.path / "config.json")
            require_token_ids(self.generation, self.path / "generation_config.json")
        if self.kind in ("transformers", "adapter"):
            count = sum(math.prod(tensor.shape) for tensors in self.tensors.values() for tensor in tensors.values())
            if self.kind == "transformers":
                require_weights_fit(self.config, self.path / "config.json", count)
        if self.kind == "ctranslate2":
            require_ctranslate2(self.config, self.path / "config.json")
        if self.kind == "ggml":
            require_ggml(self.stored_weights()[0])

    @cached_property
    def card(self) -> ModelCard:
        """What ``finewhisper.json`` says; the cautious defaults where there is none."""
        path = self.path / CARD_NAME
        if not path.is_file():
            return ModelCard()
        try:
            return ModelCard.model_validate(json_values.read(path))
        except ValueError as error:
            raise ModelError(f"{path}: cannot be read ({error}); delete it to treat the model as an unmodified base") from error

    @cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``, or ``adapter_config.json`` of an adapter."""
        return read_json(self.files / FORMATS[self.kind].needed[0])

    @property
    def generation(self) -> dict[str, Any]:
        """``generation_config.json``: what may be written, and how. Raises: ModelError."""
        path = self.files / "generation_config.json"
        content = read_json(path)
        require_token_ids(content, path)
        return content

    @cached_property
    def tensors(self) -> dict[Path, dict[str, Stored]]:
        """What each safetensors file holds. Raises: ModelError: there is none, or one is damaged."""
        return {path: safetensors_header(path) for path in self.weight_files()}

    def weight_files(self) -> list[Path]:
        """The safetensors files, in the order of their names.

        Raises:
            ModelError: there are none, or only pickles.
        """
        files = sorted(self.files.glob("*.safetensors"))
        if not files:
            pickles = sorted(self.path.glob("*.bin")) + sorted(self.path.glob("*.pt"))
            found = f" (only {pickles[0].name}, a pickle, which can run code when loaded)" if pickles else ""
            raise ModelError(f"{self.path}: has no safetensors weights{found}; save the model again with safetensors")
        index = self.files / "model.safetensors.index.json"
        if index.is_file():
            named = read_json(index).get("weight_map")
            if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
                raise ModelError(f"{index}: does not say which file holds which weight; copy it from the original model")
            absent = sorted(set(named.values()) - {file.name for file in files})
            if absent:
                raise ModelError(f"{self.path}: {', '.join(absent)} named by {index.name} is missing; download the model again")
        return files

    def fingerprint(self) -> str:
        """The SHA-256 of the weights: what ties an adapter to its base."""
        return sha256(*self.stored_weights())

    def stored_weights(self) -> list[Path]:
        """The files that hold the weights, whatever the kind. Raises: ModelError: there are none that can be read safely."""
        if self.path.is_file():
            return [self.path]
        patterns = FORMATS[self.kind].weights
        if not patterns:
            return self.weight_files()
        return sorted(path for pattern in patterns for path in self.files.glob(pattern))


def _sniff(path: Path) -> Kind:
    if not path.is_dir():
        if path.exists():
            return _sniff_file(path)
        raise ModelError(f"{path}: there is no such model; {advice(path)}")
    if (path / "adapter_config.json").is_file():
        return "adapter"
    if (path / "model.bin").is_file() and _is_ctranslate2(path / "model.bin"):
        return "ctranslate2"
    if (path / GGML_NAME).is_file() and _begins(path / GGML_NAME, _GGML_MAGIC):
        return "ggml"
    if not (path / "config.json").is_file():
        raise ModelError(
            f"{path}: is not a model folder: it has no config.json, adapter_config.json, model.bin or {GGML_NAME}; {advice(path)}"
        )
    kind = read_json(path / "config.json").get("model_type")
    if kind != "whisper":
        raise ModelError(f"{path}: is a model of type {kind!r}, not Whisper; finewhisper works with Whisper models only")
    graphs = any(any(path.glob(pattern)) for pattern in FORMATS["onnx"].weights)
    return "onnx" if graphs and not any(path.glob("*.safetensors")) else "transformers"  # others keep both in one folder


_GGML_MAGIC = b"lmgg"  # a number that spells ggml from its highest byte down
_PICKLE_MAGIC = b"\x80"  # of torch.save before version 1.6


def _sniff_file(path: Path) -> Kind:
    if _begins(path, _GGML_MAGIC):
        return "ggml"
    if _begins(path, _PICKLE_MAGIC) or (zipfile.is_zipfile(path) and _holds_pickle(path)):
        return "openai"
    folder = f": {path.parent}" if is_model(path.parent) else ""
    raise ModelError(f"{path}: is a file, not a model folder; give the folder it lies in{folder}")


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic


def _holds_pickle(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/data.pkl") for name in archive.namelist())


def _is_ctranslate2(path: Path) -> bool:
    """A CTranslate2 file begins with its format version (u32) and the length-prefixed name of its specification."""
    with path.open("rb") as stream:
        return b"WhisperSpec\0" in stream.read(32)


def _next_step(path: Path, kind: Kind, wanted: tuple[Kind, ...]) -> str:
    if kind == "adapter":
        return f"merge it first: finewhisper merge {path} -o {path}-merged"
    first = wanted[0] if kind == "transformers" else "transformers"  # every other kind is made from that one
    return f"convert it first: finewhisper convert {path} {path.with_suffix('') if path.is_file() else path}-{first} --to {first}"
