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
from typing import TYPE_CHECKING

from finewhisper.errors import CorpusError
from finewhisper.files import atomic_file
from finewhisper.progress import bar

if TYPE_CHECKING:
    from typing_extensions import Self


_LEAST, _RATIO = 100_000_000, 100  # bytes, and times the archive's size
_DEEPEST = 2
_XZ_MEMORY = 1 << 28  # bytes; xz -9 needs 65 MiB
_DESCRIBING = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK})
_LONGEST_DESCRIPTION = 1 << 20


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

        return extract_stream(stream, str(archive), folder, Budget.of(archive), wanted=wanted, tick=tick)


class Budget:
    """How much may come out of an archive, with those inside it: far more than any sound compresses, far less than a bomb holds."""

    def __init__(self, size: int) -> None:
        self.left = self.whole = _LEAST + _RATIO * size

    @classmethod
    def of(cls, archive: Path) -> Budget:
        return cls(archive.stat().st_size)

    def spend(self, count: int, name: str) -> None:
        """Raises: CorpusError: nothing is left."""
        self.left -= count
        if self.left < 0:
            raise CorpusError(
                f"{name}: unpacks to more than {self.whole:,} bytes, which no archive of recordings of its size does; refused"
            )


class _Counted:
    """A decompressed stream whose bytes are counted."""

    def __init__(self, stream: BufferedIOBase, budget: Budget, name: str) -> None:
        self._stream, self._budget, self._name = stream, budget, name

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self._budget.spend(len(content), self._name)
        return content


class _Member(tarfile.TarInfo):
    """A header; one that announces a name or attributes of megabytes, which tarfile reads into memory, is damage."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        if member.type in _DESCRIBING and member.size > _LONGEST_DESCRIPTION:
            raise tarfile.ReadError(f"a header of {member.size:,} bytes")
        return member


def extract_stream(
    stream: BufferedReader,
    name: str,
    folder: Path,
    budget: Budget,
    *,
    depth: int = 0,
    wanted: Callable[[str], str | None] = lambda name: name,
    tick: Callable[[], object] = lambda: None,
) -> int:
    """As :func:`extract`, from an open stream.

    Args:
        name: what to call it in errors.
        budget: what may come out of it.
        depth: of how many archives it is inside.
        tick: called after each file.
    """
    count = 0
    if depth > _DEEPEST:
        raise CorpusError(f"{name}: is an archive in an archive in an archive; that is no corpus, so it is refused")
    with _damage(name), _decompressed(stream, name) as decompressed, _tar(counted := _Counted(decompressed, budget, name)) as tar:
        for member in tar:
            target = wanted(member.name)
            if target is None or member.isdir():
                continue
            path = folder / _safe(target, member, name)
            source = tar.extractfile(member)
            assert isinstance(source, BufferedReader), "_safe lets only files pass"
            if path.name.endswith((".tar.gz", ".tgz")):
                count += extract_stream(source, f"{name}: {member.name}", path.parent, budget, depth=depth + 1, wanted=wanted, tick=tick)
            else:
                with atomic_file(path) as temporary, temporary.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                count += 1
            tick()
        while counted.read(1 << 20):
            pass  # the checksum at the end is compared only when it is read
    return count


def _tar(content: _Counted) -> tarfile.TarFile:
    return tarfile.open(fileobj=content, mode="r|", tarinfo=_Member)  # type: ignore[call-overload,no-any-return]


def _decompressed(stream: BufferedReader, name: str) -> BufferedIOBase:
    """The stream's content by its first bytes. tarfile could do this, but it compares no checksum in doing so."""
    head = stream.peek(6)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=stream)
    if head.startswith(b"BZh"):
        return bz2.BZ2File(stream)
    return _Xz(stream, name) if head.startswith(b"\xfd7zXZ") else stream


class _Xz(BufferedIOBase):
    """The content of an xz file. Python's own reader allots what the header asks for, up to 4 GB for a file of a kilobyte.

    Raises:
        CorpusError: from ``read``: the file asks for too much memory.
    """

    def __init__(self, stream: BufferedReader, name: str) -> None:
        self._stream, self._name = stream, name
        self._decoder = self._fresh()

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        content = b""
        while not content:
            packed = self._stream.read(1 << 16) if self._decoder.needs_input else b""
            if self._decoder.eof:  # another one may follow, after zeros
                packed = (self._decoder.unused_data or self._stream.read(1 << 16)).lstrip(b"\0")
                if not packed:
                    return b""
                self._decoder = self._fresh()
            elif self._decoder.needs_input and not packed:
                raise EOFError("the end is missing")
            try:
                content = self._decoder.decompress(packed, -1 if size is None else size)
            except lzma.LZMAError as error:
                if "Memory" not in str(error):
                    raise
                raise CorpusError(
                    f"{self._name}: needs more than {_XZ_MEMORY >> 20} MiB of memory to unpack; pack it again with xz -9 or less"
                ) from error
        return content


@contextmanager
def _damage(name: str) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError, ValueError, OverflowError) as error:  # numbers in headers
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault; a broken gzip stream is an OSError without a number
        raise CorpusError(f"{name}: is damaged or cut short ({error}); download it again") from error


def _safe(target: str, member: tarfile.TarInfo, archive: str) -> PurePosixPath:
    """The relative path of a plain file. Raises: CorpusError for everything else."""
    path = PurePosixPath(target)
    if not member.isfile() or member.issparse():  # a sparse file of a kilobyte may fill a disk with zeros
        raise CorpusError(
            f"{archive}: holds {member.name!r}, which is a link, a device or a sparse file; that is unsafe, "
            f"and nothing of the kind belongs there"
        )
    windows = PureWindowsPath(target)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in target or "\0" in target or windows.drive:
        raise CorpusError(f"{archive}: holds {member.name!r}, which would be written outside the folder; that is unsafe, so it is refused")
    return path
