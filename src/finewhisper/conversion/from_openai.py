"""A ggml file or OpenAI's ``.pt`` as a Hugging Face folder that can be fine-tuned."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from finewhisper import tensors
from finewhisper.conversion import auxiliary_files, openai
from finewhisper.conversion.ggml_blocks import BLOCK_TYPES
from finewhisper.conversion.ggml_format import GgmlFile
from finewhisper.conversion.openai import Checkpoint
from finewhisper.errors import ModelError
from finewhisper.generation import first_suppressed
from finewhisper.model import ModelFolder
from finewhisper.small_files import read_json
from finewhisper.tensors import STORED, Float32, Precision, Written
from finewhisper.tokenizer import from_bytes, official_tokenizer, read_tokenizer
from finewhisper.vocabulary import Vocabulary

Weights = GgmlFile | Checkpoint


def read(source: ModelFolder) -> Weights:
    """The weights of a ggml folder, a ggml file or a checkpoint, under OpenAI's names.

    Raises:
        ModelError: it is damaged, unsafe to load, or not a Whisper.
        MissingExtraError: torch, which reads checkpoints, is not installed.
    """
    path = source.stored_weights()[0]
    return GgmlFile(path) if source.kind == "ggml" else Checkpoint(path)


def write(source: ModelFolder, target: Path, precision: Precision) -> None:
    """Write ``model.safetensors`` and every small file beside it into the existing folder ``target``.

    Raises:
        ModelError: the source is damaged or unsafe, or there is no tokenizer for it.
        MissingExtraError: torch, which reads checkpoints, is not installed.
    """
    weights = read(source)
    vocabulary = Vocabulary(_tokenizer(source, weights))
    config = weights.dimensions.config(vocabulary) | {"dtype": precision}
    layout = openai.layout(weights.dimensions)
    written = [Written(tensor.name, tensor.shape, partial(values, weights, tensor), STORED[precision]) for tensor in layout]
    tensors.write(target / "model.safetensors", written)
    auxiliary_files.write_json(target / "config.json", config)
    auxiliary_files.write(target, vocabulary, config, _decoding(source, vocabulary))


def values(weights: Weights, tensor: openai.Tensor) -> Float32:
    """One tensor, checked. Raises: ModelError: it has another shape than the file's measures ask for."""
    found = weights[tensor.original]
    if found.shape != tensor.shape:
        raise ModelError(f"{tensor.original} has shape {found.shape}, the measures of the model ask for {tensor.shape}; it is damaged")
    return found


def loss(source: ModelFolder) -> dict[str, Any]:
    """For ``finewhisper.json``: what the source's matrices were rounded to, which no conversion brings back."""
    if source.kind not in ("ggml", "openai"):
        return {}
    stored = read(source).stored
    return {"stored": stored, "lossy": stored in BLOCK_TYPES}


def _tokenizer(source: ModelFolder, weights: Weights) -> Tokenizer:
    size = weights.dimensions.n_vocab
    if source.path.is_dir():
        return read_tokenizer(source.files, size)
    if isinstance(weights, GgmlFile):
        return from_bytes(weights.tokens, size, source.path)
    return official_tokenizer(source.path.parent, size)


def _decoding(source: ModelFolder, vocabulary: Vocabulary) -> dict[str, Any]:
    """Which tokens the model must not write and which heads tell times: from the folder, else as OpenAI's decoder has them."""
    path = source.files / "generation_config.json"
    if not path.is_file():
        return {"suppress_ids": auxiliary_files.non_speech_tokens(vocabulary), "suppress_ids_begin": first_suppressed(vocabulary)}
    stored = read_json(path)
    return {
        "alignment_heads": stored.get("alignment_heads"),
        "suppress_ids": stored.get("suppress_tokens"),
        "suppress_ids_begin": stored.get("begin_suppress_tokens"),
    }
