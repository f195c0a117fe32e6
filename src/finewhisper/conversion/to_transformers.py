"""A CTranslate2 Whisper as a Hugging Face folder, with numpy alone.

CTranslate2 keeps query, key and value as one matrix and gives the key a bias of zeros that Whisper does not have (a key bias changes
nothing: it adds the same to every score before the softmax). Everything else has only another name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from finewhisper import tensors
from finewhisper.conversion import auxiliary_files, ct2_format
from finewhisper.conversion.ct2_format import Float32, Variables
from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.tensors import STORED, Precision, Written
from finewhisper.tokenizer import read_tokenizer
from finewhisper.vocabulary import VOCABULARY_SIZES, Vocabulary

_GELU = 3  # CTranslate2's number for the activation that every Whisper has


@dataclass(frozen=True)
class Tensor:
    """One tensor of a Hugging Face Whisper and where CTranslate2 keeps it."""

    name: str
    source: str  #: CTranslate2's name
    part: int = 0  #: which piece of its rows
    parts: int = 1  #: of so many equal ones

    def shape(self, variables: Variables) -> tuple[int, ...]:
        rows, *rest = variables.shape(self.source)
        return (rows // self.parts, *rest)

    def values(self, variables: Variables) -> Float32:
        return np.split(variables.float32(self.source), self.parts)[self.part]


def write(source: ModelFolder, target: Path, precision: Precision = "float32") -> None:
    """Write ``model.safetensors`` and every small file beside it into the existing folder ``target``.

    Args:
        source: a CTranslate2 folder; its ``tokenizer.json`` may be missing, the vocabulary file is enough.
        precision: the type of the stored weights; float32 whatever the source holds, because trainers that find float16 weights train
            in float16, which loses small updates.

    Raises:
        ModelError: the source is damaged, or its vocabulary is not one of Whisper's.
    """
    variables = ct2_format.read(source.path / "model.bin")
    size = variables.shape("decoder/embeddings/weight")[0]
    if size not in VOCABULARY_SIZES:
        known = ", ".join(f"{known} ({name})" for known, name in VOCABULARY_SIZES.items())
        raise ModelError(f"{source.path}: the model has {size} tokens, Whisper's have {known}; models with added tokens are not supported")
    vocabulary = Vocabulary(read_tokenizer(source.files, size))
    config = _config(variables, vocabulary) | {"dtype": precision}
    written = (
        Written(tensor.name, tensor.shape(variables), partial(tensor.values, variables), STORED[precision]) for tensor in layout(variables)
    )
    tensors.write(target / "model.safetensors", written)
    auxiliary_files.write_json(target / "config.json", config)
    auxiliary_files.write(target, vocabulary, config, source.config)


def _config(variables: Variables, vocabulary: Vocabulary) -> dict[str, Any]:
    """``config.json``: the network's measures, all read from the arrays."""
    if variables.integer("decoder/activation") != _GELU or not variables.integer("decoder/pre_norm"):
        raise ModelError("the decoder has another activation or order of layers than Whisper's; it cannot be converted")
    source_positions, d_model = variables.shape("encoder/position_encodings/encodings")
    config: dict[str, Any] = {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "is_encoder_decoder": True,
        "vocab_size": vocabulary.size,
        "num_mel_bins": variables.shape("encoder/conv1/weight")[1],
        "d_model": d_model,
        "max_source_positions": source_positions,
        "max_target_positions": variables.shape("decoder/position_encodings/encodings")[0],
        "activation_function": "gelu",
        "scale_embedding": False,
        "tie_word_embeddings": _tied(variables),
        "decoder_start_token_id": vocabulary.start_of_transcript,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), vocabulary.end_of_text),
    }
    for side in ("encoder", "decoder"):
        config[f"{side}_layers"] = variables.layers(side)
        config[f"{side}_attention_heads"] = variables.integer(f"{side}/num_heads")
        config[f"{side}_ffn_dim"] = variables.shape(f"{side}/layer_0/ffn/linear_0/weight")[0]
    return config


def _tied(variables: Variables) -> bool:
    return variables.same("decoder/projection/weight", "decoder/embeddings/weight")


def layout(variables: Variables) -> list[Tensor]:
    """Every tensor of the model in the order of the network."""
    return list(_layout(variables))


def _layout(variables: Variables) -> Iterator[Tensor]:
    for convolution in ("conv1", "conv2"):
        yield from _pair(f"model.encoder.{convolution}", f"encoder/{convolution}")
    yield Tensor("model.decoder.embed_tokens.weight", "decoder/embeddings/weight")
    for side in ("encoder", "decoder"):
        yield Tensor(f"model.{side}.embed_positions.weight", f"{side}/position_encodings/encodings")
        for layer in range(variables.layers(side)):
            yield from _layer(f"model.{side}.layers.{layer}", f"{side}/layer_{layer}", cross=side == "decoder")
        yield from _norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
    if not _tied(variables):
        yield Tensor("proj_out.weight", "decoder/projection/weight")


def _layer(name: str, source: str, *, cross: bool) -> Iterator[Tensor]:
    yield from _norm(f"{name}.self_attn_layer_norm", f"{source}/self_attention/layer_norm")
    yield from _fused(f"{name}.self_attn", f"{source}/self_attention/linear_0", "qkv")
    yield from _pair(f"{name}.self_attn.out_proj", f"{source}/self_attention/linear_1")
    if cross:
        yield from _norm(f"{name}.encoder_attn_layer_norm", f"{source}/attention/layer_norm")
        yield from _pair(f"{name}.encoder_attn.q_proj", f"{source}/attention/linear_0")
        yield from _fused(f"{name}.encoder_attn", f"{source}/attention/linear_1", "kv")
        yield from _pair(f"{name}.encoder_attn.out_proj", f"{source}/attention/linear_2")
    yield from _norm(f"{name}.final_layer_norm", f"{source}/ffn/layer_norm")
    yield from _pair(f"{name}.fc1", f"{source}/ffn/linear_0")
    yield from _pair(f"{name}.fc2", f"{source}/ffn/linear_1")


def _pair(name: str, source: str) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", f"{source}/weight")
    yield Tensor(f"{name}.bias", f"{source}/bias")


def _norm(name: str, source: str) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", f"{source}/gamma")
    yield Tensor(f"{name}.bias", f"{source}/beta")


def _fused(name: str, source: str, letters: str) -> Iterator[Tensor]:
    for part, letter in enumerate(letters):
        yield Tensor(f"{name}.{letter}_proj.weight", f"{source}/weight", part, len(letters))
        if letter != "k":
            yield Tensor(f"{name}.{letter}_proj.bias", f"{source}/bias", part, len(letters))
