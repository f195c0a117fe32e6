"""The arithmetic that a Whisper asks for, counted from shapes: a multiplication with its addition is two operations.

Counted are the matrix products and convolutions, over padding too, since the device computes it; the spectrogram, norms, softmax and the
optimizer are left out (under one percent for real shapes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from shapes import Shape


@dataclass(frozen=True)
class Work:
    """One batch: its windows, the log-mel frames of each, the decoder's tokens of each, the positions projected to the vocabulary, and the
    blocks of condensed silence that follow each window.
    """

    windows: int
    frames: int
    tokens: int
    projected: int
    blocks: int = 0

    @property
    def convolved(self) -> int:
        """Positions that the second convolution makes of the frames."""
        return self.frames // 2

    @property
    def positions(self) -> int:
        """Positions that the encoder's layers work on."""
        return self.convolved + self.blocks


@dataclass(frozen=True)
class Learning:
    """What learns: adapters of ``rank`` on every linear layer, or with rank 0 every weight."""

    rank: int
    checkpointing: bool


def forward(shape: Shape, work: Work) -> int:
    """Encoder, decoder and projection, without adapters."""
    linear = sum(2 * count * inner * outer for count, inner, outer in _linears(shape, work))
    return _convolutions(shape, work) + linear + _attention(shape, work) + _projection(shape, work)


def training(shape: Shape, work: Work, learning: Learning) -> int:
    """Forward and backward of one batch, as work done by the device.

    Backward, a linear layer costs its forward once for the input's gradient and, where it learns, once more for its weight's. A frozen
    base has no such weight gradients, and nothing below the first adapters has any. Attention costs two and a half times its forward,
    because its scores are made again; checkpointing makes every layer's forward again.
    """
    return forward(shape, work) + _backward(shape, work, learning) + _adapters(shape, work, learning) + _again(shape, work, learning)


def _backward(shape: Shape, work: Work, learning: Learning) -> int:
    linear = sum(2 * count * inner * outer for count, inner, outer in _linears(shape, work))
    attention = _attention(shape, work) * 5 // 2
    if learning.rank:
        return linear - _frozen_inputs(shape, work) + attention + _projection(shape, work)
    first, second = _convolution_parts(shape, work)
    return 2 * linear + attention + 2 * _projection(shape, work) + first + 2 * second  # the waveform needs no gradient


def _adapters(shape: Shape, work: Work, learning: Learning) -> int:
    return 3 * sum(2 * count * learning.rank * (inner + outer) for count, inner, outer in _linears(shape, work))


def _again(shape: Shape, work: Work, learning: Learning) -> int:
    if not learning.checkpointing:
        return 0
    linear = sum(2 * count * (inner * outer + learning.rank * (inner + outer)) for count, inner, outer in _linears(shape, work))
    return linear + _attention(shape, work)


def _linears(shape: Shape, work: Work) -> Iterator[tuple[int, int, int]]:
    """Every linear layer but the projection: the positions it is applied to, its inputs and its outputs."""
    width = shape.d_model
    heard, written = work.windows * work.positions, work.windows * work.tokens
    for _ in range(shape.encoder_layers):
        yield from [(heard, width, width)] * 4
        yield from ((heard, width, shape.ffn), (heard, shape.ffn, width))
    for _ in range(shape.decoder_layers):
        yield from [(written, width, width)] * 6  # self-attention's four; query and output of the cross-attention
        yield from [(heard, width, width)] * 2  # its keys and values
        yield from ((written, width, shape.ffn), (written, shape.ffn, width))


def _attention(shape: Shape, work: Work) -> int:
    """Scores and weighted sums; a causal half is counted whole, as others do."""
    heard, written = work.positions, work.tokens
    pairs = shape.encoder_layers * heard * heard + shape.decoder_layers * written * (written + heard)
    return 4 * work.windows * pairs * shape.d_model


def _convolution_parts(shape: Shape, work: Work) -> tuple[int, int]:
    per_position = 2 * 3 * work.windows * shape.d_model
    return per_position * work.frames * shape.n_mels, per_position * work.convolved * shape.d_model


def _convolutions(shape: Shape, work: Work) -> int:
    return sum(_convolution_parts(shape, work))


def _projection(shape: Shape, work: Work) -> int:
    return 2 * work.projected * shape.d_model * shape.vocabulary


def _frozen_inputs(shape: Shape, work: Work) -> int:
    """The first layers' queries, keys and values read what no adapter has touched, so their input needs no gradient."""
    return 3 * 2 * work.windows * (work.positions + work.tokens) * shape.d_model**2


@dataclass(frozen=True)
class Cost:
    """Arithmetic, and bytes that must cross the memory bus, of one stage."""

    flops: float
    bytes: float

    def seconds(self, flops_per_s: float, bytes_per_s: float) -> float:
        """No device does it faster."""
        return max(self.flops / flops_per_s, self.bytes / bytes_per_s)


def encoding(shape: Shape, work: Work, item_bytes: int) -> Cost:
    """Encoder, and the cross-attention's keys and values; every weight is read once."""
    heard = Work(work.windows, work.frames, 0, 0)
    width = shape.d_model
    weights = 3 * width * (shape.n_mels + width) + (12 * shape.encoder_layers + 2 * shape.decoder_layers) * width**2
    return Cost(forward(shape, heard), weights * item_bytes)


def decoding(shape: Shape, work: Work, prompt: int, item_bytes: int) -> Cost:
    """The prompt in one pass and then ``work.tokens`` tokens one by one; each pass reads the decoder's weights, the projection and the
    cached keys and values of the cross-attention.
    """
    width, layers = shape.d_model, shape.decoder_layers
    weights = 14 * layers * width**2 + shape.vocabulary * width  # a layer has 16 width²; 2 of them made the cached keys and values
    cached = 2 * layers * work.windows * work.positions * width
    read = prompt + work.tokens - 1
    per_token = 2 * 14 * layers * width**2 + 4 * layers * work.positions * width
    flops = work.windows * (read * per_token + 4 * layers * width * read * read / 2 + work.tokens * 2 * shape.vocabulary * width)
    return Cost(flops, work.tokens * (weights + cached) * item_bytes)
