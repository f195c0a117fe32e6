"""A Hugging Face folder as ONNX graphs, from its safetensors alone: neither torch nor an exporter is needed.

The folder has the graphs in ``onnx/`` for Transformers.js or in ``sherpa-onnx/``, and beside them the small files of a Hugging Face folder.
``config.json`` tells Transformers.js which type the files are in and which have their weights outside.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from finewhisper import progress
from finewhisper.conversion import auxiliary_files
from finewhisper.conversion.config import Layout
from finewhisper.conversion.to_ctranslate2 import decoding_config
from finewhisper.errors import MissingExtraError, UsageError
from finewhisper.formats import Quantization
from finewhisper.generation import unasked_language
from finewhisper.model import ModelFolder
from finewhisper.tensors import Tensors
from finewhisper.vocabulary import Vocabulary

if TYPE_CHECKING:
    from onnx import ValueInfoProto

    from finewhisper.conversion.onnx_graph import Graph, Precision
    from finewhisper.conversion.onnx_network import Sizes

    Fill = Callable[[Graph, Tensors, Sizes], tuple[list[ValueInfoProto], list[ValueInfoProto]]]


def write(source: ModelFolder, target: Path, quantization: Quantization, layout: Layout = "transformers.js") -> None:
    """Write the graphs and every small file beside them into the existing folder ``target``.

    Raises:
        ModelError: the source is damaged, its tokenizer does not fit its weights, or its network is not Whisper's.
        MissingExtraError: onnx is not installed.
    """
    try:
        from finewhisper.conversion import onnx_network
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    precision = cast("Precision", quantization)
    vocabulary = auxiliary_files.checked_vocabulary(source)
    tensors, sizes = Tensors(source), onnx_network.Sizes.read(source.config)
    if layout == "sherpa-onnx":
        config = _sherpa(target / "sherpa-onnx", tensors, sizes, precision, vocabulary, _prompt(source, vocabulary))
    else:
        config = {"transformers.js_config": _browser(target / "onnx", tensors, sizes, precision)}
    decoding = decoding_config(_generation(source), source.config, vocabulary)
    auxiliary_files.write(target, vocabulary, source.config, decoding)
    generation = json.loads((target / "generation_config.json").read_text(encoding="utf-8"))
    auxiliary_files.write_json(target / "generation_config.json", generation | _generation(source))
    auxiliary_files.write_json(target / "config.json", source.config | config)


def _browser(folder: Path, tensors: Tensors, sizes: Sizes, precision: Precision) -> dict[str, Any]:
    """The graphs for Transformers.js, and what its part of ``config.json`` must say of them."""
    from finewhisper.conversion import onnx_browser

    suffix = onnx_browser.SUFFIXES[precision]
    paths = [folder / f"{part}{suffix}.onnx" for part in ("encoder_model", "decoder_model_merged")]
    external = _write_graphs(paths, (onnx_browser.encoder, onnx_browser.decoder), tensors, sizes, precision, {})
    settings: dict[str, Any] = {"dtype": onnx_browser.DTYPES[precision]}
    if precision == "float16":
        settings["kv_cache_dtype"] = {"fp16": "float16"}  # what version 3 cannot read from the graph
    if external:
        settings["use_external_data_format"] = dict.fromkeys(external, 1)
    return settings


def _prompt(source: ModelFolder, vocabulary: Vocabulary) -> list[int] | None:
    """What stands before every text of a model of one language; None for a model of several."""
    language = unasked_language(_generation(source), source.card.languages)
    if not vocabulary.multilingual or language is None:
        return None
    try:
        return vocabulary.prompt(language, source.card.task, timestamps=True)
    except UsageError:  # what the author of a model wrote is no language
        return None


def _sherpa(
    folder: Path, tensors: Tensors, sizes: Sizes, precision: Precision, vocabulary: Vocabulary, prompt: list[int] | None
) -> dict[str, Any]:
    """The graphs and the list of tokens for sherpa-onnx, which reads nothing else."""
    from finewhisper.conversion import onnx_sherpa

    paths = [folder / f"{part}{onnx_sherpa.SUFFIXES[precision]}.onnx" for part in ("encoder", "decoder")]
    fills = (onnx_sherpa.encoder, onnx_sherpa.decoder)
    _write_graphs(paths, fills, tensors, sizes, precision, onnx_sherpa.metadata(sizes, vocabulary, prompt))
    (folder / "tokens.txt").write_text(onnx_sherpa.tokens(vocabulary), encoding="ascii")
    return {}


#: The weights of each graph, by their names; those that make the audio's keys and values may be in either.
_PARTS = (r"model\.encoder\.|.*\.encoder_attn\.[kv]_proj\.", r"model\.decoder\.|proj_out\.")


def _write_graphs(
    paths: Sequence[Path], fills: Sequence[Fill], tensors: Tensors, sizes: Sizes, precision: Precision, metadata: dict[str, str]
) -> list[str]:
    """Write encoder and decoder; the names of those whose weights are too large for one file and lie in ``NAME_data``."""
    from finewhisper.conversion import onnx_graph

    paths[0].parent.mkdir()
    external = []
    parts = zip(paths, fills, _PARTS, strict=True)
    for path, fill, names in progress.track(parts, f"convert to {precision}", len(paths), "graph"):
        numbers = sum(math.prod(tensors.shape(name)) for name in tensors if re.match(names, name))
        outside = numbers * {"float32": 4, "float16": 2, "int8": 1}[precision] > onnx_graph.INLINE_BYTES
        with ExitStack() as stack:
            stream = stack.enter_context(path.with_name(f"{path.name}_data").open("wb")) if outside else None
            graph = onnx_graph.Graph(precision, stream)
            inputs, outputs = fill(graph, tensors, sizes)
            graph.save(path, inputs, outputs, metadata)
        if outside:
            external.append(path.name)
    return external


def _generation(source: ModelFolder) -> dict[str, Any]:
    return {name: value for name, value in source.generation.items() if value is not None}
