"""A file of any length in pieces, so that memory does not grow with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform
from finewhisper.errors import AudioError
from finewhisper.resampling import Converter

_BLOCK_S: Seconds = 30.0


def blocks(path: Path) -> Iterator[Waveform]:
    """Decode a file to 16 kHz mono in pieces of about half a minute; joined they are what :func:`finewhisper.audio.read` gives.

    Raises:
        AudioError: as :func:`finewhisper.audio.read`, but a fault in the middle of the file shows only when its piece is due.
    """
    heard = False
    for block in _blocks(path):
        if not np.isfinite(block).all():
            raise AudioError(f"{path}: holds samples that are not numbers (NaN or infinity); convert or record it again")
        if len(block):
            heard = True
            yield block
    if not heard:
        raise audio._no_samples(str(path))


def _blocks(path: Path) -> Iterator[Waveform]:
    handle, head = audio._open(path, str(path))
    opened = _soundfile(path) if audio._for_libsndfile(handle, head) else None
    if opened is None:
        yield from _through_ffmpeg(path, head)
    else:
        with opened:
            yield from _through_libsndfile(opened, path)


def _soundfile(path: Path) -> soundfile.SoundFile | None:
    """The file for libsndfile; None where it cannot read it or does not know how long it is."""
    try:
        opened = soundfile.SoundFile(str(path))
    except soundfile.LibsndfileError:
        return None
    if 0 < opened.frames < audio._KNOWN_FRAMES:
        return opened
    opened.close()
    return None


def _through_libsndfile(stream: soundfile.SoundFile, path: Path) -> Iterator[Waveform]:
    audio._refuse_cut_short(path, str(path), stream)
    audio._refuse_slow(str(path), stream.samplerate)
    converter, count = Converter(SAMPLE_RATE), 0
    most = max(min(round(_BLOCK_S * stream.samplerate), audio._BLOCK_SAMPLES // stream.channels), 1)
    try:
        while count < stream.frames:
            samples = audio._mono(stream, min(most, stream.frames - count))
            if not len(samples):
                raise audio._cut_short(str(path), stream.frames / stream.samplerate, count / stream.samplerate)
            count += len(samples)
            yield converter.samples(samples, stream.samplerate)
    except soundfile.LibsndfileError as error:
        raise _damaged(path, count / stream.samplerate, error) from error
    yield converter.rest()


def _through_ffmpeg(path: Path, head: bytes) -> Iterator[Waveform]:
    import av

    converter, pieces, count, waiting = Converter(SAMPLE_RATE), list[Waveform](), 0, 0
    with audio._av_open(path, str(path)) as (container, stream):
        promised_s = audio._promised_s(container, stream, head)
        try:
            for frame in container.decode(stream):
                audio._refuse_slow(str(path), frame.sample_rate)
                pieces.append(converter.frame(frame))
                waiting += len(pieces[-1])
                if waiting >= _BLOCK_S * SAMPLE_RATE:
                    count += waiting
                    yield np.concatenate(pieces)
                    pieces, waiting = [], 0
        except av.FFmpegError as error:
            if not count + waiting:
                raise
            raise _damaged(path, (count + waiting) / SAMPLE_RATE, error) from error
    pieces.append(converter.rest())
    found_s = (count + sum(map(len, pieces))) / SAMPLE_RATE
    if promised_s is not None and not converter.joined and found_s < promised_s - audio._SLACK_S:
        raise audio._cut_short(str(path), promised_s, found_s)
    yield np.concatenate(pieces)


def _damaged(path: Path, at_s: Seconds, error: Exception) -> AudioError:
    reason = getattr(error, "strerror", None) or error
    return AudioError(f"{path}: is damaged or cut short after {at_s:.2f} s ({reason}); copy or record it again")
