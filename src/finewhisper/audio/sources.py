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
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from finewhisper.errors import AudioError

Source = Path | str | bytes | BinaryIO

HEAD_BYTES = 4096  # enough to tell the format

_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # the signature, and the block that must follow it (RFC 9639, section 8)
_OGG_CODECS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ", b"\x80theora", b"fishead\0", b"BBCD\0")
CHECKSUM_AT = 22  # in an Ogg page, four bytes
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
        repairs: of an Ogg file: places and checksums that make damaged pages readable.
    """

    name: str
    path: Path | None
    content: bytes = field(repr=False)
    first: int
    last: int
    joined: bool = False
    intact: bool = True
    ended: bool = True
    repairs: tuple[tuple[int, bytes], ...] = ()

    @property
    def size(self) -> int:
        return self.last - self.first

    @property
    def suffix(self) -> str:
        """The ending of the name, which helps to tell the format, where every library can read it."""
        suffix = "" if self.path is None else self.path.suffix.lower()
        return suffix if suffix.isascii() else ""

    @cached_property
    def head(self) -> bytes:
        """The first kilobytes."""
        with self.open() as stream:
            return stream.read(min(HEAD_BYTES, self.size))

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The part as a stream of its own."""
        if self.path is None:
            whole = io.BytesIO(self.content)
            yield io.BufferedReader(_Stretch(whole, self)) if self.joined or self.repairs else whole
            return
        with self.path.open("rb") as file:
            yield io.BufferedReader(_Stretch(file, self)) if self.joined or self.repairs else file

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
    """Some bytes of an open file, repaired."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file, self._first, self._size, self._at, self._repairs = file, part.first, part.size, 0, part.repairs

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
        for place, right in self._repairs:
            for at, byte in enumerate(right, place - self._first - self._at):
                if 0 <= at < len(content):
                    buffer[at] = byte
        self._at += len(content)
        return len(content)


def is_pipe(path: Path) -> bool:
    """Whether it can be read only once: a named pipe or a shell's process substitution."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def parts(source: Source, *, again: bool = False) -> list[Part]:
    """The files that a source consists of: one, unless several are joined.

    Args:
        again: it will be read once more, so a pipe is refused.

    Raises:
        AudioError: it is missing, empty or cannot be read.
    """
    if isinstance(source, str):
        source = Path(source)
    if not isinstance(source, Path):
        content = source if isinstance(source, bytes) else source.read()
        if not content:
            raise AudioError("audio: is empty (0 bytes)")
        return _split(Part("audio", None, content, 0, len(content)), _layout(content))
    size = _checked(source)
    if size is None:
        if again:
            raise AudioError(f"{source}: is a pipe, which can be read only once, by transcribe; write it to a file first")
        content = _contents(source)
        return _split(Part(str(source), None, content, 0, len(content)), _layout(content))
    whole = Part(str(source), source, b"", 0, size)
    return _split(whole, _layout_of_file(source, size, source.stat().st_mtime_ns))


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


@dataclass(frozen=True)
class _Layout:
    """Where joined files begin; of Ogg, where pages are missing or damaged, what repairs them, and whether the last one is whole."""

    places: tuple[int, ...] = (0,)
    faults: tuple[int, ...] = ()
    repairs: tuple[tuple[int, bytes], ...] = ()
    ended: bool = True


def _split(whole: Part, layout: _Layout) -> list[Part]:
    return [
        replace(
            whole,
            first=first,
            last=last,
            joined=len(layout.places) > 1,
            intact=not any(first <= at < last for at in layout.faults),
            ended=layout.ended or last != whole.last,
            repairs=tuple((at, right) for at, right in layout.repairs if first <= at < last),
        )
        for first, last in pairwise([*layout.places, whole.last])
    ]


