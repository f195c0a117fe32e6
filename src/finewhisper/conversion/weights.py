"""Every weight of a transformers folder against the same weight of another kind, without running either.

Audio that nobody speaks in does not exercise a decoder, so this is what proves the whole of a copy; running it proves that engines
read it alike.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from finewhisper import progress
from finewhisper.conversion import ct2_format, from_openai, openai, to_transformers
from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.tensors import Float32, Tensors


def largest_error(transformers: ModelFolder, other: ModelFolder) -> float:
    """The largest difference between two weights, relative to the largest of the matrix that the other kind keeps them in.

    That is the scale of int16; query, key and value are one matrix in CTranslate2.

    Raises:
        ModelError: one of the folders lacks a tensor, or has it in another shape.
    """
    ours = Tensors(transformers)
    pairs = _onnx(ours, other) if other.kind == "onnx" else _ctranslate2(other) if other.kind == "ctranslate2" else _openai(other)
    worst = 0.0
    for name, theirs, scale in pairs:
        values = ours[name]
        if values.shape != theirs.shape:
            raise ModelError(f"{transformers.path}: {name} has shape {values.shape}, in {other.path} it has {theirs.shape}")
        error = float(np.abs(values - theirs).max()) / (scale or 1.0)
        worst = max(worst, error) if np.isfinite(error) else float("inf")
    return worst


def _ctranslate2(folder: ModelFolder) -> Iterator[tuple[str, Float32, float]]:
    """Name in transformers, values, and the largest of the matrix they are stored in."""
    variables = ct2_format.read(folder.path / "model.bin")
    layout = to_transformers.layout(variables)
    for tensor in progress.track(layout, "verify weights", len(layout), "tensor"):
        yield tensor.name, tensor.values(variables), float(np.abs(variables.float32(tensor.source)).max())


def _openai(folder: ModelFolder) -> Iterator[tuple[str, Float32, float]]:
    weights = from_openai.read(folder)
    layout = openai.layout(weights.dimensions)
    for tensor in progress.track(layout, "verify weights", len(layout), "tensor"):
        values = from_openai.values(weights, tensor)
        yield tensor.name, values, float(np.abs(values).max())


def _onnx(source: Tensors, folder: ModelFolder) -> Iterator[tuple[str, Float32, float]]:
    """The names of the source: a tensor that the graphs lack is an error, not one that is left out."""
    from finewhisper.conversion.onnx_weights import Initializers

    stored = Initializers(folder)
    names = [name for name in source if name in stored or name != "proj_out.weight"]  # tied to the embedding and stored all the same
    for name in progress.track(names, "verify weights", len(names), "tensor"):
        values = stored[name]
        yield name, values, float(np.abs(values).max())
