"""Outputs that are whole or absent: written to a temporary sibling and renamed.

A rename within one folder is atomic on every file system we support, so a reader never sees half a file, and an interrupted run
(an error, Ctrl-C, a full disk) leaves what was there before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from finewhisper.errors import DiskFullError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: From EEXIST on: a file where a folder should be, a folder where a file should be, and a name that the file system does not take.
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


_LONG_NAME = 200  # bytes; file systems take 255, and a temporary name is longer than its file's


def _storage_error(path: Path, error: BaseException) -> StorageError | None:
    """The user's view of an operating-system error while writing ``path``, or None where it is not about storage.

    safetensors reports disk errors from Rust as text, such as "(os error 28)", hence the second look.
    """
    code = error.errno if isinstance(error, OSError) else None
    if code is None:
        told = re.search(r"(?:os error|code:) (\d+)", str(error))
        code = int(told[1]) if told else None
    if code in _FULL:
        return DiskFullError(
            f"{path}: no space left while writing ({os.strerror(code)}); nothing was kept. Free some space or choose another -o"
        )
    if code in _DENIED:
        return StorageError(f"{path}: cannot be written ({os.strerror(code)}). Choose another -o or change its permissions")
    return None


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or a denied write below ``path`` into a :class:`StorageError` that names it."""
    try:
        yield
    except Exception as error:
        translated = _storage_error(path, error)
        if translated is None:
            raise
        raise translated from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds, delete it when it does not."""
    short = path.name if len(os.fsencode(path.name)) < _LONG_NAME else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    temporary = path.with_name(f".{short}.{os.getpid()}.tmp{path.suffix}")
    with storage_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
        finally:
            with suppress(OSError):  # what kept it from being written may keep it from being deleted, and is the error to show
                temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that becomes ``path`` when the block succeeds.

    Raises:
        StorageError: ``path`` exists and is not empty (unless ``replace``), the disk is full, or writing is denied.
    """
    require_absent(path, replace=replace)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


#: A folder with one of these was written by finewhisper, so --overwrite may replace it; anything else is never deleted.
_OURS = ("finewhisper.json", "config.yaml", "result.json")


def require_absent(path: Path, *, replace: bool = False) -> None:
    """Refuse to write over something that is there, before any work is done."""
    if path.is_file():
        raise StorageError(f"{path}: is a file, but a folder is to be written there; choose another -o")
    if not path.is_dir() or not any(path.iterdir()):
        return
    if not replace:
        raise StorageError(f"{path}: exists already; delete it, choose another -o, or pass --overwrite")
    if not any((path / name).exists() for name in _OURS):
        raise StorageError(f"{path}: --overwrite replaces only what finewhisper wrote, and this is something else; choose another -o")


#: How many pieces of a file :func:`sampled_sha256` reads, and how many bytes each has.
_PIECES, _PIECE_BYTES = 256, 4096


def sampled_sha256(*paths: Path) -> str:
    """A SHA-256 of the files' sizes and of pieces spread evenly over each: tells weights apart without reading gigabytes."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(str(size).encode())
        with path.open("rb") as stream:
            for piece in range(_PIECES):
                stream.seek(max(0, size - _PIECE_BYTES) * piece // (_PIECES - 1))
                digest.update(stream.read(_PIECE_BYTES))
    return digest.hexdigest()


def sha256(*paths: Path) -> str:
    """The SHA-256 of the files' contents, one after another, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
