"""Files of any length as 16 kHz mono: whole, in slices or in pieces, all from one reader."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from finewhisper.audio import ffmpeg, soundfiles, sources
from finewhisper.audio.constants import ROUNDING_S, SAMPLE_RATE, Seconds, Waveform
from finewhisper.audio.ffmpeg import Stretch
from finewhisper.audio.notices import Notice, peak, too_quiet
from finewhisper.audio.sources import Part, Pick, Source
from finewhisper.errors import AudioError
from finewhisper.resampling import Converter, are_numbers

_LOWEST_RATE, _HIGHEST_RATE = 1_000, 10_000_000  # samples per second; others stand in damaged headers, and take time and memory
_ANY = Pick()


def read(
    source: Source, start_s: Seconds = 0.0, end_s: Seconds | None = None, *, pick: Pick = _ANY, notices: list[Notice] | None = None
) -> Waveform:
    """Decode a file, its bytes or an open binary stream, or the slice ``start_s`` … ``end_s`` of it.

    Args:
        pick: which sound of the file is wanted.
        notices: what a user should know of the recording is added here, and a file that was cut short is read as far as it goes; None:
            a cut file is refused where the slice reaches its end.

    Returns:
        float32 samples at 16 kHz, channels averaged, shape (samples,).

    Raises:
        AudioError: the source is missing, empty, damaged throughout, not audio, or ends before the slice does.
        CutShortError: it ends before its header says, and ``notices`` is None.
    """
    converter: Converter | None = None
    pieces: list[Waveform] = []
    told = list[Notice]() if notices is None else notices
    first_s = 0.0
    name = _name(source)
    for at_s, samples, rate in _stretches(source, start_s, end_s, pick, told, keep_cut=notices is not None):
        if converter is None:
            converter, first_s = Converter(rate), at_s
        pieces.append(converter.samples(samples, rate))
    if converter is None:
        raise _no_samples(name, _slice_text(start_s, end_s))
    found, rate = np.concatenate([*pieces, converter.rest()]), converter.rate
    first = max(round((start_s - first_s) * rate), 0)
    last = None if end_s is None else max(round(end_s * rate) - round(first_s * rate), first)
    found = found[first:last]
    if not len(found):
        raise _no_samples(name, _slice_text(start_s, end_s))
    if end_s is not None and len(found) / rate < end_s - start_s - ROUNDING_S:
        ends_s = start_s + len(found) / rate
        raise AudioError(f"{name}: ends at {ends_s:.2f} s, before the slice from {start_s:g} s to {end_s:g} s does; correct its times")
    waveform = found if rate == SAMPLE_RATE else soxr.resample(found, rate, SAMPLE_RATE)
    if quiet := too_quiet(peak(waveform)):
        told.append(Notice("quiet", quiet))
    return np.ascontiguousarray(waveform, dtype=np.float32)


def blocks(source: Source, *, pick: Pick = _ANY, notices: list[Notice] | None = None) -> Iterator[Waveform]:
    """Decode a file to 16 kHz mono in pieces of about half a minute, so that memory does not grow with it.

    Joined they are what :func:`read` gives.

    Args:
        pick: as in :func:`read`.
        notices: as in :func:`read`; what concerns the whole file is there when the last piece is.

    Raises:
        AudioError, CutShortError: as :func:`read`, but a fault in the middle of the file shows only when its piece is due.
    """
    converter, pieces, waiting, highest, heard = Converter(SAMPLE_RATE), list[Waveform](), 0, 0.0, False
    told = list[Notice]() if notices is None else notices
    for _, samples, rate in _stretches(source, 0.0, None, pick, told, keep_cut=notices is not None):
        pieces.append(converter.samples(samples, rate))
        waiting += len(pieces[-1])
        if waiting >= soundfiles.BLOCK_S * SAMPLE_RATE:
            block = np.concatenate(pieces)
            highest, heard, pieces, waiting = max(highest, peak(block)), True, [], 0
            yield block
    block = np.concatenate([*pieces, converter.rest()])
    if quiet := too_quiet(max(highest, peak(block))):
        told.append(Notice("quiet", quiet))
    if len(block):
        yield block
    elif not heard:
        raise _no_samples(_name(source))


def duration(path: Path | str) -> Seconds:
    """How long the file is, from its header where that says so, else from its packets.

    Of joined FLAC files only the first is counted: to find the others the whole file would have to be read.

    Raises:
        AudioError: as :func:`read`; and it is a pipe.
        CutShortError: it ends before its header says, where that shows without decoding (WAV, AIFF, OGG).
    """
    length_s = sum(_length_s(part) for part in sources.parts(path, headers_only=True))
    if length_s <= 0:
        raise _no_samples(str(path))
    return length_s


def channels(source: Source, *, pick: Pick = _ANY) -> int:
    """How many channels the sound has. Raises: AudioError."""
    part = sources.parts(source, headers_only=not isinstance(source, (Path, str)) or not sources.is_pipe(Path(source)))[0]
    if _for_libsndfile(part, pick):
        try:
            return soundfiles.channels(part)
        except soundfiles.UnreadableError:
            pass
    return ffmpeg.channels(part, pick)


def encode_mp3(waveform: Waveform) -> bytes:
    """A small copy for players in reports: 16 kHz mono MP3 of about 32 kbit/s, which every browser plays."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.9)
    return buffer.getvalue()


