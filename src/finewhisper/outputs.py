"""Folders that finewhisper writes: whole or absent, never over anything of the user's, and never without a way back.

A folder is ours only where it holds :data:`RECORD`, which nobody else writes and which lists what we wrote. ``--overwrite`` replaces
exactly that; a folder with anything else in it, or without the list, is left alone. The new folder is made beside the old one and takes
its place in one step (``renameat2`` with ``RENAME_EXCHANGE`` on Linux) or in two renames, between which the old one stands under another
name: the next call puts it back. A mount point or the working folder cannot be renamed, so the files are moved into it, the record last.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path

from finewhisper import __version__, json_values
from finewhisper.errors import StorageError
from finewhisper.files import is_temporary, left_by_the_dead, storage_errors, temporary_name, umask

#: The list of what finewhisper wrote into a folder, as patterns; ``*`` also stands for what lies deeper.
RECORD = ".finewhisper-files.json"
#: How many foreign files a message names.
_SHOWN = 3


def record(folder: Path, patterns: Sequence[str] = ()) -> None:
    """Write the list of what is in ``folder`` now, and of what finewhisper will yet write there (``patterns``)."""
    _write_record(folder, {*(path.relative_to(folder).as_posix() for path in _files(folder)), *patterns})


def _write_record(folder: Path, patterns: set[str]) -> None:
    content = {"finewhisper": __version__, "files": sorted(patterns - {RECORD})}
    path = folder / RECORD
    draft = path.with_name(f"{RECORD}.new")
    draft.write_text(json.dumps(content, ensure_ascii=True, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def announce(folder: Path, names: Iterable[str]) -> None:
    """Add names that finewhisper is about to write into a folder of its own."""
    ours = written(folder)
    if ours is not None:
        _write_record(folder, {*ours, *names})


def written(folder: Path) -> tuple[str, ...] | None:
    """The patterns of what finewhisper wrote into a folder; None where it is not one of ours."""
    try:
        content = json_values.read(folder / RECORD)
        return tuple(str(name) for name in content["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def foreign(folder: Path) -> list[str]:
    """What is in a folder that finewhisper did not write, relative and sorted; all of it where the folder is not ours."""
    ours = written(folder) or ()
    names = (path.relative_to(folder) for path in _files(folder))
    others = (name.as_posix() for name in names if not _passes(name.parts[0]))
    return sorted(name for name in others if name != RECORD and not any(name == known or fnmatch(name, known) for known in ours))


def require_absent(path: Path, *, replace: bool = False) -> None:
    """Refuse, before any work is done, to write over something that is there or where nothing can be written.

    What a killed run left of a replacement is put right first.

    Raises:
        StorageError: something is there, and may not be replaced; or writing is denied.
    """
    place = _place(path)
    recover(place)
    _require_replaceable(path, place, replace=replace)
    with storage_errors(path):
        probe = _temporary(place, "new")
        probe = next(parent for parent in probe.parents if parent.exists()) / probe.name
        probe.mkdir()
        probe.rmdir()


@contextmanager
def atomic_folder(path: Path, *, replace: bool = False, later: Sequence[str] = ()) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` when the block succeeds, and is deleted when it does not.

    Args:
        replace: take the place of a folder that finewhisper wrote and nobody has added to.
        later: patterns of what will be written into the folder afterwards, for its record.

    Raises:
        StorageError: ``path`` exists and is not empty (unless ``replace``), holds something of the user's, the disk is full, or writing
            is denied. Where it has come to hold something only meanwhile, the result is kept beside it, and the message says where.
    """
    require_absent(path, replace=replace)
    place = _place(path)
    scratch = _temporary(place, "new")
    with storage_errors(path):
        try:
            scratch.mkdir(parents=True)
            yield scratch
            record(scratch, later)
            allow(scratch)
            try:
                _require_replaceable(path, place, replace=replace)
                _publish(scratch, place)
            except (StorageError, FileExistsError, NotADirectoryError) as error:
                kept = _beside(place)
                shutil.move(scratch, kept)
                raise StorageError(
                    f"{path}: something else has appeared there meanwhile, which is left alone; the result is in {kept}"
                ) from error
        finally:
            _discard(scratch)


def _discard(scratch: Path) -> None:
    """Delete a temporary folder, though a thread that was interrupted may still write its last file into it."""
    for pause_s in (0.0, 0.05, 0.2, 0.5):
        time.sleep(pause_s)
        shutil.rmtree(scratch, ignore_errors=True)
        if not scratch.exists():
            return


