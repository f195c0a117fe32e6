"""A Hugging Face folder as ONNX graphs, from its safetensors alone: neither torch nor an exporter is needed.

The folder is the one that Transformers.js, onnxruntime's users and finewhisper load: ``onnx/`` with the graphs, and beside it the small
files of a Hugging Face folder. ``config.json`` tells Transformers.js which type the files are in and which have their weights outside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from finewhisper import progress
from finewhisper.convert import companions
from finewhisper.convert.config import Quantization
from finewhisper.convert.tensors import Tensors
from finewhisper.convert.to_ctranslate2 import decoding_config
from finewhisper.errors import MissingExtraError
from finewhisper.model import ModelFolder

if TYPE_CHECKING:
    from onnx import ValueInfoProto

    from finewhisper.convert.onnx_graph import Graph, Precision
    from finewhisper.convert.onnx_network import Sizes

    Fill = Callable[[Graph, Tensors, Sizes], tuple[list[ValueInfoProto], list[ValueInfoProto]]]


def write(source: ModelFolder, target: Path, quantization: Quantization) -> None:
    """Write the graphs and every small file beside them into the existing folder ``target``.

    Raises:
        ModelError: the source is damaged, its tokenizer does not fit its weights, or its network is not Whisper's.
        MissingExtraError: onnx is not installed.
    """
    try:
        from finewhisper.convert import onnx_browser, onnx_network
    except ImportError as error:
        raise MissingExtraError("onnx", "onnx") from error
    precision = cast("Precision", quantization)
    vocabulary = companions.checked_vocabulary(source)
    tensors, sizes = Tensors(source), onnx_network.Sizes.read(source.config)
    (target / "onnx").mkdir()
    external = {}
    parts: dict[str, Fill] = {"encoder_model": onnx_browser.encoder, "decoder_model_merged": onnx_browser.decoder}
    for part, fill in progress.track(parts.items(), f"convert to {precision}", len(parts), "graph"):
        name = f"{part}{onnx_browser.SUFFIXES[precision]}.onnx"
        if write_graph(target / "onnx" / name, fill, tensors, sizes, precision):
            external[name] = 1
    decoding = decoding_config(_generation(source), source.config, vocabulary)
    companions.write(target, vocabulary, source.config, decoding)
    generation = json.loads((target / "generation_config.json").read_text(encoding="utf-8"))
    companions.write_json(target / "generation_config.json", generation | _generation(source))
    browser: dict[str, Any] = {"dtype": onnx_browser.DTYPES[precision]}
    if precision == "float16":
        browser["kv_cache_dtype"] = {"fp16": "float16"}  # what version 3 cannot read from the graph
    if external:
        browser["use_external_data_format"] = external
    companions.write_json(target / "config.json", source.config | {"transformers.js_config": browser})


def write_graph(path: Path, fill: Fill, tensors: Tensors, sizes: Sizes, precision: Precision, **metadata: str) -> bool:
    """Write one graph, and say whether its weights are too large for its file and lie in ``PATH_data``."""
    from finewhisper.convert import onnx_graph

    side = "model.encoder." if "encoder" in path.name else "model.decoder."
    numbers = sum(math.prod(tensors.shape(name)) for name in tensors if name.startswith(side))
    outside = numbers * {"float32": 4, "float16": 2, "int8": 1}[precision] > onnx_graph.INLINE_BYTES
    with ExitStack() as stack:
        stream = stack.enter_context(path.with_name(f"{path.name}_data").open("wb")) if outside else None
        graph = onnx_graph.Graph(precision, stream)
        inputs, outputs = fill(graph, tensors, sizes)
        graph.save(path, inputs, outputs, **metadata)
    return outside


def _generation(source: ModelFolder) -> dict[str, Any]:
    content = json.loads((source.path / "generation_config.json").read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if value is not None}
