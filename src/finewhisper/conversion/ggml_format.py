"""The file of whisper.cpp, read and written.

All numbers are little-endian::

    u32 "ggml" · 11 × i32 measures and type (``Header``)
    i32 n_mels · i32 n_fft / 2 + 1 · f32 mel filters
    i32 n · n × { u32 length · bytes of a token }              tokens of text only; whisper.cpp names the others itself
    { i32 dimensions · i32 length · i32 type · dimensions, last first · name · data }   until the end

The names are OpenAI's. Source: ``whisper_model_load`` of whisper.cpp 1.8 and its ``models/convert-pt-to-ggml.py``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from finewhisper.conversion import ggml_blocks
from finewhisper.conversion.ggml_blocks import BLOCK, BLOCK_TYPES
from finewhisper.conversion.openai import Dimensions
from finewhisper.errors import ModelError
from finewhisper.features import mel_filters

Float32 = npt.NDArray[np.float32]

_MAGIC = 0x67676D6C
#: ``enum ggml_ftype``: what most of a file is stored as.
FILE_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9}
#: ``enum ggml_type``: what one tensor is stored as.
_TENSOR_TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8}
_FILE_TYPE_NAMES = {number: name for name, number in FILE_TYPES.items()}
_TENSOR_TYPE_NAMES = {number: name for name, number in _TENSOR_TYPES.items()}
#: Quantised files say since when their blocks look as they do: type + 1000 · version.
_QUANTIZATION_VERSION, _VERSION_FACTOR = 2, 1000
#: The order of the measures in the head.
_MEASURES = (
    "n_vocab", "n_audio_ctx", "n_audio_state", "n_audio_head", "n_audio_layer",
    "n_text_ctx", "n_text_state", "n_text_head", "n_text_layer", "n_mels",
)  # fmt: skip
_BIAS_COLUMNS = ("encoder.conv1.bias", "encoder.conv2.bias")  # whisper.cpp wants these as columns


def tensor_type(original: str, dimensions: int, file_type: str) -> str:
    """What a tensor is stored as in a file of ``file_type``: whisper.cpp derives it from the name, so there is no choice."""
    if dimensions == 1 or original.endswith("positional_embedding"):
        return "f32"
    if dimensions == 2 or file_type in ("f32", "f16"):
        return file_type
    return "f16"  # convolutions


class Writer:
    """Writes a file front to back."""

    def __init__(self, stream: BinaryIO, dimensions: Dimensions, file_type: str, tokens: Sequence[bytes]) -> None:
        self._stream, self._type = stream, file_type
        number = FILE_TYPES[file_type] + (_QUANTIZATION_VERSION * _VERSION_FACTOR if file_type in BLOCK_TYPES else 0)
        self._numbers(_MAGIC, *(getattr(dimensions, name) for name in _MEASURES), number)
        filters = mel_filters(dimensions.n_mels)
        self._numbers(*filters.shape)
        stream.write(filters.astype("<f4").tobytes())
        self._numbers(len(tokens))
        for token in tokens:
            self._numbers(len(token))
            stream.write(token)

    def add(self, original: str, values: Float32) -> None:
        """Append one tensor in the type that the file's type asks for."""
        stored = tensor_type(original, values.ndim, self._type)
        if stored in BLOCK_TYPES:  # as whisper.cpp's quantize does it, which starts from 16 bits
            data = ggml_blocks.quantize(values.astype(np.float16).astype(np.float32), BLOCK_TYPES[stored]).tobytes()
        else:
            data = values.astype("<f4" if stored == "f32" else "<f2").tobytes()
        shape = (*values.shape, 1) if original in _BIAS_COLUMNS else values.shape
        name = original.encode()
        self._numbers(len(shape), len(name), _TENSOR_TYPES[stored], *reversed(shape))
        self._stream.write(name)
        self._stream.write(data)

    def _numbers(self, *values: int) -> None:
        self._stream.write(struct.pack(f"<{len(values)}i", *values))


@dataclass(frozen=True)
class _Stored:
    type: str
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8]


class GgmlFile:
    """A file mapped into memory; a tensor costs nothing until it is asked for.

    Attributes:
        dimensions: the network's measures.
        stored: what its matrices are stored as, such as ``f16`` or ``q5_0``.
        tokens: the tokens of text in the order of their ids.
    """

    def __init__(self, path: Path) -> None:
        """Read the head and find the tensors.

        Raises:
            ModelError: the file is cut short, damaged, of an unknown type, or not a Whisper model.
        """
        self._path = path
        try:
            stream = _Stream(np.memmap(path, dtype=np.uint8, mode="r"))
            if stream.number() != _MAGIC:
                raise ValueError("it does not begin as a ggml file does")
            measures = stream.numbers(len(_MEASURES))
            self.dimensions = Dimensions(**dict(zip(_MEASURES, measures, strict=True)))
            self.stored = _FILE_TYPE_NAMES[stream.number() % _VERSION_FACTOR]
            stream.take(4 * math.prod(stream.numbers(2)))
            self.tokens = [stream.take(stream.number()).tobytes() for _ in range(stream.number())]
            self._tensors = dict(_tensors(stream))
        except (ValueError, struct.error) as error:
            raise ModelError(f"{path}: is not a whole ggml model ({error}); download or convert it again") from error
        except KeyError as error:
            known = ", ".join(FILE_TYPES)
            raise ModelError(f"{path}: is stored in ggml's type number {error}; only {known} can be read, quantise it again") from error
        self.dimensions.check(path)

    def __getitem__(self, original: str) -> Float32:
        """The tensor of OpenAI's name ``original``, as float32, dequantised where it is quantised. Raises: ModelError."""
        if original not in self._tensors:
            raise ModelError(f"{self._path}: has no {original}; it is not a whole Whisper model, download or convert it again")
        stored = self._tensors[original]
        shape = stored.shape[:1] if original in _BIAS_COLUMNS else stored.shape
        if stored.type in BLOCK_TYPES:
            block = BLOCK_TYPES[stored.type]
            return ggml_blocks.dequantize(stored.data.reshape(-1, block.size), block).reshape(shape)
        return stored.data.view("<f4" if stored.type == "f32" else "<f2").astype(np.float32).reshape(shape)


def _tensors(stream: _Stream) -> Iterator[tuple[str, _Stored]]:
    while stream.left:
        dimensions, length, number = stream.numbers(3)
        shape = stream.numbers(dimensions)[::-1]
        name, kind = stream.take(length).tobytes().decode("utf-8"), _TENSOR_TYPE_NAMES[number]
        weights = math.prod(shape)
        size = weights // BLOCK * BLOCK_TYPES[kind].size if kind in BLOCK_TYPES else weights * (4 if kind == "f32" else 2)
        yield name, _Stored(kind, shape, stream.take(size))


class _Stream:
    """Takes values off the front of a buffer."""

    def __init__(self, content: npt.NDArray[np.uint8]) -> None:
        self._content, self._position = content, 0

    @property
    def left(self) -> int:
        return len(self._content) - self._position

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        if not 0 <= size <= self.left:
            raise ValueError(f"{size} bytes were promised at byte {self._position}, {self.left} are left")
        self._position += size
        return self._content[self._position - size : self._position]

    def number(self) -> int:
        return self.numbers(1)[0]

    def numbers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.take(4 * count).tobytes())