@lru_cache(maxsize=256)
def _layout_of_file(path: Path, size: int, changed_ns: int) -> _Layout:
    """As :func:`_layout`; slices of one file ask again and again."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
            if head not in (b"OggS", b"RIFF", b"fLaC"):
                return _Layout()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _layout(content)
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error


def _layout(content: bytes | mmap.mmap) -> _Layout:
    head = content[:4]
    if head == b"OggS":
        return _ogg_layout(content)
    if head == b"fLaC":
        return _Layout(tuple(sorted({0, *(at for start in _FLAC_STARTS for at in _found(content, start))})))
    return _Layout(tuple(_riff_places(content)) if head == b"RIFF" else (0,))


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


def _ogg_layout(content: bytes | mmap.mmap) -> _Layout:
    """Chained streams: a group of first pages after others begins the next one (RFC 3533, section 4).

    A damaged page is passed over by every library, with a second of sound in it. Where its header agrees with the pages around it, only its
    checksum stands in the way of the packets in it.
    """
    places, faults, repairs, last = [0], list[int](), list[tuple[int, bytes]](), dict[bytes, _Page]()
    at, beginning = 0, True
    while len(content) - at > _OGG_PAGE_HEADER:
        if content[at : at + 4] != b"OggS":
            faults.append(at)
            at = content.find(b"OggS", at)
            if at < 0:
                break
            continue
        page = _Page.at(content, at)
        if page.first and not beginning:
            places.append(at)
            last.clear()
        beginning = page.first
        before, last[page.serial] = last.get(page.serial), page
        if not page.first and before is not None and page.number != before.number + 1:
            faults.append(at)
        if page.end > len(content):
            return _Layout(tuple(places), tuple(faults), tuple(repairs), ended=False)
        if content[at + CHECKSUM_AT : at + CHECKSUM_AT + 4] != (right := _sum(content[at : page.end])):
            faults.append(at)
            if (page.first or (before is not None and page.follows(before))) and page.leads_on(content):
                repairs.append((at + CHECKSUM_AT, right))
        at = page.end
    return _Layout(tuple(places), tuple(faults), tuple(repairs), ended=at in (-1, len(content)))


@dataclass(frozen=True)
class _Page:
    """What an Ogg page's header says (RFC 3533, section 6)."""

    first: bool  #: of a stream
    position: int  #: in samples, at its end; -1: no packet ends on it
    serial: bytes  #: of its stream
    number: int
    end: int  #: where the next one begins

    @classmethod
    def at(cls, content: bytes | mmap.mmap, place: int) -> _Page:
        header = content[place : place + _OGG_PAGE_HEADER + 255]
        flags, position, serial, number, segments = struct.unpack_from("<5xBq4sI4xB", header)
        body = place + _OGG_PAGE_HEADER + segments
        first = bool(flags & 2) and content[body : body + 8].startswith(_OGG_CODECS)
        return cls(first, position, serial, number, body + sum(header[_OGG_PAGE_HEADER : _OGG_PAGE_HEADER + segments]))

    def follows(self, other: _Page) -> bool:
        return self.serial == other.serial and self.number == other.number + 1 and (self.position == -1 or self.position >= other.position)

    def leads_on(self, content: bytes | mmap.mmap) -> bool:
        """Whether the file ends after it, or the page there agrees with it."""
        if len(content) - self.end <= _OGG_PAGE_HEADER:
            return self.end == len(content)
        after = _Page.at(content, self.end)
        return content[self.end : self.end + 4] == b"OggS" and (after.first or after.follows(self))


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _sum(page: bytes) -> bytes:
    """Ogg's checksum is zlib's with the bits of each byte in reverse order, from 0 and not inverted; its own four bytes count as 0."""
    mirrored = page.translate(_MIRRORED)
    found = 0xFFFF_FFFF
    for piece in (mirrored[:CHECKSUM_AT], bytes(4), mirrored[CHECKSUM_AT + 4 :]):
        found = zlib.crc32(piece, found)
    return (found ^ 0xFFFF_FFFF).to_bytes(4, "big").translate(_MIRRORED)
