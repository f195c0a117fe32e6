"""Models of the Hugging Face hub: only what a Whisper folder needs, checked, and resumed where it stopped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, errors, hf_hub_url, snapshot_download
from huggingface_hub.file_download import http_get
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from finewhisper.errors import ModelError
from finewhisper.files import sha256, storage_errors
from finewhisper.generation import complete
from finewhisper.model import ModelCard, ModelFolder, versions
from finewhisper.outputs import atomic_folder
from finewhisper.small_files import read_json

#: No pickles, no copies in other formats or precisions, nothing in subfolders.
_WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors")
_SMALL = ("*.json", "*.txt")
_UNWANTED = ("*/*", "*fp32*", "pytorch_model*", "flax_model*", "tf_model*", "README*")


def fetch(repository: str, revision: str | None, output: Path, *, replace: bool = False) -> dict[str, Any]:
    """Write the model ``repository`` to ``output`` and return where it came from, down to the commit.

    What has arrived stays in a hidden folder beside ``output`` until all has, so a second call goes on from there.

    Raises:
        ModelError: there is no such model or revision, it is not a Whisper with safetensors weights, or the hub cannot be reached.
        StorageError: ``output`` is there (unless ``replace``) or cannot be written.
    """
    with _hub_errors(repository, revision):
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
    files = [file for file in info.siblings or [] if _wanted(file.rfilename)]
    weights = [file for file in files if file.rfilename.endswith(".safetensors")]
    if not weights:
        raise ModelError(f"{repository}: has no safetensors weights on the hub (pickles can run code when loaded); choose another model")
    arriving = output.parent / f".{output.name}.{str(info.sha)[:12]}.partial"
    small = [file for file in files if file not in weights]
    _download(repository, str(info.sha), small, arriving)
    _check_small_files(repository, arriving)
    for file in weights:
        _resume(repository, str(info.sha), file, arriving / file.rfilename)
    source = {"hub": repository, "revision": info.sha, "sha256": _verify(files, arriving)}
    with atomic_folder(output, replace=replace) as folder:
        for path in arriving.iterdir():
            if path.is_file():
                path.replace(folder / path.name)
        ModelCard(source=source, versions=versions("huggingface_hub")).write(folder)
        complete(folder)
        ModelFolder.open(folder, "transformers")
    shutil.rmtree(arriving)
    return source


def _wanted(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in (*_WEIGHTS, *_SMALL)) and not any(fnmatch(name, pattern) for pattern in _UNWANTED)


def _download(repository: str, commit: str, files: list[RepoSibling], folder: Path) -> None:
    names = [file.rfilename for file in files]
    with _hub_errors(repository, commit), storage_errors(folder):
        snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=names)


def _resume(repository: str, commit: str, file: RepoSibling, path: Path) -> None:
    """Fetch a large file, going on after the bytes that an earlier run left; the library's own download starts anew in every process."""
    part = path.with_name(f"{path.name}.part")
    if path.is_file():
        return
    part.touch()
    with _hub_errors(repository, commit), storage_errors(path), part.open("r+b") as stream:
        http_get(
            hf_hub_url(repository, file.rfilename, revision=commit),
            stream,
            resume_size=stream.seek(0, os.SEEK_END),
            headers=build_hf_headers(),
            expected_size=file.size,
            displayed_filename=file.rfilename,
        )
    part.replace(path)


def _check_small_files(repository: str, folder: Path) -> None:
    """Refuse what is no whole Whisper before its gigabytes are fetched; a missing tokenizer.json is made from vocab.json."""
    from finewhisper.tokenizer import read_tokenizer

    try:
        config = read_json(folder / "config.json")
        if config.get("model_type") != "whisper":
            raise ModelError(f"is a model of type {config.get('model_type')!r}, not Whisper; finewhisper works with Whisper models only")
        missing = [name for name in ("generation_config.json", "preprocessor_config.json") if not (folder / name).is_file()]
        if missing:
            raise ModelError(f"has no {' and no '.join(missing)} on the hub; ask its author, or choose another model")
        if not (folder / "tokenizer.json").is_file():
            read_tokenizer(folder, config["vocab_size"]).save(str(folder / "tokenizer.json"))
    except (ModelError, OSError, ValueError, KeyError) as error:
        shutil.rmtree(folder)
        raise ModelError(f"{repository}: {error}") from error


def _verify(files: list[RepoSibling], folder: Path) -> dict[str, str]:
    """Compare every file with what the hub says about it; the SHA-256 of the large ones.

    The library itself takes a folder that is there for a whole one when the hub cannot be reached.
    """
    digests = {}
    for file in files:
        path = folder / file.rfilename
        digest = sha256(path) if file.lfs and path.is_file() else None
        if not path.is_file() or path.stat().st_size != file.size or (file.lfs and digest != file.lfs.sha256):
            path.unlink(missing_ok=True)
            raise ModelError(f"{path}: did not arrive whole; run the same command again to go on")
        if digest:
            digests[file.rfilename] = digest
    return digests


@contextmanager
def _hub_errors(repository: str, revision: str | None) -> Iterator[None]:
    """The library's errors in the words of this project."""
    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{repository}: needs its licence accepted on the hub; do that there, run: hf auth login, and try again"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelError(f"{repository}: there is no such model on the hub, or it is private (then run: hf auth login)") from error
    except errors.RevisionNotFoundError as error:
        raise ModelError(f"{repository}: has no revision {revision!r}; leave --revision out for the newest") from error
    except errors.HFValidationError as error:
        raise ModelError(f"{repository!r} is not a hub id ({error}); it looks like openai/whisper-small") from error
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # httpx or httpx2, whichever the library has
        raise ModelError(
            f"{repository}: the hub cannot be reached ({str(error).splitlines()[0]}); check the network and run the same command again "
            "to go on, or use base or tiny.en, which come from the package index"
        ) from error
