"""Whisper's encoder and decoder as ONNX operators; how a decoder keeps what it has seen is left to the layout that is written.

The network is that of Radford et al. 2022 and of transformers' ``modeling_whisper``: pre-norm layers, a key without bias, queries scaled
by the root of the head's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from finewhisper.conversion.onnx_graph import Graph
from finewhisper.errors import ModelError
from finewhisper.tensors import Tensors, has_own_output

#: Names of the two values that attention keeps.
KEY_VALUE = ("key", "value")


@dataclass(frozen=True)
class Sizes:
    """The measures of a network, from ``config.json``."""

    n_mels: int
    d_model: int
    encoder_layers: int
    encoder_heads: int
    decoder_layers: int
    decoder_heads: int
    vocabulary: int
    target_positions: int
    tied: bool  #: the projection to tokens is the token embedding

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> Sizes:
        """Raises: ModelError: the network has parts that no Whisper has."""
        if config.get("activation_function", "gelu") != "gelu" or config.get("scale_embedding"):
            raise ModelError("config.json asks for another activation than gelu or a scaled embedding, which Whisper does not have")
        return cls(
            config["num_mel_bins"],
            config["d_model"],
            config["encoder_layers"],
            config["encoder_attention_heads"],
            config["decoder_layers"],
            config["decoder_attention_heads"],
            config["vocab_size"],
            config["max_target_positions"],
            config.get("tie_word_embeddings", True),
        )

    @property
    def decoder_head_size(self) -> int:
        return self.d_model // self.decoder_heads


class Memory(Protocol):
    """How a layout keeps keys and values between steps. Keys and values are (batch, heads, positions, head size)."""

    def own(self, layer: int, key: str, value: str) -> tuple[str, str]:
        """Keys and values of all tokens so far, given those of the new ones."""

    def audio(self, layer: int, query: str) -> str:
        """What attention to the audio gives for ``query``, with the heads joined: (batch, tokens, d_model)."""


class Network:
    """Builds pieces of one model into one graph."""

    def __init__(self, graph: Graph, tensors: Tensors, sizes: Sizes) -> None:
        self.graph, self.tensors, self.sizes = graph, tensors, sizes

    def encode(self, features: str) -> str:
        """Log-mel features (batch, n_mels, frames) to (batch, frames // 2, d_model)."""
        graph = self.graph
        x = features
        for number, stride in ((1, 1), (2, 2)):
            name = f"model.encoder.conv{number}"
            convolved = graph.op("Conv", x, *self._weights(name), kernel_shape=[3], pads=[1, 1], strides=[stride])
            x = graph.op("Gelu", convolved)
        x = graph.op("Transpose", x, perm=[0, 2, 1])
        length = graph.op("Shape", x, start=1, end=2)
        positions = graph.floats("model.encoder.embed_positions.weight", self.tensors["model.encoder.embed_positions.weight"])
        x = graph.op("Add", x, graph.op("Slice", positions, graph.integers(0), length, graph.integers(0)))
        for layer in range(self.sizes.encoder_layers):
            x = self._encoder_layer(x, f"model.encoder.layers.{layer}")
        return self.norm(x, "model.encoder.layer_norm")

    def decode(self, tokens: str, offset: str, memory: Memory) -> str:
        """Tokens (batch, tokens) that follow ``offset`` (1) others to logits (batch, tokens, vocabulary), float32."""
        graph = self.graph
        end = graph.op("Add", offset, graph.op("Shape", tokens, start=1, end=2))
        positions = graph.floats("model.decoder.embed_positions.weight", self.tensors["model.decoder.embed_positions.weight"])
        embedded = graph.columns(self._embedding(), tokens)
        x = graph.op("Add", embedded, graph.op("Slice", positions, offset, end, graph.integers(0)))
        mask = self._mask(offset, end)
        for layer in range(self.sizes.decoder_layers):
            x = self._decoder_layer(x, layer, mask, memory)
        x = self.norm(x, "model.decoder.layer_norm")
        return graph.multiply(x, self._projection())

    def keys_values(self, x: str, name: str) -> tuple[str, str]:
        """The keys and values of ``x`` in the attention ``name``: (batch, positions, d_model) each."""
        return self.linear(x, f"{name}.k_proj"), self.linear(x, f"{name}.v_proj")

    def split(self, x: str, heads: int) -> str:
        """(batch, positions, d_model) to (batch, heads, positions, head size)."""
        split = self.graph.op("Reshape", x, self.graph.integers(0, 0, heads, self.sizes.d_model // heads))
        return self.graph.op("Transpose", split, perm=[0, 2, 1, 3])

    def join(self, x: str) -> str:
        """(batch, heads, positions, head size) to (batch, positions, d_model)."""
        return self.graph.op("Reshape", self.graph.op("Transpose", x, perm=[0, 2, 1, 3]), self.graph.integers(0, 0, self.sizes.d_model))

    def attend(self, query: str, key: str, value: str, mask: str = "") -> str:
        """Attention over split heads, joined again."""
        scores = self.graph.op("MatMul", query, self.graph.op("Transpose", key, perm=[0, 1, 3, 2]))
        if mask:
            scores = self.graph.op("Add", scores, mask)
        return self.join(self.graph.op("MatMul", self.graph.op("Softmax", scores, axis=-1), value))

    def linear(self, x: str, name: str) -> str:
        """A layer with its bias, where it has one."""
        product = self.graph.multiply(x, self.graph.matrix(f"{name}.weight", self.tensors[f"{name}.weight"]))
        bias = f"{name}.bias"
        return self.graph.op("Add", product, self.graph.floats(bias, self.tensors[bias])) if bias in self.tensors else product

    def norm(self, x: str, name: str) -> str:
        """Layer norm over the last axis."""
        return self.graph.op("LayerNormalization", x, *self._weights(name), axis=-1, epsilon=1e-5)

    def _weights(self, name: str) -> tuple[str, str]:
        weight, bias = f"{name}.weight", f"{name}.bias"
        return self.graph.floats(weight, self.tensors[weight]), self.graph.floats(bias, self.tensors[bias])

    def _encoder_layer(self, x: str, name: str) -> str:
        attention, heads = f"{name}.self_attn", self.sizes.encoder_heads
        normed = self.norm(x, f"{attention}_layer_norm")
        query = self._query(normed, attention, heads)
        key, value = (self.split(part, heads) for part in self.keys_values(normed, attention))
        x = self._add(x, self.attend(query, key, value), f"{attention}.out_proj")
        return self._feed_forward(x, name)

    def _decoder_layer(self, x: str, layer: int, mask: str, memory: Memory) -> str:
        name, heads = f"model.decoder.layers.{layer}", self.sizes.decoder_heads
        normed = self.norm(x, f"{name}.self_attn_layer_norm")
        query = self._query(normed, f"{name}.self_attn", heads)
        key, value = (self.split(part, heads) for part in self.keys_values(normed, f"{name}.self_attn"))
        key, value = memory.own(layer, key, value)
        x = self._add(x, self.attend(query, key, value, mask), f"{name}.self_attn.out_proj")
        query = self._query(self.norm(x, f"{name}.encoder_attn_layer_norm"), f"{name}.encoder_attn", heads)
        x = self._add(x, memory.audio(layer, query), f"{name}.encoder_attn.out_proj")
        return self._feed_forward(x, name)

    def _query(self, x: str, name: str, heads: int) -> str:
        scaled = self.graph.op("Mul", self.linear(x, f"{name}.q_proj"), self.graph.number((self.sizes.d_model // heads) ** -0.5))
        return self.split(scaled, heads)

    def _feed_forward(self, x: str, name: str) -> str:
        inner = self.graph.op("Gelu", self.linear(self.norm(x, f"{name}.final_layer_norm"), f"{name}.fc1"))
        return self._add(x, inner, f"{name}.fc2")

    def _add(self, x: str, branch: str, name: str) -> str:
        return self.graph.op("Add", x, self.linear(branch, name))

    def _embedding(self) -> str:
        name = "model.decoder.embed_tokens.weight"
        return self.graph.matrix(name, self.tensors[name])

    def _projection(self) -> str:
        """The token embedding again, in every model but those that were trained to have two."""
        return self.graph.matrix("proj_out.weight", self.tensors["proj_out.weight"]) if self.untied else self._embedding()

    @property
    def untied(self) -> bool:
        """Whether the projection is a matrix of its own."""
        return has_own_output(self.tensors, {"tie_word_embeddings": self.sizes.tied})

    def _mask(self, offset: str, end: str) -> str:
        """What is added to scores (tokens, tokens so far): the lowest number for tokens that come later."""
        graph = self.graph
        limits = [graph.op("Squeeze", value) for value in (offset, end)]
        here = graph.op("Range", *limits, graph.integer(1))
        seen = graph.op("Range", graph.integer(0), limits[1], graph.integer(1))
        allowed = graph.op("LessOrEqual", seen, graph.op("Unsqueeze", here, graph.integers(1)))
        return graph.op("Where", allowed, graph.number(0.0), graph.number(-65504.0))  # the lowest float16, low enough for all
