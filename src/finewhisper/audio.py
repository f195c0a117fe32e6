"""Sound: Whisper's constants, and any audio or video file as 16 kHz mono.

The constants are those of Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), section 2.2.
libsndfile reads WAV, FLAC, OGG and Opus; everything else (MP3, M4A, MP4, WebM, …) and what libsndfile stumbles over goes through
PyAV, which carries its own FFmpeg libraries, so no program needs to be installed. MP3 is left to FFmpeg because libsndfile prints
to standard error about every irregular file and refuses whole ones that carry no Xing header.
"""

from __future__ import annotations

import errno
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from finewhisper.errors import AudioError
from finewhisper.resampling import Converter

if TYPE_CHECKING:
    from av import AudioStream
    from av.container import InputContainer

Seconds = float
Waveform = npt.NDArray[np.float32]  # (samples,), mono, 16 kHz, within -1 … 1

SAMPLE_RATE = 16_000  # samples per second
WINDOW_S = 30  # the encoder's full context, seconds
HOP_LENGTH = 160  # samples from one log-mel frame to the next
N_FFT = 400  # samples under one log-mel frame
WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE  # 480 000
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
WINDOW_FRAMES = WINDOW_S * FRAMES_PER_SECOND  # 3 000
TIMESTAMP_STEP_S = 0.02  # one encoder position: two log-mel frames

#: Times are written to two decimals and headers round: a slice may end this much after the audio.
ROUNDING_S = 0.05

Source = Path | bytes | BinaryIO
_Handle = Path | BinaryIO

_FORMATS_STEP = "give a WAV, FLAC, MP3, OGG, Opus, M4A or WebM file"

_HEAD_BYTES = 4096  # enough to tell the format
_LIBSNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"caff", b"NIST_1A")
_KNOWN_FRAMES = 1 << 48  # libsndfile's "nobody knows" is near 2**63, as in a FLAC file written to a pipe
_UNKNOWN_SIZE = 0x7FFF_0000  # a WAV file written to a pipe states about this many bytes or more, whatever it holds
_SLACK_S = 0.25  # lossy formats lose up to a few frames at either end; more than this is damage
_LOWEST_RATE = 1_000  # samples per second; less is a damaged header, and would become many times as many samples
_BLOCK_SAMPLES = 1 << 23  # of all channels, read at once: a header may claim more than any memory holds
_SEEK_MARGIN_S = 1.0  # FFmpeg lands near the place, and a lossy decoder needs some packets to settle


def read(source: Source, start_s: Seconds = 0.0, end_s: Seconds | None = None) -> Waveform:
    """Decode a file, its bytes or an open binary stream, or the slice ``start_s`` … ``end_s`` of it.

    Returns:
        float32 samples at 16 kHz, channels averaged, shape (samples,).

    Raises:
        AudioError: the source is missing, empty, damaged, not audio, or ends before the slice does.
    """
    name = str(source) if isinstance(source, Path) else "audio"
    handle, head = _open(source, name)
    found = _read_soundfile(handle, name, start_s, end_s) if _for_libsndfile(handle, head) else None
    samples, rate = found or _read_av(_rewound(handle), head, name, start_s, end_s)
    if not len(samples):
        raise _no_samples(name, _slice_text(start_s, end_s))
    if end_s is not None and len(samples) / rate < end_s - start_s - ROUNDING_S:
        at_s = start_s + len(samples) / rate
        raise AudioError(f"{name}: ends at {at_s:.2f} s, before the slice from {start_s:g} s to {end_s:g} s does; correct its times")
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: holds samples that are not numbers (NaN or infinity); convert or record it again")
    _refuse_slow(name, rate)
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return np.ascontiguousarray(samples, dtype=np.float32)