def _stretches(
    source: Source, start_s: Seconds, end_s: Seconds | None, pick: Pick, notices: list[Notice], *, keep_cut: bool
) -> Iterator[Stretch]:
    """Mono samples in order and without holes, at their own rates, from ``start_s`` or shortly before on; joined files in turn."""
    parts = sources.parts(source)
    if len(parts) > 1:
        notices.append(Notice("joined", f"{len(parts)} files are joined in it, and read one after the other"))
    offset_s = 0.0
    for part in parts:
        first_s, last_s = max(start_s - offset_s, 0.0), None if end_s is None else end_s - offset_s
        if last_s is not None and last_s <= 0:
            break
        if first_s and len(parts) > 1 and (length_s := _length_s(part)) <= first_s:
            offset_s += length_s
            continue
        before, length_s = len(notices), 0.0
        for at_s, samples, rate in _of_one(part, first_s, last_s, pick, notices, keep_cut=keep_cut):
            if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
                raise AudioError(f"{part.name}: its header claims {rate} samples a second, {_odd(rate)}; it is damaged, copy it again")
            if not are_numbers(samples):
                raise AudioError(f"{part.name}: holds samples that are not numbers (NaN or infinity); convert or record it again")
            length_s = at_s + len(samples) / rate
            yield offset_s + at_s, samples, rate
        notices[before:] = [_later(notice, offset_s) for notice in notices[before:]]
        offset_s += length_s


def _of_one(part: Part, start_s: Seconds, end_s: Seconds | None, pick: Pick, notices: list[Notice], *, keep_cut: bool) -> Iterator[Stretch]:
    """One file through the library that reads it, or through FFmpeg from where that stumbles."""
    if _for_libsndfile(part, pick):
        try:
            yield from soundfiles.stretches(part, start_s, end_s, pick, notices, keep_cut=keep_cut)
            return
        except soundfiles.UnreadableError as error:
            reached_s = error.at_s
        yield from _from(reached_s, ffmpeg.stretches(part, max(start_s, reached_s), end_s, pick, notices, keep_cut=keep_cut))
    else:
        yield from ffmpeg.stretches(part, start_s, end_s, pick, notices, keep_cut=keep_cut)


def _from(start_s: Seconds, stretches: Iterator[Stretch]) -> Iterator[Stretch]:
    """Without what lies before a place."""
    for at_s, samples, rate in stretches:
        early = max(round((start_s - at_s) * rate), 0)
        if early < len(samples):
            yield at_s + early / rate, samples[early:], rate


def _for_libsndfile(part: Part, pick: Pick) -> bool:
    return pick.track in ("", "0") and soundfiles.fits(part)


def _length_s(part: Part) -> Seconds:
    if soundfiles.fits(part):
        try:
            return soundfiles.length_s(part)
        except soundfiles.UnreadableError:
            pass  # FFmpeg may know it; if not, its error is the one to show
    return ffmpeg.length_s(part)


def _later(notice: Notice, offset_s: Seconds) -> Notice:
    return (
        notice
        if not offset_s or notice.at_s is None
        else Notice(notice.kind, f"{notice.text} (in the part from {offset_s:.2f} s)", notice.at_s + offset_s)
    )


def _odd(rate: int) -> str:
    return f"fewer than {_LOWEST_RATE}" if rate < _LOWEST_RATE else f"more than {_HIGHEST_RATE}"


def _name(source: Source) -> str:
    return str(source) if isinstance(source, (Path, str)) else "audio"


def _slice_text(start_s: Seconds, end_s: Seconds | None) -> str:
    return f" from {start_s:g} s to {'its end' if end_s is None else f'{end_s:g} s'}" if start_s or end_s is not None else ""


def _no_samples(name: str, where: str = "") -> AudioError:
    return AudioError(f"{name}: holds no samples{where}; remove it from the list or record it again")
