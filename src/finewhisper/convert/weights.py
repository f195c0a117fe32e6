"""Every weight of a transformers folder against the same weight of a CTranslate2 folder, without running either.

Audio that nobody speaks in does not exercise a decoder, so this is what proves the whole of a copy; running it proves that engines
read it alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from finewhisper import progress
from finewhisper.convert import ct2_format, to_transformers
from finewhisper.convert.ct2_format import Float32
from finewhisper.errors import MissingExtraError, ModelError
from finewhisper.model import ModelFolder


class _Safetensors:
    """The tensors of a transformers folder by name, as float32 whatever they are stored as."""

    def __init__(self, folder: ModelFolder) -> None:
        try:
            import torch  # noqa: F401 - numpy has no bfloat16, so torch reads the file
        except ImportError as error:
            raise MissingExtraError("torch", "train") from error
        from safetensors import safe_open

        self._folder = folder
        files: list[Any] = [safe_open(path, framework="pt") for path in folder.weight_files()]
        self._holder = {name: file for file in files for name in file.keys()}  # noqa: SIM118 - not a dictionary

    def __getitem__(self, name: str) -> Float32:
        if name not in self._holder:
            raise ModelError(f"{self._folder.path}: the weights have no {name}; download or convert the model again")
        values: Float32 = self._holder[name].get_tensor(name).float().numpy()
        return values


def largest_error(transformers: ModelFolder, ctranslate2: ModelFolder) -> float:
    """The largest difference between two weights, relative to the largest of the matrix that CTranslate2 keeps them in.

    That is the scale of int16; query, key and value are one matrix there.

    Raises:
        ModelError: one of the folders lacks a tensor, or has it in another shape.
    """
    variables = ct2_format.read(ctranslate2.path / "model.bin")
    tensors = _Safetensors(transformers)
    layout = to_transformers.layout(variables)
    worst = 0.0
    for tensor in progress.track(layout, "verify weights", len(layout), "tensor"):
        ours, theirs = tensors[tensor.name], tensor.values(variables)
        if ours.shape != theirs.shape:
            raise ModelError(f"{transformers.path}: {tensor.name} has shape {ours.shape}, in {ctranslate2.path} it has {theirs.shape}")
        scale = float(np.abs(variables.float32(tensor.source)).max()) or 1.0
        error = float(np.abs(ours - theirs).max()) / scale
        worst = max(worst, error) if np.isfinite(error) else float("inf")
    return worst