def duration(path: Path) -> Seconds:
    """How long the file is, from its header where that says so, else from its packets.

    Raises:
        AudioError: as :func:`read`; a file that is cut short is found out here only where the container shows it (WAV, OGG).
    """
    handle, head = _open(path, str(path))
    if _for_libsndfile(handle, head):
        try:
            info = soundfile.info(str(path))
        except soundfile.LibsndfileError:
            pass  # FFmpeg may know it; if not, its error is the one to show
        else:
            if info.format == "OGG" and not info.frames:
                raise _no_samples(str(path))  # FFmpeg would count its headers
            if 0 < info.frames < _KNOWN_FRAMES:
                _refuse_cut_short(handle, str(path), info)
                return float(info.frames / info.samplerate)
    return _av_duration(path, head)


def encode_mp3(waveform: Waveform) -> bytes:
    """A small copy for players in reports: 16 kHz mono MP3 of about 32 kbit/s, which every browser plays."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.9)
    return buffer.getvalue()


def _open(source: Source, name: str) -> tuple[_Handle, bytes]:
    """The source ready for a decoder, and its first kilobytes."""
    if not isinstance(source, Path):
        stream = io.BytesIO(source if isinstance(source, bytes) else source.read())
        if not stream.getbuffer().nbytes:
            raise AudioError(f"{name}: is empty (0 bytes)")
        return stream, bytes(stream.getbuffer()[:_HEAD_BYTES])
    try:
        with source.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise AudioError(f"{name}: no such file; check the path (a manifest's relative paths start at the manifest)") from None
    except IsADirectoryError:
        raise AudioError(f"{name}: is a folder, not an audio file") from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if not head:
        raise AudioError(f"{name}: is empty (0 bytes); remove it from the list or record it again")
    return source, head


def _rewound(handle: _Handle) -> _Handle:
    if not isinstance(handle, Path):
        handle.seek(0)
    return handle


def _for_libsndfile(handle: _Handle, head: bytes) -> bool:
    """Its own formats only, and nothing named .raw, which soundfile takes for samples without a header whatever it holds."""
    return head.startswith(_LIBSNDFILE_MAGIC) and not (isinstance(handle, Path) and handle.suffix.lower() == ".raw")


def _slice_text(start_s: Seconds, end_s: Seconds | None) -> str:
    return f" from {start_s:g} s to {'its end' if end_s is None else f'{end_s:g} s'}" if start_s or end_s is not None else ""


def _no_samples(name: str, where: str = "") -> AudioError:
    return AudioError(f"{name}: holds no samples{where}; remove it from the list or record it again")


def _cut_short(name: str, promised_s: Seconds, found_s: Seconds) -> AudioError:
    return AudioError(
        f"{name}: is cut short: its header promises {promised_s:.2f} s, the data end after {found_s:.2f} s; copy or record it again"
    )


def _refuse_slow(name: str, rate: int) -> None:
    """Refuse a rate at which nobody records, before it is resampled."""
    if rate < _LOWEST_RATE:
        raise AudioError(f"{name}: its header claims {rate} samples a second, fewer than {_LOWEST_RATE}; it is damaged, copy it again")


def _read_soundfile(handle: _Handle, name: str, start_s: Seconds, end_s: Seconds | None) -> tuple[Waveform, int] | None:
    """The slice through libsndfile; None where it cannot read the file or does not know how long it is."""
    try:
        with soundfile.SoundFile(str(handle) if isinstance(handle, Path) else handle) as stream:
            if not 0 < stream.frames < _KNOWN_FRAMES:
                return None
            first = min(round(start_s * stream.samplerate), stream.frames)
            last = stream.frames if end_s is None else min(round(end_s * stream.samplerate), stream.frames)
            if first:
                stream.seek(first)
            samples = _mono(stream, max(last - first, 0))
            if len(samples) < last - first:
                raise _cut_short(name, stream.frames / stream.samplerate, (first + len(samples)) / stream.samplerate)
            _refuse_cut_short(handle, name, stream)
            return samples, stream.samplerate
    except soundfile.LibsndfileError:
        return None  # not a format of its own, or one of the whole Opus files that it calls malformed


def _mono(stream: soundfile.SoundFile, count: int) -> Waveform:
    """The next ``count`` samples, channels averaged; fewer where the data end before the header says."""
    pieces: list[Waveform] = [np.zeros(0, np.float32)]
    most = max(_BLOCK_SAMPLES // stream.channels, 1)
    while count > 0 and len(block := stream.read(min(count, most), dtype="float32", always_2d=True)):
        with np.errstate(all="ignore"):  # what is no number is told of in our words
            pieces.append(block.mean(axis=1))
        count -= len(block)
    return np.concatenate(pieces)


def _refuse_cut_short(handle: _Handle, name: str, info: Any) -> None:
    """Find the end of a copy or recording that broke off, which libsndfile passes over in silence.

    Args:
        info: soundfile's ``SoundFile`` or result of ``info()``.
    """
    length_s = info.frames / info.samplerate
    sizes = re.search(r"^data : (\d+) \(should be (\d+)\)", info.extra_info, re.MULTILINE)
    if sizes and int(sizes[2]) < int(sizes[1]) < _UNKNOWN_SIZE:
        promised_s = length_s * int(sizes[1]) / int(sizes[2])
        if promised_s > length_s + ROUNDING_S:
            raise _cut_short(name, promised_s, length_s)
    if info.format == "OGG" and not _last_page_is_whole(handle):
        raise AudioError(f"{name}: is cut short: it breaks off in the middle of a page, after {length_s:.2f} s; copy or record it again")


_OGG_PAGE_HEADER = 27  # bytes, the last of them the number of segments; one size byte for each segment follows (RFC 3533)
_OGG_PAGE_BYTES = _OGG_PAGE_HEADER + 255 + 255 * 255  # at most


def _last_page_is_whole(handle: _Handle) -> bool:
    """Whether an OGG file ends where its last page does."""
    if isinstance(handle, Path):
        with handle.open("rb") as file:
            file.seek(max(handle.stat().st_size - _OGG_PAGE_BYTES, 0))
            tail = file.read()
    else:
        handle.seek(0)
        tail = handle.read()[-_OGG_PAGE_BYTES:]
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < _OGG_PAGE_HEADER:
        return False
    sizes = page[_OGG_PAGE_HEADER : _OGG_PAGE_HEADER + page[_OGG_PAGE_HEADER - 1]]
    return len(sizes) == page[_OGG_PAGE_HEADER - 1] and len(page) >= _OGG_PAGE_HEADER + len(sizes) + sum(sizes)


class _Seekable:
    """A binary stream as FFmpeg expects one: seeking to a place that a damaged header names is an answer, not an exception."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read, self.tell, self._seek = stream.read, stream.tell, stream.seek
        self.name = str(getattr(stream, "name", ""))  # its ending helps to tell the format

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new place, or FFmpeg's number for an impossible one."""
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -errno.EINVAL


