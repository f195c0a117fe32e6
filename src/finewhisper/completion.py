"""Model folders of others: what they lack is derived from what they have, for the time that this process runs.

Folders come without ``tokenizer.json`` (slow tokenizers, CTranslate2), without ``preprocessor_config.json`` (transformers 5), with
configurations of 2022, with pickled weights, or with names that a wrapper of torch has put something before. Every verb opens a folder
through :class:`finewhisper.model.ModelFolder`, which asks here; nothing is ever written into the folder itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from finewhisper import json_values, pickles
from finewhisper.errors import ModelError
from finewhisper.files import storage_errors
from finewhisper.formats import FORMATS, Kind
from finewhisper.generation import current, is_current
from finewhisper.pickles import Stored
from finewhisper.progress import note
from finewhisper.small_files import preprocessor_config, read_json, write_json, write_tokenizer
from finewhisper.tokenizer import official_tokenizer, read_tokenizer
from finewhisper.vocabulary import TIMESTAMP_TOKENS, VOCABULARY_SIZES, Vocabulary

#: The names of pickled weights, and what they are called as safetensors.
_PICKLES = {"transformers": "pytorch_model", "adapter": "adapter_model"}
_SAFE = {"transformers": "model.safetensors", "adapter": "adapter_model.safetensors"}
#: What torch.compile, FSDP and activation checkpointing put into the names of weights, and DistributedDataParallel before them.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
_DDP = "module"
_HEADER_BYTES = 100_000_000  # of a safetensors file, as its library has it

#: What was made in this process, for each folder and what its files looked like then; it is deleted when the process ends.
_made: dict[tuple[Path, Any], tempfile.TemporaryDirectory[str]] = {}


def completed(path: Path, kind: Kind) -> Path:
    """``path`` itself where nothing is missing, else a temporary folder with what it holds and what could be derived.

    Args:
        kind: of the folder, as :mod:`finewhisper.model` names it.

    Raises:
        ModelError: a file is damaged or unsafe to load, or something is missing that cannot be derived.
        MissingExtraError: torch, which reads pickled weights, is not installed.
        StorageError: there is no room for the derived files.
    """
    if not path.is_dir():
        return path
    small, weights = _missing_files(path, kind), _foreign_weights(path, kind)
    if not small and not weights:
        return path
    entries = (entry for entry in path.iterdir() if entry.exists())
    state = (path.resolve(), tuple(sorted((entry.name, entry.stat().st_size, entry.stat().st_mtime_ns) for entry in entries)))
    if state not in _made or not Path(_made[state].name).is_dir():
        scratch = tempfile.TemporaryDirectory(prefix="finewhisper-")
        try:
            _complete(path, Path(scratch.name), kind, small, weights)
        except BaseException:
            scratch.cleanup()
            raise
        _made[state] = scratch
    return Path(_made[state].name)


def _complete(path: Path, folder: Path, kind: Kind, small: tuple[str, ...], weights: list[Path]) -> None:
    made = [*small, *([_SAFE[kind]] if weights else [])]
    with storage_errors(folder):
        _link_all(path, folder, {*made, *(file.name for file in weights), *(["model.safetensors.index.json"] if weights else [])})
        if weights:
            _write_weights(weights, folder / _SAFE[kind])
        if small:
            _write_small(path, folder, kind, small)
    note(f"{path}: {', '.join(made)} derived from its other files, for this run alone")


def _link_all(source: Path, target: Path, left_out: set[str]) -> None:
    """Let the files of a folder appear in another, without copying gigabytes where the system can."""
    for path in source.iterdir():
        if path.name not in left_out and path.exists():
            _link(path.resolve(), target / path.name)


def _link(source: Path, target: Path) -> None:
    with suppress(OSError, NotImplementedError):  # Windows allows links to developers and administrators alone
        target.symlink_to(source, target_is_directory=source.is_dir())
        return
    if source.is_file():
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _missing_files(path: Path, kind: Kind) -> tuple[str, ...]:
    """The small files to derive: those that are not there, and a generation configuration of former days."""
    derived = FORMATS[kind].derived
    names = [name for name in derived if not (path / name).is_file()]
    generation = path / "generation_config.json"
    if "generation_config.json" in derived and generation.is_file():
        size = read_json(path / "config.json").get("vocab_size")
        if not is_current(read_json(generation), size):
            names.append(generation.name)
    return tuple(names)


def _write_small(path: Path, folder: Path, kind: Kind, names: tuple[str, ...]) -> None:
    config = read_json(path / "config.json")
    size = config.get("vocab_size") if kind != "ctranslate2" else _listed_tokens(path)
    if size not in VOCABULARY_SIZES:
        known = ", ".join(f"{number} ({name})" for number, name in VOCABULARY_SIZES.items())
        raise ModelError(f"{path}: the model has {size} tokens, Whisper's have {known}; models with added tokens are not supported")
    vocabulary = Vocabulary(_tokenizer(path, size))
    if kind == "ctranslate2":
        vocabulary.tokenizer.save(str(folder / "tokenizer.json"))
        return
    if "tokenizer.json" in names:
        write_tokenizer(folder, vocabulary, only_missing=True)
    if "preprocessor_config.json" in names:
        write_json(folder / "preprocessor_config.json", _preprocessor(path, config))
    if "generation_config.json" in names:
        stored = read_json(path / "generation_config.json") if (path / "generation_config.json").is_file() else {}
        try:
            write_json(folder / "generation_config.json", current(stored, config, vocabulary))
        except (KeyError, TypeError) as error:
            raise ModelError(f"{path / 'config.json'}: has no whole number for {error}; copy it from the original model") from error


def _tokenizer(path: Path, size: int) -> Tokenizer:
    """From the folder, from that of the run where it is a checkpoint of transformers' Trainer, or from the package openai-whisper."""
    places = [path, *([path.resolve().parent] if re.fullmatch(r"checkpoint-\d+", path.resolve().name) else [])]
    for place in places:
        if any((place / name).is_file() for name in ("tokenizer.json", "vocabulary.json", "vocabulary.txt", "vocab.json")):
            return read_tokenizer(place, size)
    return official_tokenizer(path, size)


