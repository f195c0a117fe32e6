"""WAV, FLAC, OGG and their like through libsndfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import soundfile

from finewhisper.audio import notices as told
from finewhisper.audio.constants import ROUNDING_S, Seconds
from finewhisper.audio.ffmpeg import Stretch
from finewhisper.audio.notices import Notice
from finewhisper.audio.sources import Part, Pick
from finewhisper.errors import AudioError, CutShortError
from finewhisper.resampling import FloatScale, Mixer

_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"NIST_1A")
_KNOWN_FRAMES = 1 << 48  # libsndfile's "nobody knows" is near 2**63, as in a FLAC file written to a pipe
_UNKNOWN_SIZE = 0x7FFF_0000  # a WAV file written to a pipe states about this many bytes or more, whatever it holds
BLOCK_SAMPLES = 1 << 23  # of all channels, read at once: a header may claim more than any memory holds
#: What is decoded at once.
BLOCK_S: Seconds = 30.0
#: What libsndfile says of a chunk that is shorter than its header says; the last two name the whole file.
_SIZES = {
    "WAV": r"data", "WAVEX": r"data", "AIFF": r"SSND", "AU": r"Data Size", "W64": r"riff", "RF64": r"Riff size",
}  # fmt: skip


class UnreadableError(Exception):
    """libsndfile cannot read the file, or not on from here.

    Attributes:
        at_s: how far it came.
    """

    def __init__(self, at_s: Seconds = 0.0) -> None:
        self.at_s = at_s


def fits(part: Part) -> bool:
    """Whether libsndfile should read it.

    Its own formats only, Ogg only where all pages are there, as it passes over missing ones without a word, and nothing named .raw, which
    soundfile takes for samples without a header whatever it holds.
    """
    return part.intact and part.suffix != ".raw" and part.head.startswith(_MAGIC)


@contextmanager
def opened(part: Part) -> Iterator[soundfile.SoundFile]:
    """The file through libsndfile. Raises: UnreadableError."""
    with part.open() as stream:
        name = part.plain_name()
        try:
            with soundfile.SoundFile(stream if name is None else name) as found:
                yield found
        except soundfile.LibsndfileError as error:
            raise UnreadableError from error


def length_s(part: Part) -> Seconds:
    """How long it is. Raises: CutShortError, AudioError, UnreadableError: FFmpeg may know more."""
    with opened(part) as found:
        if found.format == "OGG" and not found.frames:
            raise AudioError(f"{part.name}: holds no samples; remove it from the list or record it again")  # FFmpeg would count its headers
        if not 0 < found.frames < _KNOWN_FRAMES:
            raise UnreadableError
        cut = _cut(part, found)
        if cut is not None:
            raise cut
        return float(found.frames / found.samplerate)


def channels(part: Part) -> int:
    """How many it has. Raises: UnreadableError."""
    with opened(part) as found:
        return int(found.channels)


def stretches(
    part: Part, start_s: Seconds, end_s: Seconds | None, pick: Pick, notices: list[Notice], *, keep_cut: bool
) -> Iterator[Stretch]:
    """Exactly the samples from ``start_s`` to ``end_s``, or to the end; each stretch is about half a minute.

    Raises:
        CutShortError: it ends before its header says, and before the slice does.
        UnreadableError: libsndfile cannot read it, or not on from a place.
    """
    at = rate = 0
    try:
        with opened(part) as found:
            if not 0 < found.frames < _KNOWN_FRAMES:
                raise UnreadableError
            rate, mixer = found.samplerate, Mixer(pick.channel, part.name)
            scale = FloatScale(part.name) if found.subtype in ("FLOAT", "DOUBLE") else None
            at = min(round(start_s * rate), found.frames)
            last = found.frames if end_s is None else min(round(end_s * rate), found.frames)
            cut = _cut(part, found)
            if cut is not None and (end_s is None or end_s > cut.found_s + ROUNDING_S):
                if not keep_cut:
                    raise cut
                notices.append(told.cut(cut))
            if at:
                found.seek(at)
            most = max(min(round(BLOCK_S * rate), BLOCK_SAMPLES // found.channels), 1)
            while at < last:
                block = found.read(min(last - at, most), dtype="float32", always_2d=True)
                if not len(block):
                    raise UnreadableError
                samples = mixer.columns(block)
                yield at / rate, samples if scale is None else scale(samples), rate
                at += len(block)
            notices += told.of_samples(mixer.opposed, None if scale is None else scale.bits)
    except UnreadableError as error:
        raise UnreadableError(at / rate if rate else 0.0) from error


def _cut(part: Part, found: Any) -> CutShortError | None:
    """The end of a copy or recording that broke off, which libsndfile passes over in silence."""
    length_s = found.frames / found.samplerate
    if found.format == "OGG":
        return None if part.ended else CutShortError(part.name, length_s)
    promised_s = None
    if found.format == "NIST" and (stated := re.search(rb"sample_count -i (\d{1,15})\b", part.head)):
        promised_s = int(stated[1]) / found.samplerate
    elif chunk := _SIZES.get(found.format):
        sizes = re.search(rf"^\s*{chunk}\s*: (\d+) \(should be (\d+)\)", found.extra_info, re.MULTILINE)
        if sizes and int(sizes[2]) < int(sizes[1]) < _UNKNOWN_SIZE:
            promised_s = length_s * int(sizes[1]) / int(sizes[2])
    return CutShortError(part.name, length_s, promised_s) if promised_s is not None and promised_s > length_s + ROUNDING_S else None
