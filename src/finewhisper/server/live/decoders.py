"""What a client sends as sound: bytes in, 16 kHz mono out, in pieces of at most half a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.errors import AudioError, UsageError
from finewhisper.live.buffer import in_pieces
from finewhisper.resampling import Converter

Encoding = Literal["pcm_s16le", "pcm_f32le", "opus"]

ENCODINGS: tuple[Encoding, ...] = ("pcm_s16le", "pcm_f32le", "opus")
#: Sample rates that are taken, from telephones to studios.
SLOWEST_RATE, FASTEST_RATE = 8_000, 192_000

_TYPES: dict[str, np.dtype[Any]] = {"pcm_s16le": np.dtype("<i2"), "pcm_f32le": np.dtype("<f4")}


class Decoder(Protocol):
    """Turns messages into sound; what a message's end cuts off comes with the next one."""

    def feed(self, data: bytes) -> AsyncIterator[Waveform]:
        """The sound of the next bytes. Raises: AudioError."""

    def finish(self) -> AsyncIterator[Waveform]:
        """The last sound. Raises: AudioError."""

    def close(self) -> None:
        """Free everything, at any time."""


def decoder(encoding: str, sample_rate: int = SAMPLE_RATE) -> Decoder:
    """The decoder for an encoding.

    Raises:
        UsageError: there is no such encoding, or none for this rate.
    """
    if encoding == "opus":
        from finewhisper.server.live.opus import OpusDecoder

        return OpusDecoder()
    if encoding not in _TYPES:
        raise UsageError(f"encoding {encoding!r} is not known; choose one of {', '.join(ENCODINGS)}")
    if not SLOWEST_RATE <= sample_rate <= FASTEST_RATE:
        raise UsageError(f"sample_rate {sample_rate}: must be {SLOWEST_RATE} to {FASTEST_RATE}")
    return PcmDecoder(_TYPES[encoding], sample_rate)


class PcmDecoder:
    """Bare samples of one channel."""

    def __init__(self, kind: np.dtype[Any], sample_rate: int) -> None:
        self._kind, self._rate = kind, sample_rate
        self._waiting = b""  # less than a sample
        self._converter = Converter(SAMPLE_RATE)

    async def feed(self, data: bytes) -> AsyncIterator[Waveform]:
        joined = self._waiting + data
        whole = len(joined) // self._kind.itemsize * self._kind.itemsize
        self._waiting = joined[whole:]
        samples = np.frombuffer(joined[:whole], self._kind)
        for part in in_pieces(samples, self._rate):  # not all at once: whoever takes the pieces lets others have their turn between them
            for piece in in_pieces(self._converter.samples(_scaled(part), self._rate)):
                yield piece

    async def finish(self) -> AsyncIterator[Waveform]:
        yield self._converter.rest()

    def close(self) -> None:
        """Nothing is held."""


def _scaled(samples: npt.NDArray[Any]) -> Waveform:
    """Within -1 … 1. Raises: AudioError where samples are not numbers."""
    if samples.dtype.kind == "i":
        return np.asarray(np.divide(samples, 32768, dtype=np.float32))
    if not np.isfinite(samples).all():
        raise AudioError("audio: holds samples that are not numbers (NaN or infinity); is it pcm_f32le, little-endian?")
    return np.asarray(np.clip(samples, -1.0, 1.0), dtype=np.float32)
