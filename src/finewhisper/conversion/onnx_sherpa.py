"""The layout of sherpa-onnx's ``OfflineRecognizer.from_whisper``: an encoder that makes the keys and values of the audio, and a decoder.

sherpa-onnx gives inputs and takes outputs by their place, and reads the network's measures and the special tokens from the encoder's
metadata (``offline-whisper-model.cc``)::

    encoder  mel (batch, n_mels, frames) -> n_layer_cross_k, n_layer_cross_v, last_hidden_state
    decoder  tokens, in_n_layer_self_k_cache, in_n_layer_self_v_cache, n_layer_cross_k, n_layer_cross_v, offset
             -> logits, out_n_layer_self_k_cache, out_n_layer_self_v_cache

The caches are (layers, batch, 448, d_model), of which the first ``offset`` positions are filled. sherpa-onnx only hands the keys and values
of the audio on, so their heads are split once, in the encoder: (layers, batch, heads, positions, head size). ``last_hidden_state`` it
leaves; comparisons look at it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from onnx import TensorProto, ValueInfoProto

from finewhisper.conversion.onnx_graph import Graph, Precision, tensor
from finewhisper.conversion.onnx_network import KEY_VALUE, Network, Sizes
from finewhisper.tensors import Tensors
from finewhisper.tokenizer import text_bytes
from finewhisper.vocabulary import Vocabulary

#: What goes between the name and ``.onnx``; sherpa-onnx knows no float16 caches.
SUFFIXES: dict[Precision, str] = {"float32": "", "int8": ".int8"}
_CROSS = {kind: f"n_layer_cross_{kind[0]}" for kind in KEY_VALUE}
_OWN = {kind: f"n_layer_self_{kind[0]}_cache" for kind in KEY_VALUE}


class Cache:
    """The filled part of the buffers that the caller keeps, and what is to be added to them."""

    def __init__(self, network: Network, offset: str) -> None:
        self._network, self._graph, self._offset = network, network.graph, offset
        zero, positions = self._graph.integers(0), self._graph.integers(2)
        self._past = {kind: self._graph.op("Slice", f"in_{name}", zero, offset, positions) for kind, name in _OWN.items()}
        self._new: dict[str, list[str]] = {kind: [] for kind in KEY_VALUE}

    def own(self, layer: int, key: str, value: str) -> tuple[str, str]:
        joined = []
        for kind, new in zip(KEY_VALUE, (key, value), strict=True):
            past = self._network.split(self._layer(self._past[kind], layer), self._network.sizes.decoder_heads)
            self._new[kind].append(self._graph.op("Unsqueeze", self._network.join(new), self._graph.integers(0)))
            joined.append(self._graph.op("Concat", past, new, axis=2))
        return joined[0], joined[1]

    def audio(self, layer: int, query: str) -> str:
        return self._network.attend(query, *(self._layer(name, layer) for name in _CROSS.values()))

    def write(self, tokens: str) -> None:
        """Make the buffers that are given back."""
        graph = self._graph
        end = graph.op("Add", self._offset, graph.op("Shape", tokens, start=1, end=2))
        last, positions = graph.integers(self._network.sizes.target_positions), graph.integers(2)
        for kind, name in _OWN.items():
            added = graph.op("Concat", *self._new[kind], axis=0)
            rest = graph.op("Slice", f"in_{name}", end, last, positions)
            graph.op("Concat", self._past[kind], added, rest, name=f"out_{name}", axis=2)

    def _layer(self, stacked: str, layer: int) -> str:
        return self._graph.op("Gather", stacked, self._graph.integer(layer), axis=0)


def encoder(graph: Graph, tensors: Tensors, sizes: Sizes) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Fill ``graph`` with the encoder and the projections of its output; its inputs and outputs."""
    network = Network(graph, tensors, sizes)
    states = network.encode("mel")
    made: dict[str, list[str]] = {kind: [] for kind in KEY_VALUE}
    for layer in range(sizes.decoder_layers):
        parts = network.keys_values(states, f"model.decoder.layers.{layer}.encoder_attn")
        for kind, part in zip(KEY_VALUE, parts, strict=True):
            made[kind].append(graph.op("Unsqueeze", network.split(part, sizes.decoder_heads), graph.integers(0)))
    for kind, name in _CROSS.items():
        graph.op("Concat", *made[kind], name=name, axis=0)
    graph.op("Identity", states, name="last_hidden_state")
    outputs = [*_cross(sizes), tensor("last_hidden_state", TensorProto.FLOAT, ["n_audio", "positions", sizes.d_model])]
    return [tensor("mel", TensorProto.FLOAT, ["n_audio", sizes.n_mels, "frames"])], outputs