@cache
def _audio_decoders() -> str:
    """FFmpeg's names of all decoders for sound, comma-separated."""
    import av

    names = []
    for name in sorted(av.codecs_available):
        try:
            if av.Codec(name, "r").type == "audio":
                names.append(name)
        except av.codec.codec.UnknownCodecError:  # it can only be written
            continue
    return ",".join(names)


@contextmanager
def _av_open(handle: _Handle, name: str) -> Iterator[tuple[InputContainer, AudioStream]]:
    """The file through FFmpeg, and its first audio stream.

    FFmpeg gets the open file and may open nothing else: a playlist would have it read others, wherever it names them. Nor may it decode
    pictures, which it would do to learn more about a film or a cover: a picture of some kilobytes can take all memory.
    """
    import av  # a quarter of a second to import, and only some formats need it

    options = {"protocol_whitelist": "none", "codec_whitelist": _audio_decoders()}
    try:
        with (
            handle.open("rb") if isinstance(handle, Path) else nullcontext(handle) as source,
            av.open(_Seekable(source), options=options, metadata_errors="ignore") as container,
        ):
            if not container.streams.audio:
                raise AudioError(f"{name}: has no audio track; give a file with sound")
            known = [stream for stream in container.streams.audio if stream.codec_context is not None]
            if not known:
                raise AudioError(f"{name}: its sound is of a kind that cannot be decoded, or the file is damaged; {_FORMATS_STEP}")
            yield container, known[0]
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name}: cannot be decoded as audio ({reason}); {_FORMATS_STEP}") from error


