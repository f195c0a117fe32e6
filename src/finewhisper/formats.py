"""What each kind of model is: its files, what runs it, what it is made from and what it stores. All that differs by kind begins here.

To add a kind, add a value to :data:`FORMATS`, and the modules that it names: an engine, and what reads or writes it in ``conversion``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["adapter", "transformers", "ctranslate2", "ggml", "onnx", "openai"]
#: The types that weights are stored in.
Quantization = Literal[
    "float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16",
    "f32", "f16", "q8_0", "q5_0", "q5_1", "q4_0",
]  # fmt: skip
#: The file for whisper.cpp in a ggml folder.
GGML_NAME = "ggml-model.bin"


@dataclass(frozen=True)
class Format:
    """One kind of model.

    Attributes:
        needed: files that a folder must have, the one with the network's sizes first; none: it is always a file by itself.
        derived: small files that are made from the others where somebody left them out.
        weights: patterns of the files that hold the weights; none: safetensors.
        engine: the name of the engine that runs it; "": none does.
        runs: the engine's class, ``module:name``.
        libraries: what runs it beside the base installation, each with the extra that brings it.
        made_from: the kinds that ``convert`` writes it from.
        quantizations: the types that weights can be stored in, the default first.
        compared: those that ``parity`` makes where only the kind is named: the most exact that can be run, and the sizes people use.
        word_times: whether the engine reads attention, and so tells when words are spoken.
        advice: what to do with one that is to be run where ``engine`` is ""; ``{path}`` stands for the model, ``{stem}`` for it without
            its ending.
    """

    needed: tuple[str, ...]
    derived: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    engine: str = ""
    runs: str = ""
    libraries: tuple[tuple[str, str], ...] = ()
    made_from: tuple[Kind, ...] = ()
    quantizations: tuple[Quantization, ...] = ()
    compared: tuple[Quantization, ...] = ()
    word_times: bool = False
    advice: str = ""


#: Every kind can become a transformers folder, and that one any other.
FORMATS: dict[Kind, Format] = {
    "transformers": Format(
        needed=("config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json"),
        derived=("tokenizer.json", "generation_config.json", "preprocessor_config.json"),
        engine="transformers",
        runs="finewhisper.engines.transformers:TransformersEngine",
        libraries=(("torch", "train"), ("transformers", "train")),
        made_from=("ctranslate2", "ggml", "openai"),
        quantizations=("float32", "float16"),
        compared=("float32", "float16"),
        word_times=True,
    ),
    "ctranslate2": Format(
        needed=("config.json", "model.bin"),  # the engine asks for tokenizer.json, convert can do without
        derived=("tokenizer.json",),
        weights=("model.bin",),
        engine="ctranslate2",
        runs="finewhisper.engines.ct2:CTranslate2Engine",
        libraries=(("ctranslate2", "ct2"),),
        made_from=("transformers",),
        quantizations=("float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16"),
        compared=("float32", "int8"),
        word_times=True,
    ),
    "ggml": Format(
        needed=(GGML_NAME, "generation_config.json", "tokenizer.json"),
        weights=(GGML_NAME,),
        engine="whispercpp",
        runs="finewhisper.engines.whispercpp:WhisperCppEngine",
        libraries=(("pywhispercpp", "cpp"),),
        made_from=("transformers",),
        quantizations=("f16", "f32", "q8_0", "q5_0", "q5_1", "q4_0"),
        compared=("f16", "q8_0", "q5_0"),  # whisper.cpp loads f32, but cannot compute with it
    ),
    "onnx": Format(
        needed=("config.json", "generation_config.json", "tokenizer.json"),
        derived=("tokenizer.json", "generation_config.json"),
        weights=tuple(f"{layout}/*.onnx{end}" for layout in ("onnx", "sherpa-onnx") for end in ("", "_data")),
        engine="onnx",
        runs="finewhisper.engines.onnx:OnnxEngine",
        libraries=(("onnx", "onnx"), ("onnxruntime", "onnx")),
        made_from=("transformers",),
        quantizations=("float32", "float16", "int8"),
        compared=("float32", "int8"),
    ),
    "openai": Format(
        needed=(),
        advice="OpenAI's checkpoints cannot be run as they are; convert it first: finewhisper convert {path} {stem} --to transformers",
    ),
    "adapter": Format(
        needed=("adapter_config.json", "adapter_model.safetensors"),
        advice="an adapter cannot be run by itself; merge it: finewhisper merge {path} -o MERGED",
    ),
}

#: The kinds that an engine runs, and the engines by name with the kind that each runs.
RUNNABLE: tuple[Kind, ...] = tuple(kind for kind, found in FORMATS.items() if found.engine)
ENGINES: dict[str, Kind] = {FORMATS[kind].engine: kind for kind in RUNNABLE}
