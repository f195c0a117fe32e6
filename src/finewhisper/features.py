"""The log-mel spectrogram: one definition, in numpy for inference without torch and in torch for the training device.

Equal to OpenAI's and transformers' to 1e-4 (tests compare on real speech): a 25 ms periodic Hann window every 10 ms, Slaney mel
filters, ``log10`` floored at 8 below the clip's maximum, scaled to about -1 … 1.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finewhisper.audio import FRAMES_PER_SECOND, HOP_LENGTH, N_FFT, SAMPLE_RATE, WINDOW_FRAMES, Seconds, Waveform

if TYPE_CHECKING:
    import torch

LogMel = npt.NDArray[np.float32]  # (n_mels, frames)

#: Frames that are transformed at once: what they need stays in a core's own cache, which is three times as fast as all at once.
_BLOCK_FRAMES = 250

#: Context lengths are multiples of this, so that a run meets few distinct shapes: memory stays flat and kernels are reused.
CONTEXT_STEP_FRAMES = FRAMES_PER_SECOND // 2


def context_frames(duration_s: Seconds, margin_s: Seconds) -> int:
    """The encoder context for a clip: its length and a margin of silence, rounded up to the next step, at most 30 s.

    It depends on the clip alone, never on its neighbours in a batch, so a clip's transcript does not depend on them either.
    """
    frames = math.ceil((duration_s + margin_s) * FRAMES_PER_SECOND / CONTEXT_STEP_FRAMES) * CONTEXT_STEP_FRAMES
    return min(max(frames, CONTEXT_STEP_FRAMES), WINDOW_FRAMES)


def pad_samples(waveform: Waveform, frames: int) -> Waveform:
    """Cut or pad with silence (not with zeros of the spectrogram, which no training clip ever had) to ``frames`` frames."""
    samples = frames * HOP_LENGTH
    return np.pad(waveform[:samples], (0, max(samples - len(waveform), 0)))


def log_mel(waveform: Waveform, n_mels: int) -> LogMel:
    """Shape (samples,) at 16 kHz to (n_mels, samples // 160); ``samples`` a multiple of 160, at least 400."""
    centred = np.pad(np.asarray(waveform, dtype=np.float32), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(centred, N_FFT)[::HOP_LENGTH][:-1]  # (frames, n_fft)
    filters, power = mel_filters(n_mels), np.empty((n_mels, len(frames)), dtype=np.float32)
    for first in range(0, len(frames), _BLOCK_FRAMES):
        spectrum = np.fft.rfft(frames[first : first + _BLOCK_FRAMES] * _hann(), axis=1)  # (block, n_fft / 2 + 1)
        power[:, first : first + _BLOCK_FRAMES] = filters @ (np.square(spectrum.real) + np.square(spectrum.imag)).T
    log = np.log10(np.maximum(power, 1e-10))
    return np.asarray((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0, dtype=np.float32)


def log_mel_torch(waveforms: torch.Tensor, n_mels: int) -> torch.Tensor:
    """Shape (batch, samples) on any device to (batch, n_mels, samples // 160), float32; each clip has its own maximum."""
    import torch

    window, filters = _constants(n_mels, waveforms.device)
    spectrum = torch.stft(waveforms.float(), N_FFT, HOP_LENGTH, window=window, return_complex=True)
    log = torch.clamp(filters @ spectrum[..., :-1].abs() ** 2, min=1e-10).log10()
    return (torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


@lru_cache
def _constants(n_mels: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The window and the mel filters on a device, moved there once: a GPU would wait for them in every step."""
    import torch

    with torch.inference_mode(False):  # whoever asks first, everyone can compute with them
        return torch.hann_window(N_FFT, device=device), torch.from_numpy(mel_filters(n_mels)).to(device)


@lru_cache
def _hann() -> npt.NDArray[np.float32]:
    return np.asarray(
        np.hanning(N_FFT + 1)[:-1], dtype=np.float32
    )  # periodic: the last point of the symmetric window is the next period's first


@lru_cache
def mel_filters(n_mels: int) -> npt.NDArray[np.float32]:
    """Triangles of equal area on Slaney's mel scale (Auditory Toolbox, 1998), shape (n_mels, n_fft / 2 + 1), 0 … 8 kHz."""
    corners = _mel_to_hz(np.linspace(0.0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles * (2.0 / (corners[2:] - corners[:-2]))[:, None], dtype=np.float32)


_LINEAR_HZ_PER_MEL = 200 / 3  # below 1 kHz the scale is linear …
_LOG_START_HZ, _LOG_START_MEL = 1000.0, 15.0
_LOG_STEP = math.log(6.4) / 27.0  # … above it each mel is this much in log-frequency


def _hz_to_mel(hz: float) -> float:
    return hz / _LINEAR_HZ_PER_MEL if hz < _LOG_START_HZ else _LOG_START_MEL + math.log(hz / _LOG_START_HZ) / _LOG_STEP


def _mel_to_hz(mel: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(mel < _LOG_START_MEL, mel * _LINEAR_HZ_PER_MEL, _LOG_START_HZ * np.exp(_LOG_STEP * (mel - _LOG_START_MEL)))