def _promised_s(container: InputContainer, stream: AudioStream, head: bytes) -> Seconds | None:
    """The length that the container states; None where FFmpeg only estimates it from the bit rate."""
    if container.format.name == "aac" or (container.format.name == "mp3" and not re.search(rb"Xing|Info|VBRI", head)):
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:  # WebM states one length for the file, that of its longest track
        return container.duration / 1_000_000
    return None


def _read_av(handle: _Handle, head: bytes, name: str, start_s: Seconds, end_s: Seconds | None) -> tuple[Waveform, int]:
    """The slice through FFmpeg: mono samples and their rate."""
    with _av_open(handle, name) as (container, stream):
        promised_s = _promised_s(container, stream, head)
        samples, rate, first_s, joined = _av_samples(container, stream, name, start_s, end_s)
    found_s = first_s + len(samples) / rate
    if promised_s is not None and not joined:
        if found_s < min(promised_s, promised_s if end_s is None else end_s) - _SLACK_S:
            raise _cut_short(name, promised_s, found_s)
        if found_s - promised_s < _SLACK_S:  # the padding of the last AAC frame
            samples = samples[: max(round((promised_s - first_s) * rate), 0)]
    first = max(round((start_s - first_s) * rate), 0)
    return samples[first : None if end_s is None else max(round((end_s - first_s) * rate), first)], rate


def _av_samples(
    container: InputContainer, stream: AudioStream, name: str, start_s: Seconds, end_s: Seconds | None
) -> tuple[Waveform, int, Seconds, bool]:
    """Decode from shortly before ``start_s`` to shortly after ``end_s``.

    Returns:
        The samples, their rate, the time of the first one, and whether the file is joined of parts with different rates.
    """
    import av

    origin_s = float((stream.start_time or 0) * (stream.time_base or 0))
    if start_s > _SEEK_MARGIN_S and stream.time_base:
        container.seek(int((origin_s + start_s - _SEEK_MARGIN_S) / stream.time_base), stream=stream)
    pieces: list[Waveform] = []
    first_s: Seconds | None = None
    rate, count = stream.rate or SAMPLE_RATE, 0
    converter: Converter | None = None
    try:
        for frame in container.decode(stream):
            if first_s is None or converter is None:
                first_s = 0.0 if frame.time is None else frame.time - origin_s
                rate = frame.sample_rate
                _refuse_slow(name, rate)
                converter = Converter(rate)
            pieces.append(converter.frame(frame))
            count += len(pieces[-1])
            if end_s is not None and first_s + count / rate > end_s:
                break
    except av.FFmpegError as error:
        if not count:
            raise
        at_s = (first_s or 0.0) + count / rate
        raise AudioError(f"{name}: is damaged or cut short after {at_s:.2f} s ({error.strerror}); copy or record it again") from error
    if converter is None:
        return np.zeros(0, dtype=np.float32), rate, 0.0, False
    return np.concatenate([*pieces, converter.rest()]), rate, first_s or 0.0, converter.joined


def _av_duration(path: Path, head: bytes) -> Seconds:
    with _av_open(path, str(path)) as (container, stream):
        promised_s = _promised_s(container, stream, head)
        if promised_s is not None:
            return promised_s
        origin = stream.start_time or 0
        ends = (packet.pts + (packet.duration or 0) - origin for packet in container.demux(stream) if packet.pts is not None)
        length_s = float(max(ends, default=0) * (stream.time_base or 0))
    if length_s <= 0:
        raise _no_samples(str(path))
    return length_s
