"""Files that are whole or absent: written to a temporary sibling and renamed. Folders: :mod:`finewhisper.outputs`.

A rename within one folder is atomic on every file system we support, so a reader never sees half a file, and an interrupted run
(an error, Ctrl-C, a full disk) leaves what was there before.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import stat
import threading
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path

from finewhisper.errors import DiskFullError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: From EEXIST on: a file where a folder should be, a folder where a file should be, and a name that the file system does not take.
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}


_LONGEST_PATH = 4096  # bytes; Linux takes no more
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
    """Yield a temporary path beside ``path``; rename it to ``path`` when the block succeeds, delete it when it does not.

    What is replaced keeps its rights, what is new gets those of the umask; a symbolic link stays one, and its file is replaced.
    """
    place = Path(os.path.realpath(path))
    short = place.name if len(os.fsencode(place.name)) < _LONG_NAME else hashlib.sha256(os.fsencode(place.name)).hexdigest()
    temporary = temporary_name(place.with_name(short), f"tmp{place.suffix}")
    with storage_errors(path):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _sweep(place.parent)
            yield temporary
            temporary.chmod(stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o666 & ~umask())
            temporary.replace(place)
        finally:
            with suppress(OSError):  # what kept it from being written may keep it from being deleted, and is the error to show
                temporary.unlink(missing_ok=True)


def umask() -> int:
    """The rights that the user takes from new files."""
    with _UMASK_LOCK:  # it can only be read by setting it
        mask = os.umask(0o077)
        os.umask(mask)
    return mask


_UMASK_LOCK = threading.Lock()

# Temporary names. They say which process of which machine they belong to, so that what a killed run left can be told from what another
# one is writing now.

_TEMPORARY = re.compile(r"\..+\.finewhisper-(?P<host>[0-9a-z]+)-(?P<pid>\d+)\.(?P<kind>new|old|tmp.*)", re.DOTALL)
#: A run of another machine that has not touched its temporary file for so long is taken for dead.
_STALE_S = 24 * 3600.0
#: The temporary names of this process, which may have the number of one that was killed.
_OWN: set[Path] = set()


def temporary_name(place: Path, kind: str) -> Path:
    """A hidden name beside ``place`` that no other process uses.

    Args:
        kind: its ending: ``new`` for a folder that is being made, ``old`` for one that is being replaced, ``tmp`` for a file.
    """
    name = place.with_name(f".{place.name}.finewhisper-{_host()}-{os.getpid()}.{kind}")
    _OWN.add(name)
    return name


def is_temporary(name: str) -> bool:
    """Whether only :func:`temporary_name` makes such names."""
    return _TEMPORARY.fullmatch(name) is not None


def left_by_the_dead(path: Path) -> bool:
    """Whether a path has a temporary name of a process that is gone; where nobody can know, of one that has not touched it for a day."""
    found = _TEMPORARY.fullmatch(path.name)
    if found is None or path in _OWN:
        return False
    if found["host"] == _host() and os.name == "posix":
        return int(found["pid"]) == os.getpid() or not _is_running(int(found["pid"]))
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > _STALE_S
    return False


@cache
def _host() -> str:
    return re.sub(r"[^0-9a-z]", "", socket.gethostname().lower())[:20] or "host"


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # of another user
        return True
    return True


@cache
def _sweep(folder: Path) -> None:
    """Delete the temporary files that killed runs left in a folder, once in each process."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if is_temporary(entry.name) and entry.is_file(follow_symlinks=False) and left_by_the_dead(Path(entry.path)):
                Path(entry.path).unlink(missing_ok=True)


def given_bytes(path: Path) -> bytes:
    """The content of a file that a user names.

    Raises:
        OSError: it cannot be read, or is a pipe or a device, which may never end and cannot be read a second time.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or str(path) == os.devnull):
        raise OSError(errno.ESPIPE, "is a pipe or a device; write its content into a file and give that")
    return path.read_bytes()


def is_path(name: str) -> bool:
    """Whether a text can name a file: not blank, without NUL, and without half characters that no system writes."""
    try:
        return bool(name.strip()) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False


def present(path: Path) -> Path | None:
    """The file or folder that a path names, whatever the Unicode normal form of its names on the disk; None where there is none.

    macOS decomposes accents in names, most other systems do not, and an archive carries either from one to the other.
    """
    if os.path.lexists(path):
        return path
    if path.parent == path or str(path).isascii() or len(str(path)) > _LONGEST_PATH:
        return None
    folder = present(path.parent)
    if folder is None:
        return None
    try:
        name = _composed_names(folder, folder.stat().st_mtime_ns).get(unicodedata.normalize("NFC", path.name))
    except OSError:  # not a folder, or not ours to read
        return None
    return None if name is None else folder / name


@lru_cache(maxsize=64)
def _composed_names(folder: Path, _changed_ns: int) -> dict[str, str]:
    """The names in a folder by their composed form; read again when the folder has changed."""
    return {unicodedata.normalize("NFC", entry.name): entry.name for entry in folder.iterdir()}


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


def unwritable(path: Path) -> str | None:
    """Why a file cannot be written, as far as that shows before it is tried; None: nothing speaks against it."""
    if os.path.isdir(path):  # noqa: PTH112
        return f"{path}: is a folder, where a file is to be written; move it, or choose another -o"
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        return f"{path}: cannot be written ({error.strerror}); choose another -o or a shorter name"
    folder = path.parent
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    if not os.path.isdir(folder):  # noqa: PTH112
        return f"{path}: cannot be written ({folder} is not a folder); choose another -o"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{path}: cannot be written (permission denied for {folder}); choose another -o or change its permissions"
    return None
