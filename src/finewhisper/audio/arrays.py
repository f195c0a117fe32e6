"""Samples that a program already holds, of any integer or floating-point type, channels and rate, as 16 kHz mono."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.audio.constants import SAMPLE_RATE, Waveform
from finewhisper.errors import AudioError
from finewhisper.resampling import Converter, FloatScale, Mixer, Samples, are_numbers

Array = Any  #: a numpy array or anything that numpy can read as one: a list, a torch tensor on the CPU

#: Full scale of integer samples: subtracted, then divided by. Of int64 nobody can tell what was meant.
_FULL_SCALE = {"int8": (0, 1 << 7), "uint8": (1 << 7, 1 << 7), "int16": (0, 1 << 15), "int32": (0, 1 << 31)}
#: More channels than this are taken for samples.
_MOST_CHANNELS = 32
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 768_000  # samples per second


class SampleStream:
    """Pieces of one recording, in order: what a resampler keeps from one piece to the next is kept.

    Args:
        sample_rate: of the pieces, in samples per second.

    Raises:
        AudioError: no recording has that rate.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE) -> None:
        if not _LOWEST_RATE <= sample_rate <= _HIGHEST_RATE:
            raise AudioError(f"sample_rate={sample_rate}: must be {_LOWEST_RATE} to {_HIGHEST_RATE} samples per second")
        self._rate = sample_rate
        self._mixer, self._scale, self._converter = Mixer(name="samples"), FloatScale("samples"), Converter(SAMPLE_RATE)

    def take(self, samples: Array) -> Waveform:
        """The next piece at 16 kHz; the resampler holds a few milliseconds of it back.

        Args:
            samples: shape (samples,), (samples, channels) or (channels, samples); int8, uint8, int16 and int32 are scaled by their range,
                and floats are taken as they are within -1 … 1, or as integers where they are larger.

        Returns:
            float32, shape (samples,), channels averaged.

        Raises:
            AudioError: they are no samples of sound.
        """
        return self._converter.samples(self._mono(_array(samples)), self._rate)

    def rest(self) -> Waveform:
        """What the resampler still holds, after the last piece."""
        return self._converter.rest()

    def _mono(self, found: npt.NDArray[Any]) -> Samples:
        if found.dtype.name in _FULL_SCALE:
            middle, full_scale = _FULL_SCALE[found.dtype.name]
            scaled = ((found.astype(np.float64) - middle) / full_scale).astype(np.float32)
            return self._mixer.columns(scaled) if scaled.ndim == 2 else scaled
        floats = found.astype(np.float32)
        mixed = self._mixer.columns(floats) if floats.ndim == 2 else floats
        if not are_numbers(mixed):
            raise AudioError("samples: some are not numbers (NaN or infinity); look at how they were computed")
        return self._scale(mixed)


def from_array(samples: Array, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """A whole recording as 16 kHz mono, float32, shape (samples,); see :class:`SampleStream`. Raises: AudioError."""
    chunks = SampleStream(sample_rate)
    waveform = np.concatenate([chunks.take(samples), chunks.rest()])
    if not len(waveform):
        raise AudioError("samples: there are none")
    return waveform


def _array(samples: Array) -> npt.NDArray[Any]:
    """Shape (samples,) or (samples, channels). Raises: AudioError."""
    try:
        found = np.asarray(samples)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors that are not on the CPU or need gradients
        raise AudioError(f"samples: numpy cannot read a {type(samples).__name__} as an array ({error}); give an array") from None
    if found.dtype.name not in _FULL_SCALE and found.dtype.kind != "f":
        known = "a floating-point type, int16, int32, int8 or uint8"
        raise AudioError(f"samples: are of type {found.dtype.name}, of which nobody knows the full scale; convert them to {known}")
    if found.ndim == 1:
        return found
    if found.ndim == 2:
        shorter = int(np.argmin(found.shape))
        if min(found.shape) == 1 or (found.shape[0] != found.shape[1] and 0 < found.shape[shorter] <= _MOST_CHANNELS):
            return found if shorter == 1 else found.T
    shape = ", ".join(map(str, found.shape))
    raise AudioError(f"samples: have the shape ({shape}); give (samples,), (channels, samples) or (samples, channels) of one recording")
