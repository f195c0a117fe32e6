"""The weights of an ONNX folder by their names in ``model.safetensors``, as float32 in the shapes they have there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.tensors import Float32

#: Matrices that are looked up and never multiplied with, so that they lie as they are.
_POSITIONS = "embed_positions.weight"


class Initializers:
    """Raises: ModelError: a graph is damaged."""

    def __init__(self, folder: ModelFolder) -> None:
        self._folder = folder.path
        self._stored: dict[str, tuple[onnx.TensorProto, Path]] = {}
        for path in (path for path in folder.stored_weights() if path.suffix == ".onnx"):
            try:
                graph = onnx.load(path, load_external_data=False).graph
            except Exception as error:  # protobuf's errors depend on its implementation
                raise ModelError(f"{path}: cannot be read ({error}); convert the model again") from error
            self._stored |= {initializer.name: (initializer, path.parent) for initializer in graph.initializer}

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __getitem__(self, name: str) -> Float32:
        """The tensor ``name``, dequantised and turned back. Raises: ModelError."""
        if name not in self._stored:
            raise ModelError(f"{self._folder}: no graph has {name}; convert the model again")
        values = self._values(name)
        if values.dtype == np.int8:
            values = values.astype(np.float32) * self._values(f"{name}_scale")
        values = values.astype(np.float32)
        return values.T if values.ndim == 2 and not name.endswith(_POSITIONS) else values

    def _values(self, name: str) -> Float32:
        stored, folder = self._stored[name]
        values: Float32 = numpy_helper.to_array(stored, base_dir=str(folder))
        return values
