"""A Hugging Face folder as one for whisper.cpp, with numpy alone.

``ggml-model.bin`` works by itself in whisper.cpp and the programs made of it. What stands beside it is for this package's own engine:
the tokenizer, and which tokens the model must not write.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from finewhisper import progress
from finewhisper.conversion import auxiliary_files, openai
from finewhisper.conversion.ggml_blocks import BLOCK, BLOCK_TYPES
from finewhisper.conversion.ggml_format import Writer
from finewhisper.conversion.openai import Dimensions
from finewhisper.errors import ModelError, UnsupportedError
from finewhisper.formats import GGML_NAME
from finewhisper.model import ModelFolder
from finewhisper.tensors import EMBEDDING, OUTPUT, Tensors
from finewhisper.tokenizer import text_bytes


def write(source: ModelFolder, target: Path, quantization: str) -> None:
    """Write ``ggml-model.bin``, ``tokenizer.json`` and ``generation_config.json`` into the existing folder ``target``.

    Args:
        quantization: one of ``ggml_format.FILE_TYPES``.

    Raises:
        ModelError: the source is damaged, its tokenizer does not fit it, or its vocabulary is not one of Whisper's, from whose sizes
            whisper.cpp derives the ids of all special tokens.
        UnsupportedError: whisper.cpp cannot run a network of these measures.
    """
    vocabulary = auxiliary_files.checked_vocabulary(source)
    dimensions = Dimensions.of_config(source.path, source.config)
    if quantization in BLOCK_TYPES and dimensions.n_text_state % BLOCK:
        raise UnsupportedError(
            f"--quantization {quantization}: {source.path} is {dimensions.n_text_state} wide, and blocks of {BLOCK} do not fit; use f16"
        )
    tensors = Tensors(source)
    if OUTPUT in tensors and not np.array_equal(tensors[OUTPUT], tensors[EMBEDDING]):
        raise UnsupportedError(
            f"{source.path}: has an output matrix of its own, which whisper.cpp has no place for; use --to ctranslate2 or --to onnx, or "
            "train again without proj_out and embed_tokens among what learns"
        )
    layout = openai.layout(dimensions)
    with (target / GGML_NAME).open("wb") as stream:
        writer = Writer(stream, dimensions, quantization, text_bytes(vocabulary.tokenizer))
        for tensor in progress.track(layout, f"convert to {quantization}", len(layout), "tensor"):
            values = tensors[tensor.name]
            if values.shape != tensor.shape:
                raise ModelError(f"{source.path}: {tensor.name} has shape {values.shape}, config.json asks for {tensor.shape}")
            writer.add(tensor.original, values)
    vocabulary.tokenizer.save(str(target / "tokenizer.json"))
    shutil.copyfile(source.files / "generation_config.json", target / "generation_config.json")