def decoder(graph: Graph, tensors: Tensors, sizes: Sizes) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
    """Fill ``graph`` with the decoder; its inputs and outputs."""
    network = Network(graph, tensors, sizes)
    cache = Cache(network, "offset")
    graph.op("Identity", network.decode("tokens", "offset", cache), name="logits")
    cache.write("tokens")
    inputs = [
        tensor("tokens", TensorProto.INT64, ["n_audio", "n_tokens"]),
        *_own(sizes, "in"),
        *_cross(sizes),
        tensor("offset", TensorProto.INT64, [1]),
    ]
    return inputs, [tensor("logits", TensorProto.FLOAT, ["n_audio", "n_tokens", sizes.vocabulary]), *_own(sizes, "out")]


def _own(sizes: Sizes, prefix: str) -> list[ValueInfoProto]:
    shape: list[int | str] = [sizes.decoder_layers, "n_audio", sizes.target_positions, sizes.d_model]
    return [tensor(f"{prefix}_{name}", TensorProto.FLOAT, shape) for name in _OWN.values()]


def _cross(sizes: Sizes) -> list[ValueInfoProto]:
    shape: list[int | str] = [sizes.decoder_layers, "n_audio", sizes.decoder_heads, "positions", sizes.decoder_head_size]
    return [tensor(name, TensorProto.FLOAT, shape) for name in _CROSS.values()]


def metadata(sizes: Sizes, vocabulary: Vocabulary, prompt: Sequence[int] | None = None) -> dict[str, str]:
    """What sherpa-onnx reads from the encoder: measures, special tokens and languages.

    Args:
        prompt: the tokens that stand before every text. sherpa-onnx puts its own language and task, English unless told, into the prompt of
            a model that says it is multilingual; a model of one language therefore says it is not.
    """
    values: dict[str, object] = {
        "model_type": "whisper",
        "version": 1,
        "maintainer": "finewhisper",
        "n_mels": sizes.n_mels,
        "n_audio_state": sizes.d_model,
        "n_audio_head": sizes.encoder_heads,
        "n_audio_layer": sizes.encoder_layers,
        "n_vocab": sizes.vocabulary,
        "n_text_ctx": sizes.target_positions,
        "n_text_state": sizes.d_model,
        "n_text_head": sizes.decoder_heads,
        "n_text_layer": sizes.decoder_layers,
        "sot_sequence": ",".join(map(str, prompt or vocabulary.prompt("en", timestamps=True))),
        "all_language_tokens": ",".join(map(str, vocabulary.languages.values())),
        "all_language_codes": ",".join(vocabulary.languages),
        "sot": vocabulary.start_of_transcript,
        "sot_index": 0,
        "eot": vocabulary.end_of_text,
        "blank_id": vocabulary.encode(" ")[0],
        "is_multilingual": int(vocabulary.multilingual and prompt is None),
        "no_speech": vocabulary.no_speech,
        "transcribe": vocabulary.id("<|transcribe|>"),
        "translate": vocabulary.id("<|translate|>"),
        "sot_prev": vocabulary.previous_text,
        "sot_lm": vocabulary.id("<|startoflm|>"),
        "no_timestamps": vocabulary.no_timestamps,
    }
    return {name: str(value) for name, value in values.items()}


def tokens(vocabulary: Vocabulary) -> str:
    """``tokens.txt``: each text token's bytes in base64, and its id."""
    plain = enumerate(text_bytes(vocabulary.tokenizer))
    return "".join(f"{base64.b64encode(content).decode()} {index}\n" for index, content in plain)
