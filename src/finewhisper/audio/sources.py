"""Where sound comes from: files, pipes and bytes, whatever their names are, and several files joined into one."""

from __future__ import annotations

import io
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from finewhisper.errors import AudioError

Source = Path | str | bytes | BinaryIO

HEAD_BYTES = 4096  # enough to tell the format

_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # the signature, and the block that must follow it (RFC 9639, section 8)
_OGG_CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ", b"\x80theora", b"fishead\0", b"BBCD\0")
_OGG_PAGE_HEADER = 27  # bytes, the last of them the number of segments; one size byte for each segment follows (RFC 3533)


@dataclass(frozen=True)
class Pick:
    """Which sound of a file is wanted.

    Attributes:
        track: the number of an audio track, from 0, or its language as the file spells it; "": the first that can be decoded.
        channel: the number of one channel, from 0; None: the mean of all.
    """

    track: str = ""
    channel: int | None = None


@dataclass(frozen=True)
class Part:
    """A file, or one of those that are joined in it.

    Attributes:
        name: for messages.
        path: of the file; None: it is in memory.
        first, last: its bytes in the file or in ``content``.
        joined: whether there are others.
        intact: of an Ogg file: no page is missing or damaged.
        ended: of an Ogg file: its last page is whole.
    """

    name: str
    path: Path | None
    content: bytes = field(repr=False)
    first: int
    last: int
    joined: bool = False
    intact: bool = True
    ended: bool = True

    @property
    def size(self) -> int:
        return self.last - self.first

    @property
    def suffix(self) -> str:
        """The ending of the name, which helps to tell the format, where every library can read it."""
        suffix = "" if self.path is None else self.path.suffix.lower()
        return suffix if suffix.isascii() else ""

    def head(self) -> bytes:
        """The first kilobytes."""
        with self.open() as stream:
            return stream.read(min(HEAD_BYTES, self.size))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The part as a stream of its own."""
        if self.path is None:
            yield io.BytesIO(self.content[self.first : self.last] if self.joined else self.content)
            return
        with self.path.open("rb") as file:
            yield io.BufferedReader(_Stretch(file, self.first, self.last)) if self.joined else file

    def plain_name(self) -> str | None:
        """A path that any library can open; None where it must be given an open file."""
        if self.path is None or self.joined:
            return None
        name = str(self.path)
        try:
            name.encode()
        except UnicodeEncodeError:  # bytes that are no UTF-8
            return None
        return name


class _Stretch(io.RawIOBase):
    """Some bytes of an open file."""

    def __init__(self, file: BinaryIO, first: int, last: int) -> None:
        self._file, self._first, self._size, self._at = file, first, last - first, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = offset + (0, self._at, self._size)[whence]
        if place < 0:
            raise ValueError(f"negative place {place}")
        self._at = place
        return place

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._file.seek(self._first + self._at)
        content = self._file.read(max(min(len(buffer), self._size - self._at), 0))
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def is_pipe(path: Path) -> bool:
    """Whether it can be read only once: a named pipe or a shell's process substitution."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def parts(source: Source, *, headers_only: bool = False) -> list[Part]:
    """The files that a source consists of: one, unless several are joined.

    Args:
        headers_only: look only where it costs nothing: a pipe is refused, and of joined FLAC files the first is found.

    Raises:
        AudioError: it is missing, empty or cannot be read.
    """
    if isinstance(source, str):
        source = Path(source)
    if not isinstance(source, Path):
        content = source if isinstance(source, bytes) else source.read()
        if not content:
            raise AudioError("audio: is empty (0 bytes)")
        return _split(Part("audio", None, content, 0, len(content)), *_places(content, headers_only))
    size = _checked(source)
    if size is None:
        if headers_only:
            raise AudioError(f"{source}: is a pipe, which can be read only once, by transcribe; write it to a file first")
        content = _contents(source)
        return _split(Part(str(source), None, content, 0, len(content)), *_places(content, False))
    whole = Part(str(source), source, b"", 0, size)
    return _split(whole, *_places_in_file(source, size, source.stat().st_mtime_ns, headers_only))