def remove(folder: Path) -> None:
    """Delete what finewhisper wrote into a folder, and the folder if nothing else is in it."""
    ours = written(folder)
    if ours is None:
        return
    others = set(foreign(folder))
    for path in _files(folder):
        if path.relative_to(folder).as_posix() not in others and path.name != RECORD and (path.is_symlink() or not path.is_dir()):
            path.unlink(missing_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    _drop_empty(folder)


def require_apart(output: Path, inputs: Iterable[tuple[str, Path]], name: str = "-o", *, adds: bool = False) -> None:
    """Refuse an output that is an input, contains one or lies in one, whatever links and spellings lead there.

    Args:
        output: a file or folder that will be written; it need not exist.
        inputs: what will be read, with what the user calls it; what does not exist is compared by its path.
        name: what the user calls the output.
        adds: files are added to the output, and nothing in it is replaced, so that it may well contain what is read.

    Raises:
        StorageError: naming both.
    """
    for called, other in inputs:
        relation = _relation(output, other)
        if relation and not (adds and relation == "contains"):
            raise StorageError(f"{name} {output}: {relation} {called} {other}, which is only to be read; choose another {name}")


def _relation(output: Path, other: Path) -> str:
    mine, theirs = _place(output), _place(other)
    if _same(mine, theirs):
        return "is"
    if any(_same(mine, parent) for parent in theirs.parents):
        return "contains"
    if not theirs.is_file() and any(_same(parent, theirs) for parent in mine.parents):
        return "lies in"
    return ""


def _same(one: Path, other: Path) -> bool:
    """Also where a file system does not tell upper case from lower, and for hard links."""
    if os.path.normcase(one) == os.path.normcase(other):
        return True
    if one.name.casefold() != other.name.casefold() and not (one.is_file() and other.is_file()):
        return False
    try:
        return one.samefile(other)
    except OSError:
        return False


def _require_replaceable(path: Path, place: Path, *, replace: bool) -> None:
    if place.is_file():
        raise StorageError(f"{path}: is a file, but a folder is to be written there; choose another -o")
    if not place.is_dir() or not _entries(place):
        return
    if not replace:
        raise StorageError(f"{path}: exists already; delete it, choose another -o, or pass --overwrite")
    if written(place) is None:
        raise StorageError(
            f"{path}: has no {RECORD}, so it cannot be told what of it finewhisper wrote, and --overwrite would delete what is yours; "
            f"delete it yourself or choose another -o"
        )
    others = foreign(place)
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        raise StorageError(
            f"{path}: holds what finewhisper did not write ({', '.join(others[:_SHOWN])}{more}), which --overwrite leaves alone; "
            f"move it elsewhere or choose another -o"
        )


def _place(path: Path) -> Path:
    """Where a folder really lies: at the end of symbolic links."""
    return Path(os.path.realpath(path))


def _files(folder: Path) -> Iterator[Path]:
    """Everything in a folder but folders with something in them; links are not followed."""
    for here, folders, names in os.walk(folder):
        below = Path(here)
        links = [name for name in folders if (below / name).is_symlink()]
        yield from (below / name for name in (*names, *links))
        if not (folders or names) and below != folder:
            yield below


def _drop_empty(folder: Path) -> None:
    for here, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):  # not empty
            Path(here).rmdir()


#: In a mount point: what was there before the files that are being moved in.
_BEFORE = ".finewhisper-before"
#: What may stand in an empty mount point.
_PASSING = {_BEFORE, "lost+found"}


def _temporary(place: Path, kind: str) -> Path:
    """A name beside a folder, or in it where the folder cannot be renamed."""
    return temporary_name(place / place.name if is_fixed(place) else place, kind)


def is_fixed(place: Path) -> bool:
    """Whether a folder has to stay the folder that it is: a mount point, where a shell works, or in a folder that is not ours to change."""
    if not place.is_dir():
        return False
    here = Path.cwd()
    return is_mount(place) or place in (here, *here.parents) or not os.access(place.parent, os.W_OK | os.X_OK)


def is_mount(path: Path) -> bool:
    """Whether a folder is a mount point, also of a part of the file system that it lies in (Docker's volumes)."""
    if os.path.ismount(path):
        return True
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    places = (re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1], 8)]), line.split(b" ")[4]) for line in mounts)
    return os.fsencode(path) in places


