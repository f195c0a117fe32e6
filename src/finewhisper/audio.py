"""Sound: Whisper's constants, and any audio or video file as 16 kHz mono.

The constants are those of Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), section 2.2.
libsndfile reads WAV, FLAC, OGG, Opus and MP3; everything else (M4A, MP4, WebM, …) goes through PyAV, which carries its own FFmpeg
libraries, so no program needs to be installed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from finewhisper.errors import AudioError

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

Source = Path | bytes | BinaryIO


def read(source: Source, start_s: Seconds = 0.0, end_s: Seconds | None = None) -> Waveform:
    """Decode a file, its bytes or an open binary stream, or the slice ``start_s`` … ``end_s`` of it.

    Returns:
        float32 samples at 16 kHz, channels averaged, shape (samples,).

    Raises:
        AudioError: the source is missing, empty, damaged, not audio, or ends before the slice does.
    """
    name = str(source) if isinstance(source, Path) else "audio"
    handle = _open(source, name)
    try:
        samples, rate = _read_soundfile(handle, name, start_s, end_s)
    except soundfile.LibsndfileError:
        if not isinstance(handle, Path):
            handle.seek(0)
        samples, rate = _read_av(handle, name, start_s, end_s)
    if not len(samples):
        raise AudioError(f"{name}: holds no samples{_slice_text(start_s, end_s)}; remove it from the list or record it again")
    if not np.isfinite(samples).all():
        raise AudioError(f"{name}: holds samples that are not numbers (NaN or infinity); convert or record it again")
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return np.ascontiguousarray(samples, dtype=np.float32)


def duration(path: Path) -> Seconds:
    """How long the file is, from its header where that says so.

    Raises:
        AudioError: as :func:`read`.
    """
    handle = _open(path, str(path))
    try:
        info = soundfile.info(str(handle))
    except soundfile.LibsndfileError:
        return _av_duration(path)
    if not info.frames:
        raise AudioError(f"{path}: holds no samples; remove it from the list or record it again")
    return float(info.frames / info.samplerate)


def encode_mp3(waveform: Waveform) -> bytes:
    """A small copy for players in reports: 16 kHz mono MP3, which every browser plays."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform, SAMPLE_RATE, format="MP3")
    return buffer.getvalue()


def _open(source: Source, name: str) -> Path | BinaryIO:
    if isinstance(source, Path):
        if source.is_dir():
            raise AudioError(f"{name}: is a folder, not an audio file")
        if not source.exists():
            raise AudioError(f"{name}: no such file; check the path (a manifest's relative paths start at the manifest)")
        if not source.stat().st_size:
            raise AudioError(f"{name}: is empty (0 bytes); remove it from the list or record it again")
        return source
    stream = io.BytesIO(source if isinstance(source, bytes) else source.read())
    if not stream.getbuffer().nbytes:
        raise AudioError(f"{name}: is empty (0 bytes)")
    return stream


def _slice_text(start_s: Seconds, end_s: Seconds | None) -> str:
    return f" from {start_s:g} s to {'its end' if end_s is None else f'{end_s:g} s'}" if start_s or end_s is not None else ""


def _read_soundfile(handle: Path | BinaryIO, name: str, start_s: Seconds, end_s: Seconds | None) -> tuple[Waveform, int]:
    with soundfile.SoundFile(str(handle) if isinstance(handle, Path) else handle) as stream:
        first = min(round(start_s * stream.samplerate), stream.frames)
        last = stream.frames if end_s is None else min(round(end_s * stream.samplerate), stream.frames)
        if first:
            stream.seek(first)
        try:
            samples = stream.read(max(last - first, 0), dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"{name}: is damaged or cut short ({error}); convert or record it again") from error
        if len(samples) < last - first:
            raise AudioError(
                f"{name}: is cut short: its header promises {stream.frames / stream.samplerate:.2f} s, the data end after "
                f"{(first + len(samples)) / stream.samplerate:.2f} s; copy or record it again"
            )
        return samples.mean(axis=1), stream.samplerate


def _av_frames(handle: Path | BinaryIO, name: str) -> Iterator[tuple[Waveform, int]]:
    """The file's first audio stream through FFmpeg, in pieces: mono float32 samples and their rate."""
    import av  # a quarter of a second to import, and only rare formats need it

    try:
        with av.open(str(handle) if isinstance(handle, Path) else handle, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioError(f"{name}: has no audio track; give a file with sound")
            resampler = av.AudioResampler(format="flt", layout="mono")
            for frame in container.decode(audio=0):
                for piece in resampler.resample(frame):
                    yield piece.to_ndarray().reshape(-1).astype(np.float32, copy=False), piece.sample_rate
    except av.FFmpegError as error:
        raise AudioError(
            f"{name}: cannot be decoded as audio ({error.strerror or error}); give a WAV, FLAC, MP3, OGG, Opus, M4A or WebM file"
        ) from error


def _read_av(handle: Path | BinaryIO, name: str, start_s: Seconds, end_s: Seconds | None) -> tuple[Waveform, int]:
    pieces = list(_av_frames(handle, name))
    rate = pieces[0][1] if pieces else SAMPLE_RATE
    samples = np.concatenate([piece for piece, _ in pieces]) if pieces else np.zeros(0, dtype=np.float32)
    return samples[round(start_s * rate) : None if end_s is None else round(end_s * rate)], rate


def _av_duration(path: Path) -> Seconds:
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = next(iter(container.streams.audio), None)
            if stream is not None and stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
    except av.FFmpegError:
        pass  # decoding below says what is wrong, in the words of this module
    samples, rate = _read_av(path, str(path), 0.0, None)
    return len(samples) / rate
