"""ggml's block types in numpy: 32 weights share a scale, and in the types ending in ``_1`` a smallest value.

The bytes are those that ``ggml_quantize_chunk`` writes (a test compares them), so a file of ours equals one of whisper.cpp's
``quantize``. Source of the layouts: ``ggml-common.h`` and ``ggml-quants.c`` of ggml::

    q8_0  f16 scale · 32 × i8
    q5_0  f16 scale · 32 fifth bits · 16 × two low nibbles
    q5_1  f16 scale · f16 minimum · 32 fifth bits · 16 × two low nibbles
    q4_0  f16 scale · 16 × two nibbles
    q4_1  f16 scale · f16 minimum · 16 × two nibbles
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

#: Weights in a block; rows of a quantised matrix are a multiple of it.
BLOCK = 32


@dataclass(frozen=True)
class BlockType:
    """One way to store blocks."""

    bits: int  #: of a stored weight: 4, 5 or 8
    minimum: bool = False  #: whether blocks have a smallest value, and weights count up from it

    @property
    def size(self) -> int:
        """Bytes of a block."""
        return 2 + 2 * self.minimum + BLOCK * self.bits // 8

    @property
    def zero(self) -> int:
        """The stored number that stands for zero (or for the minimum)."""
        return 0 if self.minimum or self.bits == 8 else 1 << (self.bits - 1)


BLOCK_TYPES = {"q8_0": BlockType(8), "q5_0": BlockType(5), "q5_1": BlockType(5, True), "q4_0": BlockType(4), "q4_1": BlockType(4, True)}


def quantize(values: Float32, block: BlockType) -> Bytes:
    """Rows of weights to (blocks, bytes of a block); the last dimension is a multiple of 32."""
    weights = values.reshape(-1, BLOCK).astype(np.float32)
    if block.bits == 8:
        scale = np.abs(weights).max(axis=1) / np.float32(127)
        scaled = weights * _inverse(scale)[:, None]
        numbers = np.copysign(np.floor(np.abs(scaled) + np.float32(0.5)), scaled).astype(np.int8)  # half away from zero, as C's roundf
        return np.concatenate([_half(scale), numbers.view(np.uint8)], axis=1)
    highest = (1 << block.bits) - 1
    if block.minimum:
        least = weights.min(axis=1)
        scale = (weights.max(axis=1) - least) / np.float32(highest)
        scaled = (weights - least[:, None]) * _inverse(scale)[:, None] + np.float32(0.5)
        head = [_half(scale), _half(least)]
    else:
        extreme = weights[np.arange(len(weights)), np.abs(weights).argmax(axis=1)]  # with its sign: it is stored exactly
        scale = extreme / np.float32(-block.zero)
        scaled = weights * _inverse(scale)[:, None] + np.float32(block.zero + 0.5)
        head = [_half(scale)]
    numbers = np.minimum(highest, scaled.astype(np.int8)).astype(np.uint8)
    fifth = [np.packbits(numbers >> 4, axis=1, bitorder="little")] if block.bits == 5 else []
    low = numbers & 15
    return np.concatenate([*head, *fifth, low[:, : BLOCK // 2] | (low[:, BLOCK // 2 :] << 4)], axis=1)


def dequantize(stored: Bytes, block: BlockType) -> Float32:
    """(blocks, bytes of a block) to (blocks, 32)."""
    scale, rest = _floats(stored[:, :2]), stored[:, 2:]
    least = None
    if block.minimum:
        least, rest = _floats(rest[:, :2]), rest[:, 2:]
    if block.bits == 8:
        return np.asarray(scale * rest.view(np.int8), dtype=np.float32)
    nibbles = rest[:, -BLOCK // 2 :]
    numbers = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.int8)
    if block.bits == 5:
        numbers |= (np.unpackbits(rest[:, :4], axis=1, bitorder="little") << 4).astype(np.int8)
    values = np.asarray(scale * (numbers - np.int8(block.zero)), dtype=np.float32)
    return values if least is None else values + least


def _inverse(scale: Float32) -> Float32:
    """1 / scale, and 0 for a block of equal weights."""
    inverse: Float32 = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    return inverse


def _half(values: Float32) -> Bytes:
    return values.astype("<f2")[:, None].view(np.uint8)


def _floats(stored: Bytes) -> Float32:
    return np.ascontiguousarray(stored).view("<f2").astype(np.float32)