def _checked(path: Path) -> int | None:
    """The size of a file; None: it is a pipe. Raises: AudioError."""
    name = str(path)
    try:
        found = path.stat()
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file; check the path (a manifest's relative paths start at the manifest)") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: cannot be read ({reason}); check the path and its permissions") from error
    if stat.S_ISDIR(found.st_mode):
        raise AudioError(f"{name}: is a folder, not an audio file")
    if stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise AudioError(f"{name}: is a device, not an audio file; record it to a file first")
    if not found.st_size:
        raise AudioError(f"{name}: is empty (0 bytes); remove it from the list or record it again")
    return found.st_size


def _contents(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if not content:
        raise AudioError(f"{path}: is empty (0 bytes); the program that writes to it has failed")
    return content


def _split(whole: Part, places: tuple[int, ...], intact: bool, ended: bool) -> list[Part]:
    edges = [*places, whole.last]
    return [
        Part(whole.name, whole.path, whole.content, first, last, len(places) > 1, intact, ended or last != whole.last)
        for first, last in pairwise(edges)
    ]


@lru_cache(maxsize=256)
def _places_in_file(path: Path, size: int, changed_ns: int, headers_only: bool) -> tuple[tuple[int, ...], bool, bool]:
    """As :func:`_places`; slices of one file ask again and again."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            if head not in (b"OggS", b"RIFF") and (head != b"fLaC" or headers_only):
                return (0,), True, True
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _places(content, headers_only)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def _places(content: bytes | mmap.mmap, headers_only: bool) -> tuple[tuple[int, ...], bool, bool]:
    """Where the joined files begin, and, for Ogg, whether no page is missing and the last one is whole."""
    head = content[:4]
    if head == b"OggS":
        return _ogg_places(content)
    if head == b"fLaC" and not headers_only:
        return tuple(sorted({0, *(at for start in _FLAC_STARTS for at in _found(content, start))})), True, True
    return (tuple(_riff_places(content)) if head == b"RIFF" else (0,)), True, True


def _found(content: bytes | mmap.mmap, wanted: bytes) -> Iterator[int]:
    at = content.find(wanted, 1)
    while at >= 0:
        yield at
        at = content.find(wanted, at + 1)


def _riff_places(content: bytes | mmap.mmap) -> list[int]:
    """WAV files one after the other, each of the size that its header states."""
    places, at = [0], 0
    while len(size := content[at + 4 : at + 8]) == 4:
        (stated,) = struct.unpack("<I", size)
        at += 8 + stated + stated % 2
        following = content[at : at + 12]
        if len(following) < 12 or following[:4] != b"RIFF" or following[8:] != b"WAVE":
            break
        places.append(at)
    return places


def _ogg_places(content: bytes | mmap.mmap) -> tuple[tuple[int, ...], bool, bool]:
    """Chained streams: a group of first pages after others begins the next one (RFC 3533, section 4)."""
    places, numbers = [0], dict[bytes, int]()
    at, beginning, intact = 0, True, True
    while (header := content[at : at + _OGG_PAGE_HEADER + 255]) and len(header) > _OGG_PAGE_HEADER:
        if header[:4] != b"OggS":
            intact, at = False, content.find(b"OggS", at)
            if at < 0:
                return tuple(places), False, True
            continue
        segments = header[_OGG_PAGE_HEADER - 1]
        body = at + _OGG_PAGE_HEADER + segments
        first = bool(header[5] & 2) and content[body : body + 8].startswith(_OGG_CODECS)
        if first and not beginning:
            places.append(at)
            numbers.clear()
        beginning = first
        serial, (number,) = header[14:18], struct.unpack("<I", header[18:22])
        intact = intact and (first or number == numbers.get(serial, number) + 1 - (serial not in numbers))
        numbers[serial] = number
        end = body + sum(header[_OGG_PAGE_HEADER : _OGG_PAGE_HEADER + segments])
        if end > len(content):
            return tuple(places), intact, False
        intact, at = intact and _sum_is_right(content[at:end]), end
    return tuple(places), intact, at == len(content)


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _sum_is_right(page: bytes) -> bool:
    """Ogg's checksum is zlib's with the bits of each byte in reverse order, from 0 and not inverted; its own four bytes count as 0."""
    mirrored = page.translate(_MIRRORED)
    found = 0xFFFF_FFFF
    for piece in (mirrored[:22], bytes(4), mirrored[26:]):
        found = zlib.crc32(piece, found)
    return page[22:26] == (found ^ 0xFFFF_FFFF).to_bytes(4, "big").translate(_MIRRORED)
