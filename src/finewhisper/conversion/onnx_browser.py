"""The layout of Transformers.js and of transformers' exporters: an encoder, and one decoder for the first step and all later ones.

``encoder_model.onnx``: ``input_features`` (batch, n_mels, frames) to ``last_hidden_state`` (batch, frames // 2, d_model).

``decoder_model_merged.onnx``: ``input_ids``, ``encoder_hidden_states`` and, for every layer, ``past_key_values.N.decoder`` and
``.encoder`` with ``.key`` and ``.value``, to ``logits`` and ``present.…`` of the same names. ``use_cache_branch`` is false in the first
step, which computes keys and values of the audio; later steps read those in ``past_key_values`` and return *empty* ones, since the caller
has them: giving them back would copy 37 MB for every token of base.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper

from finewhisper.conversion.onnx_graph import Graph, Precision, tensor
from finewhisper.conversion.onnx_network import KEY_VALUE, Network, Sizes
from finewhisper.tensors import Tensors

#: What Transformers.js appends to a file's name for each type, and what it calls the type.
SUFFIXES: dict[Precision, str] = {"float32": "", "float16": "_fp16", "int8": "_quantized"}
DTYPES: dict[Precision, str] = {"float32": "fp32", "float16": "fp16", "int8": "q8"}


class Cache:
    """Keys and values as inputs and outputs of each layer; those of the audio are made in the first step only."""

    def __init__(self, network: Network) -> None:
        self._network, self._graph = network, network.graph

    def own(self, layer: int, key: str, value: str) -> tuple[str, str]:
        joined = [
            self._graph.op("Concat", f"past_key_values.{layer}.decoder.{kind}", new, name=f"present.{layer}.decoder.{kind}", axis=2)
            for kind, new in zip(KEY_VALUE, (key, value), strict=True)
        ]
        return joined[0], joined[1]

    def audio(self, layer: int, query: str) -> str:
        result = f"audio.{layer}"
        present = [f"present.{layer}.encoder.{kind}" for kind in KEY_VALUE]
        with self._graph.branch() as first:
            self._first_step(layer, query, [f"else_{name}" for name in (result, *present)])
        with self._graph.branch() as later:
            self._later_step(layer, query, [f"then_{name}" for name in (result, *present)])
        self._graph.choice("use_cache_branch", later, first, [result, *present])
        return result

    def _first_step(self, layer: int, query: str, outputs: list[str]) -> None:
        network, heads = self._network, self._network.sizes.decoder_heads
        states = "encoder_states"
        made = network.keys_values(states, f"model.decoder.layers.{layer}.encoder_attn")
        for part, name in zip(made, outputs[1:], strict=True):
            self._graph.op("Identity", network.split(part, heads), name=name)
        self._graph.op("Identity", network.attend(query, outputs[1], outputs[2]), name=outputs[0])

    def _later_step(self, layer: int, query: str, outputs: list[str]) -> None:
        past = [f"past_key_values.{layer}.encoder.{kind}" for kind in KEY_VALUE]
        self._graph.op("Identity", self._network.attend(query, *past), name=outputs[0])
        sizes = self._network.sizes
        nothing = np.zeros((0, sizes.decoder_heads, 1, sizes.decoder_head_size), helper.tensor_dtype_to_np_dtype(self._graph.float_type))
        for name in outputs[1:]:
            self._graph.op("Constant", name=name, value=numpy_helper.from_array(nothing, f"{name}_value"))


def encoder(graph: Graph, tensors: Tensors, sizes: Sizes) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Fill ``graph`` with the encoder; its inputs and outputs."""
    features = graph.op("Cast", "input_features", to=graph.float_type)
    graph.op("Cast", Network(graph, tensors, sizes).encode(features), name="last_hidden_state", to=TensorProto.FLOAT)
    inputs = [tensor("input_features", TensorProto.FLOAT, ["batch_size", sizes.n_mels, "frames"])]
    return inputs, [tensor("last_hidden_state", TensorProto.FLOAT, ["batch_size", "encoder_sequence_length", sizes.d_model])]


def decoder(graph: Graph, tensors: Tensors, sizes: Sizes) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Fill ``graph`` with the decoder; its inputs and outputs."""
    network = Network(graph, tensors, sizes)
    graph.op("Cast", "encoder_hidden_states", name="encoder_states", to=graph.float_type)
    offset = graph.op("Shape", "past_key_values.0.decoder.key", start=2, end=3)
    graph.op("Cast", network.decode("input_ids", offset, Cache(network)), name="logits", to=TensorProto.FLOAT)
    inputs = [
        tensor("input_ids", TensorProto.INT64, ["batch_size", "decoder_sequence_length"]),
        tensor("encoder_hidden_states", TensorProto.FLOAT, ["batch_size", "encoder_sequence_length", sizes.d_model]),
        *_cache(graph, sizes, "past_key_values", "past_{}_sequence_length"),
        tensor("use_cache_branch", TensorProto.BOOL, [1]),
    ]
    outputs = [
        tensor("logits", TensorProto.FLOAT, ["batch_size", "decoder_sequence_length", sizes.vocabulary]),
        *_cache(graph, sizes, "present", "{}_sequence_length_out"),
    ]
    return inputs, outputs


def _cache(graph: Graph, sizes: Sizes, prefix: str, length: str) -> Iterator[ValueInfoProto]:
    """Transformers.js reads the shapes: it makes empty tensors of them, every length but ``batch_size`` zero."""
    for layer in range(sizes.decoder_layers):
        for side in ("decoder", "encoder"):
            batch = "batch_size" if prefix == "past_key_values" or side == "decoder" else "encoder_batch_size_out"
            for kind in KEY_VALUE:
                shape: list[int | str] = [batch, sizes.decoder_heads, length.format(side), sizes.decoder_head_size]
                yield tensor(f"{prefix}.{layer}.{side}.{kind}", graph.float_type, shape)
