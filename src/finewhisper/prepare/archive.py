"""Extraction that trusts no archive: plain files only, below one folder only.

A tar archive can hold links, devices, absolute paths and "..", each of which has been used to write outside the folder that a user
named (CVE-2007-4559). Python's own filters exist only from 3.12 on (and in later patches of older versions), hence this check. All is
read as a stream, so an archive inside an archive needs no room of its own.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath

from finewhisper.errors import CorpusError
from finewhisper.files import atomic_file
from finewhisper.progress import bar


def extract(archive: Path, folder: Path, *, wanted: Callable[[str], str | None] = lambda name: name) -> int:
    """Extract a tar archive in any compression, and archives inside it, with a bar.

    Args:
        wanted: maps the name of a member to where it goes below ``folder``; None leaves it out.

    Returns:
        how many files were written.

    Raises:
        CorpusError: the archive is damaged, cut short, or holds something that does not belong below ``folder``.
        StorageError: the disk is full.
    """
    with archive.open("rb") as stream, bar(f"Extracting {archive.name}", archive.stat().st_size, "B") as progress:

        def tick() -> None:
            progress.update(stream.tell() - progress.n)

        return extract_stream(stream, str(archive), folder, wanted=wanted, tick=tick)


def extract_stream(
    stream: BufferedReader,
    name: str,
    folder: Path,
    *,
    wanted: Callable[[str], str | None] = lambda name: name,
    tick: Callable[[], object] = lambda: None,
) -> int:
    """As :func:`extract`, from an open stream.

    Args:
        name: what to call it in errors.
        tick: called after each file.
    """
    count = 0
    with _damage(name), _decompressed(stream) as content, tarfile.open(fileobj=content, mode="r|") as tar:
        for member in tar:
            target = wanted(member.name)
            if target is None or member.isdir():
                continue
            path = folder / _safe(target, member, name)
            source = tar.extractfile(member)
            assert isinstance(source, BufferedReader), "_safe lets only files pass"
            if path.name.endswith((".tar.gz", ".tgz")):
                count += extract_stream(source, f"{name}: {member.name}", path.parent, wanted=wanted, tick=tick)
            else:
                with atomic_file(path) as temporary, temporary.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                count += 1
            tick()
        while content.read(1 << 20):
            pass  # the checksum at the end is compared only when it is read
    return count


def _decompressed(stream: BufferedReader) -> BufferedIOBase:
    """The stream's content by its first bytes. tarfile could do this, but it compares no checksum in doing so."""
    head = stream.peek(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    return lzma.LZMAFile(stream) if head.startswith(b"\xfd7zXZ") else stream


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault; a broken gzip stream is an OSError without a number
        raise CorpusError(f"{name}: is damaged or cut short ({error}); download it again") from error


def _safe(target: str, member: tarfile.TarInfo, archive: str) -> PurePosixPath:
    """The relative path of a plain file. Raises: CorpusError for everything else."""
    path = PurePosixPath(target)
    if not member.isfile():
        raise CorpusError(
            f"{archive}: holds {member.name!r}, which is a link or device; that is unsafe and nothing of the kind belongs there"
        )
    windows = PureWindowsPath(target)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in target or "\0" in target or windows.drive:
        raise CorpusError(f"{archive}: holds {member.name!r}, which would be written outside the folder; that is unsafe, so it is refused")
    return path
