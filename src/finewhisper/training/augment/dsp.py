"""What augmentation does to sound: pure functions over 16 kHz mono waveforms, every value given.

Each is a few lines over numpy and soxr; libraries that offer more bring numba and scikit-learn and draw from global random state.
"""

from __future__ import annotations

import numpy as np
import soxr

from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform

_AUDIBLE = 1e-6  # share of a room's energy that its last part may hold unheard: 60 dB down, where RT60 ends


def change_speed(waveform: Waveform, factor: float) -> Waveform:
    """Play faster (above 1) or slower, the pitch with it, as in Ko et al. 2015, "Audio augmentation for speech recognition".

    What was heard at ``t`` seconds is then heard at ``t / factor``; (samples,) to (round(samples / factor),).
    """
    return _fit(soxr.resample(waveform, SAMPLE_RATE * factor, SAMPLE_RATE), round(len(waveform) / factor))


def delay(waveform: Waveform, silence_s: Seconds) -> Waveform:
    """Put silence before the sound."""
    return np.concatenate([np.zeros(round(silence_s * SAMPLE_RATE), dtype=np.float32), waveform])


def limit_band(waveform: Waveform, rate_hz: int) -> Waveform:
    """What is left after a line or a codec of a lower sampling rate: nothing above half of it."""
    return _fit(soxr.resample(soxr.resample(waveform, SAMPLE_RATE, rate_hz), rate_hz, SAMPLE_RATE), len(waveform))


def amplify(waveform: Waveform, gain_db: float) -> Waveform:
    """Louder or, below 0, quieter."""
    return _scaled(waveform, 10 ** (gain_db / 20))


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float, speech_power: float) -> Waveform:
    """Add as much of ``noise`` (as long as the waveform) as lets speech of ``speech_power`` stand ``snr_db`` above it."""
    return waveform + _scaled(noise, np.sqrt(speech_power / power(noise) / 10 ** (snr_db / 10)))


def reverberate(waveform: Waveform, response: Waveform) -> Waveform:
    """Let a room answer, given its impulse response from :func:`direct_path`; as long and as loud as before.

    The sound stays in its place because the response begins with the direct path; what rings on after the clip's end is left out.
    """
    size = _fft_size(len(waveform) + len(response) - 1)
    wet = np.fft.irfft(np.fft.rfft(waveform, size) * np.fft.rfft(response, size), size)[: len(waveform)].astype(np.float32)
    return _scaled(wet, np.sqrt(power(waveform) / max(power(wet), np.finfo(np.float32).tiny)))


def direct_path(response: Waveform) -> Waveform:
    """An impulse response from its peak, the direct path, to where its echoes are 60 dB down."""
    response = response[np.argmax(np.abs(response)) :]
    left = np.cumsum(response[::-1].astype(np.float64) ** 2)[::-1]  # Schroeder's backward integration, 1965
    return response[: max(np.count_nonzero(left > _AUDIBLE * left[0]), 1)]


def power(waveform: Waveform) -> float:
    """Mean square."""
    return float(np.dot(waveform, waveform)) / max(len(waveform), 1)


def peak(waveform: Waveform) -> float:
    """The largest magnitude; 1 is full scale."""
    return float(np.abs(waveform).max(initial=0.0))


def _scaled(waveform: Waveform, gain: float) -> Waveform:
    return np.multiply(waveform, gain, dtype=np.float32)


def _fit(waveform: Waveform, samples: int) -> Waveform:
    """Make up for a resampler's rounding by a sample."""
    return np.pad(waveform[:samples], (0, max(samples - len(waveform), 0))).astype(np.float32, copy=False)


def _fft_size(samples: int) -> int:
    """At least ``samples``, and 4, 5, 6, 7 or 8 times a power of two, which is quick to transform."""
    step = 1 << max(samples.bit_length() - 3, 0)
    return -(-samples // step) * step