def _listed_tokens(path: Path) -> int | None:
    """How many tokens a CTranslate2 model has, by its list of them; the times may be missing there."""
    for name in ("vocabulary.json", "vocabulary.txt"):
        if (path / name).is_file():
            try:
                text = (path / name).read_text(encoding="utf-8")
                count = len(json_values.parse(text)) if name.endswith(".json") else len(text.removesuffix("\n").split("\n"))
            except (ValueError, TypeError) as error:
                raise ModelError(f"{path / name}: cannot be read as a list of tokens ({error}); copy it from the original model") from error
            return count if count in VOCABULARY_SIZES else count + len(TIMESTAMP_TOKENS)
    raise ModelError(f"{path}: has no tokenizer.json, vocabulary.json or vocabulary.txt; copy one from the original model")


def _preprocessor(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """From what transformers 5 writes in its place, where that is there."""
    bins = config.get("num_mel_bins")
    if not isinstance(bins, int):
        raise ModelError(f"{path / 'config.json'}: num_mel_bins is {bins!r}; copy the file from the original model")
    whole = path / "processor_config.json"
    stored = read_json(whole).get("feature_extractor") if whole.is_file() else None
    return preprocessor_config(bins) | (stored if isinstance(stored, dict) else {})


def _foreign_weights(path: Path, kind: Kind) -> list[Path]:
    """The files whose weights must be written anew: pickles where there is nothing else, and names with a wrapper's in them."""
    if kind not in _PICKLES:
        return []
    safe = sorted(path.glob("*.safetensors"))
    if safe:
        return safe if any(_cleaned(name) != name for file in safe for name in _header(file)[0]) else []
    name = _PICKLES[kind]
    index = path / f"{name}.bin.index.json"
    if index.is_file():
        stored = read_json(index).get("weight_map")
        files = [path / str(file) for file in sorted(set(stored.values()))] if isinstance(stored, dict) else []
        absent = [file.name for file in files if not file.is_file() or file.parent != path]
        if absent or not files:
            raise ModelError(f"{path}: {', '.join(absent) or 'every file'} named by {index.name} is missing; download the model again")
        return files
    return [file for file in (path / f"{name}.bin",) if file.is_file()]


def _cleaned(name: str) -> str:
    """The name of a weight without what wrappers put into it."""
    parts = [part for part in name.split(".") if part not in _WRAPPERS]
    while parts[:1] == [_DDP]:
        parts = parts[1:]
    return ".".join(parts)


def _write_weights(files: list[Path], target: Path) -> None:
    """Write all tensors into one safetensors file in the types that they have, one at a time."""
    tensors: dict[str, Stored] = {}
    for file in files:
        found = _safe_tensors(file) if file.suffix == ".safetensors" else pickles.tensors(file)
        tensors |= {_cleaned(name): tensor for name, tensor in found.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, (kind, shape, size, _) in tensors.items():
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with target.open("wb") as stream:
        stream.write(struct.pack("<Q", len(encoded)) + encoded)
        for _, _, _, content in tensors.values():
            for part in content:
                stream.write(part)


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """The tensors that a safetensors file describes, and where their data begins; a damaged one is refused where it is opened."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            header = json_values.parse(stream.read(min(length, _HEADER_BYTES)))
        except ValueError:
            return {}, 0
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"} if isinstance(header, dict) else {}
    return tensors, 8 + length


def _safe_tensors(file: Path) -> dict[str, Stored]:
    header, start = _header(file)

    def content(begin: int, size: int) -> Iterator[bytes]:
        with file.open("rb") as stream:
            stream.seek(start + begin)
            while size > 0:
                part = stream.read(min(size, 1 << 24))
                if not part:
                    raise ModelError(f"{file}: is damaged or cut short; download or convert the model again")
                size -= len(part)
                yield part

    try:
        return {
            name: (entry["dtype"], entry["shape"], stop - begin, content(begin, stop - begin))
            for name, entry in header.items()
            for begin, stop in (entry["data_offsets"],)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{file}: its header is not one of safetensors ({error!r}); download or convert the model again") from error
