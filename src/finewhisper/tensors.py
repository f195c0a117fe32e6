"""The weights of a transformers folder by name, as numpy arrays, without torch.

The format is described at :func:`finewhisper.model_numbers.safetensors_header`. Its own library's numpy reader knows no bfloat16, and its
writer wants all tensors at once.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from finewhisper import progress
from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.model_numbers import Stored

Float32 = npt.NDArray[np.float32]
Precision = Literal["float32", "float16"]

#: What safetensors calls a precision.
STORED: dict[Precision, str] = {"float32": "F32", "float16": "F16"}
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy has no bfloat16: it is the upper half of a float32
#: The types that can be written, the widest first, as the format's own library sorts them.
_WRITTEN = ("F32", "BF16", "F16")


EMBEDDING, OUTPUT = "model.decoder.embed_tokens.weight", "proj_out.weight"


class Tensors:
    """Reads one tensor at a time, so that a large model never lies in memory twice.

    Raises:
        ModelError: a weights file is damaged.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._places = {name: (path, stored) for path, held in folder.tensors.items() for name, stored in held.items()}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> Float32:
        """The tensor ``name`` as float32, whatever it is stored as. Raises: ModelError."""
        path, stored = self._place(name)
        if stored.type not in _NUMPY:
            raise ModelError(f"{self._folder.path}: {name} is stored as {stored.type}, which is no type of weights; save the model again")
        values = np.fromfile(path, _NUMPY[stored.type], math.prod(stored.shape), offset=stored.begin)  # not mapped: it may be cut meanwhile
        if values.size != math.prod(stored.shape):
            raise ModelError(f"{path}: was cut short while it was read; download or convert the model again")
        values = values.reshape(stored.shape)
        return (values.astype(np.uint32) << 16).view(np.float32) if stored.type == "BF16" else values.astype(np.float32, copy=False)

    def shape(self, name: str) -> tuple[int, ...]:
        """The dimensions of ``name``. Raises: ModelError."""
        return self._place(name)[1].shape

    def stored(self, name: str) -> str:
        """What safetensors calls the type of ``name``. Raises: ModelError."""
        return self._place(name)[1].type

    def _place(self, name: str) -> tuple[Path, Stored]:
        if name not in self._places:
            raise ModelError(f"{self._folder.path}: the weights have no {name}; download or convert the model again")
        return self._places[name]


def has_own_output(tensors: Tensors, config: Mapping[str, Any]) -> bool:
    """Whether the output matrix is another than the token embedding: two that differ are two, whatever ``config.json`` says.

    So transformers 5 decides it.
    """
    if OUTPUT not in tensors:
        return False
    return config.get("tie_word_embeddings", True) is False or not np.array_equal(tensors[OUTPUT], tensors[EMBEDDING])


@dataclass(frozen=True)
class Written:
    """A tensor to write; its values are made when it is written."""

    name: str
    shape: tuple[int, ...]
    values: Callable[[], Float32]
    type: str = "F32"  #: F32, F16 or BF16


def in_library_order(tensors: Iterable[Written]) -> list[Written]:
    """The order in which the format's own library writes: with it :func:`write` makes the same file, byte for byte."""
    return sorted(tensors, key=lambda tensor: (_WRITTEN.index(tensor.type), tensor.name))


def write(path: Path, tensors: Iterable[Written]) -> None:
    """Write a safetensors file that transformers reads, in the order given, with no more memory than one tensor needs.

    Raises:
        ModelError: a value is larger than float16 has.
    """
    tensors = list(tensors)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + math.prod(tensor.shape) * np.dtype(_NUMPY[tensor.type]).itemsize
        header[tensor.name] = {"dtype": tensor.type, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as stream, progress.bar("weights", offset, "B") as done:
        stream.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors:
            values = np.ascontiguousarray(_encoded(tensor))
            done.update(stream.write(values.data.cast("B")) if values.size else 0)


def _encoded(tensor: Written) -> npt.NDArray[Any]:
    values = tensor.values()
    if values.shape != tensor.shape:
        raise ValueError(f"{tensor.name} was announced as {tensor.shape} and is {values.shape}")
    if tensor.type == "BF16":
        return _upper_halves(values)
    try:
        with np.errstate(over="raise"):
            return values.astype(_NUMPY[tensor.type], copy=False)
    except FloatingPointError:
        most = float(np.abs(values).max())
        raise ModelError(f"{tensor.name} holds {most:g}, more than float16 can; write the model in float32") from None


def _upper_halves(values: Float32) -> npt.NDArray[np.uint16]:
    """Rounded to the nearest bfloat16, ties to the even one, as IEEE 754 has it."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
