"""Sound in pieces, of any channels and of rates that may change midway, to mono of one rate.

Recorders and broadcasters join files of different rates, and FFmpeg then hands on frames of each.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soxr

from finewhisper.errors import AudioError

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.resampler import AudioResampler

Samples = npt.NDArray[np.float32]  # (samples,)

#: Two channels whose mean has less than this share of one's energy cancel each other; in ordinary stereo it is a quarter or more.
_OPPOSED = 0.01


def are_numbers(samples: Samples) -> bool:
    """Whether none of them is NaN or infinite: their energy tells, ten times as fast as looking at each."""
    return math.isfinite(float(np.dot(samples, samples)))


class Mixer:
    """Channels to mono.

    Their mean, as FFmpeg's own mono is 3 dB louder than that; of two that are in opposite phase, as a wrongly soldered cable makes them,
    the first, since their mean would be silence.

    Args:
        channel: the one that is wanted, from 0; None: all.
        name: of the file, for errors.

    Attributes:
        opposed: whether channels in opposite phase were found.
    """

    def __init__(self, channel: int | None = None, name: str = "audio") -> None:
        self.opposed = False
        self._channel, self._name = channel, name
        self._format: tuple[str, str, int] | None = None
        self._planar: AudioResampler | None = None

    def frame(self, frame: AudioFrame) -> Samples:
        """A frame that FFmpeg has decoded. Raises: AudioError: it has no such channel."""
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._planar is None or kind != self._format:
            self._planar, self._format = av.AudioResampler(format="fltp"), kind  # one refuses frames of another kind
        pieces = [self._mono(np.asarray(piece.to_ndarray(), dtype=np.float32)) for piece in self._planar.resample(frame)]
        return pieces[0] if len(pieces) == 1 else np.concatenate([np.zeros(0, np.float32), *pieces])

    def columns(self, block: npt.NDArray[np.float32]) -> Samples:
        """Samples of shape (samples, channels). Raises: AudioError: there is no such channel."""
        with np.errstate(all="ignore"):  # what is no number is told of in our words
            return self._mono(block.T)

    def _mono(self, planar: npt.NDArray[np.float32]) -> Samples:
        """From shape (channels, samples)."""
        if self._channel is not None:
            if self._channel >= len(planar):
                channels = "1 channel" if len(planar) == 1 else f"{len(planar)} channels"
                raise AudioError(f"{self._name}: has {channels}, not as many as were asked for; name as many as there are")
            return np.asarray(planar[self._channel], dtype=np.float32)
        if len(planar) == 1:  # the mean of one costs a tenth of decoding an MP3
            return np.asarray(planar[0], dtype=np.float32)
        mean: Samples = planar.mean(axis=0, dtype=np.float32)
        if len(planar) == 2 and self._cancelled(planar[0], mean):
            self.opposed = True
            return np.asarray(planar[0], dtype=np.float32)
        return mean

    @staticmethod
    def _cancelled(first: Samples, mean: Samples) -> bool:
        energy = float(np.dot(first, first))
        return energy > 1e-7 * len(first) and float(np.dot(mean, mean)) < _OPPOSED * energy


class FloatScale:
    """Brings floating-point samples of an integer's size (up to 32 768, say) to -1 … 1.

    Args:
        name: of the file, for errors.

    Attributes:
        bits: the size of the integers that they were taken for; None: they are as they should be.
    """

    #: Higher than any recording that somebody mixed too loud, and 72 dB below a 16-bit integer's full scale.
    _HIGHEST = 8.0

    def __init__(self, name: str) -> None:
        self.bits: int | None = None
        self._name = name

    def __call__(self, samples: Samples) -> Samples:
        """Raises: AudioError: samples fit no integer."""
        if self.bits is None and len(samples):
            highest = float(max(samples.max(), -samples.min()))
            if self._HIGHEST < highest < np.inf:
                self.bits = next((bits for bits in (16, 24, 32) if highest <= 1 << (bits - 1)), None)
                if self.bits is None:
                    raise AudioError(f"{self._name}: its samples reach {highest:.3g}, where -1 to 1 is full scale; convert it again")
        return samples if self.bits is None else np.asarray(samples / (1 << (self.bits - 1)), dtype=np.float32)


class Converter:
    """Keeps what a resampler needs from one piece to the next.

    Args:
        rate: of what comes out, in samples per second.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._from: int | None = None
        self._stream: soxr.ResampleStream | None = None

    def samples(self, mono: Samples, rate: int) -> Samples:
        """The next mono samples, taken at ``rate``; the resampler holds some of them back."""
        rest = np.zeros(0, np.float32)
        if rate != self._from:
            rest = self.rest()
            self._from, self._stream = rate, None if rate == self.rate else soxr.ResampleStream(rate, self.rate, 1, dtype="float32")
        own = mono if self._stream is None else self._stream.resample_chunk(np.ascontiguousarray(mono))
        return np.concatenate([rest, own]) if len(rest) else np.asarray(own, dtype=np.float32)

    def rest(self) -> Samples:
        """What the resampler still holds."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        held = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._from, self._stream = None, None
        return np.asarray(held, dtype=np.float32)
