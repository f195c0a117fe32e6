"""The file ``model.bin`` of CTranslate2, read without CTranslate2.

All numbers are little-endian; a *string* is a u16 length, that many bytes, the last of them NUL::

    u32 binary version · string specification · u32 revision
    u32 n · n × { string name · u8 rank · rank × u32 dimension · u8 type · u32 bytes · data }
    u32 n · n × { string alias · string name }

Weights may be quantised: then ``…_scale`` stands beside ``…``, one scale for each row (int8) or one for all (int16), and the value is
the stored integer divided by it. Source: ``ModelSpec._serialize`` and ``LayerSpec._quantize`` of CTranslate2 4.8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.errors import ModelError

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]

_BINARY_VERSION = 6
_SPECIFICATION, _REVISION = "WhisperSpec", 3
#: By type number. numpy has no bfloat16: its 16 bits are the upper half of a float32, see :func:`_as_float32`.
_TYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")
_NUMPY = {name: np.dtype("<u2" if name == "bfloat16" else name) for name in _TYPES}


@dataclass(frozen=True)
class Variable:
    """One entry of the file; ``data`` is a view into it and costs no memory until it is used."""

    type: str  #: one of float32, int8, int16, int32, float16, bfloat16
    data: Array


class Variables:
    """The named arrays of a Whisper model, as float32 whatever they are stored as."""

    def __init__(self, variables: dict[str, Variable], aliases: dict[str, str], path: Path) -> None:
        self._variables, self._aliases, self._path = variables, aliases, path

    def __contains__(self, name: str) -> bool:
        return self._aliases.get(name, name) in self._variables

    def float32(self, name: str) -> Float32:
        """The array ``name``, dequantised where it is quantised.

        Raises:
            ModelError: the file has no such array.
        """
        stored, scale = self._get(name), self._variables.get(f"{self._aliases.get(name, name)}_scale")
        values = _as_float32(stored)
        if scale is None:
            return values
        return np.asarray(values / scale.data.reshape(scale.data.shape + (1,) * (values.ndim - scale.data.ndim)), dtype=np.float32)

    def integer(self, name: str) -> int:
        """The single number ``name``. Raises: ModelError."""
        return int(self._get(name).data.item())

    def shape(self, name: str) -> tuple[int, ...]:
        """The dimensions of ``name``. Raises: ModelError."""
        return self._get(name).data.shape

    def same(self, first: str, second: str) -> bool:
        """Whether two names are one array."""
        return self._aliases.get(first, first) == self._aliases.get(second, second)

    def layers(self, side: str) -> int:
        """How many layers ``encoder`` or ``decoder`` has."""
        return len(
            {name.split("/")[1] for name in self._variables if name.startswith(f"{side}/layer_") and name.split("/")[1] != "layer_norm"}
        )

    @property
    def types(self) -> list[str]:
        """The types that the matrices are stored in, for messages."""
        return sorted({variable.type for variable in self._variables.values() if variable.data.ndim > 1})

    def _get(self, name: str) -> Variable:
        try:
            return self._variables[self._aliases.get(name, name)]
        except KeyError:
            raise ModelError(f"{self._path}: has no {name}; it is not a whole Whisper model, download or convert it again") from None


def read(path: Path) -> Variables:
    """Map ``model.bin`` into memory.

    Raises:
        ModelError: it is cut short, damaged, of another version, or not a Whisper model.
    """
    try:
        stream = _Stream(np.memmap(path, dtype=np.uint8, mode="r"))
        version = stream.number("I")
        if version != _BINARY_VERSION:
            raise ModelError(
                f"{path}: is CTranslate2 binary version {version}, but only {_BINARY_VERSION} (CTranslate2 3 and 4) can be read; "
                "convert the original model again"
            )
        specification, revision = stream.text(), stream.number("I")
        if (specification, revision) != (_SPECIFICATION, _REVISION):
            raise ModelError(f"{path}: holds {specification} revision {revision}, not {_SPECIFICATION} revision {_REVISION}")
        variables = {stream.text(): stream.variable() for _ in range(stream.number("I"))}
        aliases = {stream.text(): stream.text() for _ in range(stream.number("I"))}
        if stream.left:
            raise ValueError(f"{stream.left} bytes too many")
    except (ValueError, IndexError, struct.error) as error:
        raise ModelError(f"{path}: is cut short or damaged ({error}); download or convert it again") from error
    return Variables(variables, aliases, path)


class _Stream:
    """Takes values off the front of a buffer."""

    def __init__(self, content: npt.NDArray[np.uint8]) -> None:
        self.content, self.position = content, 0

    @property
    def left(self) -> int:
        return len(self.content) - self.position

    def take(self, size: int) -> npt.NDArray[np.uint8]:
        if size > self.left:
            raise ValueError(f"{size} bytes were promised at byte {self.position}, {self.left} are left")
        self.position += size
        return self.content[self.position - size : self.position]

    def number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)).tobytes())[0])

    def text(self) -> str:
        return self.take(self.number("H")).tobytes()[:-1].decode("utf-8")

    def variable(self) -> Variable:
        shape = tuple(self.number("I") for _ in range(self.number("B")))
        name = _TYPES[self.number("B")]
        return Variable(name, self.take(self.number("I")).view(_NUMPY[name]).reshape(shape))


def _as_float32(variable: Variable) -> Float32:
    if variable.type == "bfloat16":
        return (variable.data.astype(np.uint32) << 16).view(np.float32)
    return variable.data.astype(np.float32)
