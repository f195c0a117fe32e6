"""The weights of a transformers folder by name, as numpy arrays, without torch.

Format: u64 length, that much JSON with type, shape and place of each tensor, then the data (safetensors, "Format"). The library's own
numpy reader knows no bfloat16, and its writer wants all tensors at once.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from finewhisper import progress
from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder

Float32 = npt.NDArray[np.float32]
Precision = Literal["float32", "float16"]

_WRITTEN: dict[Precision, str] = {"float32": "F32", "float16": "F16"}
_READ = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # numpy has no bfloat16: it is the upper half of a float32


@dataclass(frozen=True)
class _Place:
    type: str
    shape: tuple[int, ...]
    data: npt.NDArray[np.uint8]


class Tensors:
    """Reads one tensor at a time, so that a large model never lies in memory twice.

    Raises:
        ModelError: a weights file is damaged.
    """

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder
        self._places: dict[str, _Place] = {}
        for path in folder.weight_files():
            try:
                self._places.update(_places(np.memmap(path, dtype=np.uint8, mode="r")))
            except (ValueError, TypeError, KeyError, struct.error) as error:
                raise ModelError(f"{path}: is cut short or damaged ({error}); download or convert the model again") from error

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> Float32:
        """The tensor ``name`` as float32, whatever it is stored as. Raises: ModelError."""
        place = self._place(name)
        if place.type not in _READ:
            raise ModelError(f"{self._folder.path}: {name} is stored as {place.type}, which is no type of weights; save the model again")
        stored = place.data.view(_READ[place.type]).reshape(place.shape)
        if place.type == "BF16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        return stored.astype(np.float32)

    def shape(self, name: str) -> tuple[int, ...]:
        """The dimensions of ``name``. Raises: ModelError."""
        return self._place(name).shape

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            raise ModelError(f"{self._folder.path}: the weights have no {name}; download or convert the model again")
        return self._places[name]


def _places(content: npt.NDArray[np.uint8]) -> dict[str, _Place]:
    start = 8 + struct.unpack("<Q", content[:8].tobytes())[0]
    header = json.loads(content[8:start].tobytes())
    header.pop("__metadata__", None)
    if start + max((entry["data_offsets"][1] for entry in header.values()), default=0) != len(content):
        raise ValueError("its size is not what its head says")
    data = content[start:]
    return {name: _Place(entry["dtype"], tuple(entry["shape"]), data[slice(*entry["data_offsets"])]) for name, entry in header.items()}


@dataclass(frozen=True)
class Written:
    """A tensor to write; its values are made when it is written."""

    name: str
    shape: tuple[int, ...]
    values: Callable[[], Float32]


def write(path: Path, tensors: Iterable[Written], precision: Precision) -> None:
    """Write a safetensors file that transformers reads, with no more memory than the largest matrix needs."""
    tensors = list(tensors)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for tensor in tensors:
        end = offset + math.prod(tensor.shape) * np.dtype(precision).itemsize
        header[tensor.name] = {"dtype": _WRITTEN[precision], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as stream, progress.bar("weights", offset, "B") as done:
        stream.write(struct.pack("<Q", len(encoded)) + encoded)
        for tensor in tensors:
            done.update(stream.write(np.ascontiguousarray(tensor.values(), dtype=precision).data.cast("B")))