def recover(path: Path) -> None:
    """Put right what killed runs left at a place: a folder that stood aside comes back, drafts go."""
    place = _place(path)
    fixed = is_fixed(place)
    try:
        entries = [entry for entry in (place if fixed else place.parent).iterdir() if is_temporary(entry.name)]
    except OSError:
        return
    own = [entry for entry in entries if entry.name.startswith(f".{place.name}.finewhisper-") and entry.suffix in {".new", ".old"}]
    dead = [entry for entry in own if left_by_the_dead(entry)]
    if fixed and len(dead) == len(own) and (place / _BEFORE).is_dir():
        _undo_moves(place, [entry for entry in dead if entry.suffix == ".new"])
    for entry in sorted(dead, key=lambda entry: entry.suffix == ".new"):  # those that stood aside first
        if entry.suffix == ".old" and not place.exists():
            entry.rename(place)
        elif entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)


def set_aside(path: Path) -> Path | None:
    """Move a folder of ours to a free name beside it, for as long as what is to replace it takes; None where it cannot be moved."""
    place = _place(path)
    if is_fixed(place):
        return None
    aside = _beside(place)
    place.rename(aside)
    return aside


def _beside(place: Path) -> Path:
    """A free name like ``place``'s."""
    number = 2
    while os.path.lexists(place.with_name(f"{place.name}-{number}")):
        number += 1
    return place.with_name(f"{place.name}-{number}")


def allow(folder: Path) -> None:
    """Give everything the rights that the user's umask gives: some libraries write files that only their owner may read."""
    mask = umask()
    for here, folders, names in os.walk(folder):
        for path in (Path(here), *(Path(here) / name for name in (*folders, *names))):
            if not path.is_symlink():
                path.chmod((0o777 if path.is_dir() else 0o666 | (path.stat().st_mode & 0o111)) & ~mask)


def _publish(scratch: Path, place: Path) -> None:
    """Let ``scratch`` take its place."""
    if is_fixed(place):
        _move_in(scratch, place)
        return
    if not place.exists():
        scratch.rename(place)
        return
    if not any(place.iterdir()):
        place.rmdir()
        scratch.rename(place)
        return
    if _exchange(scratch, place):
        shutil.rmtree(scratch, ignore_errors=True)
        return
    aside = _temporary(place, "old")
    try:
        place.rename(aside)
    except OSError as error:
        if error.errno not in _NOT_MOVABLE:
            raise
        _move_in(scratch, place)
        return
    try:
        scratch.rename(place)
    except OSError:
        aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


#: What systems say of folders that cannot be renamed, such as those of the image in a container.
_NOT_MOVABLE = {errno.EXDEV, errno.EBUSY, errno.EACCES, errno.EPERM}
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step; False where the system cannot."""
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # a C library older than 2018, or another one
        return False
    return bool(renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0)


def _move_in(scratch: Path, place: Path) -> None:
    """Replace what finewhisper wrote into a folder that stays by the content of ``scratch``, the record last."""
    before = place / _BEFORE
    before.mkdir(exist_ok=True)
    ours = written(place)
    if ours is not None:
        (place / RECORD).rename(before / RECORD)  # first: from here on the old state is to be found below
        for entry in _entries(place):
            if entry not in (before, scratch):
                shutil.move(entry, before / entry.name)
    for entry in sorted(_entries(scratch), key=lambda entry: entry.name == RECORD):
        shutil.move(entry, place / entry.name)
    scratch.rmdir()
    shutil.rmtree(before, ignore_errors=True)


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not _passes(entry.name)]


def _passes(name: str) -> bool:
    """Whether an entry of a folder does not count: it belongs to a mount point, or to a run that writes there now."""
    return name in _PASSING or is_temporary(name)


def _undo_moves(place: Path, drafts: Sequence[Path]) -> None:
    """Finish or take back a replacement in a mount point that was broken off."""
    before = place / _BEFORE
    if not (place / RECORD).is_file():
        moved = set(written(drafts[0]) or ()) if drafts else set[str]()
        tops = {name.partition("/")[0] for name in moved}
        for entry in _entries(place):
            if drafts and entry.name in tops and not (drafts[0] / entry.name).exists():
                entry.rename(drafts[0] / entry.name)
        for entry in list(before.iterdir()):
            entry.rename(place / entry.name)
    shutil.rmtree(before, ignore_errors=True)
