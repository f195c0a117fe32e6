"""What ``finewhisper convert`` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from finewhisper.config import Config, Flag
from finewhisper.formats import Quantization
from finewhisper.language import Language

Target = Literal["transformers", "ctranslate2", "ggml", "onnx"]
Layout = Literal["transformers.js", "sherpa-onnx"]


class ConvertConfig(Config):
    """Write a model for another engine, load the copy, and compare it with its source.

    The copy must give the same encoder output and the same words within the bounds of its precision, on clips of yours or on a
    generated one; otherwise the command fails and leaves nothing.
    """

    source: Annotated[Path, Flag(positional=True)]
    """Model to convert: a transformers folder, or with --to transformers a ctranslate2 or ggml folder, a ggml file of whisper.cpp, or an
    OpenAI checkpoint (.pt)."""

    target: Annotated[Path, Flag(positional=True, role="output")]
    """Folder to write."""

    to: Target
    """What to write: ctranslate2 for fast inference, ggml for whisper.cpp, onnx for browsers and onnxruntime, transformers for
    fine-tuning."""

    quantization: Annotated[Quantization | None, Flag(alias="-q")] = None
    """Type of the stored weights. ctranslate2: float32 (default) to int8, the smallest and, on CPUs, fastest. ggml: f16 (default), f32,
    q8_0, q5_0, q5_1, q4_0. onnx: float32 (default), float16 or int8. transformers: float32 (default) or float16."""

    layout: Layout = "transformers.js"
    """Which program's names and shapes --to onnx follows: Transformers.js, whose graphs others load too, or sherpa-onnx, which takes
    float32 or int8."""

    verify: bool = True
    """Compare the copy with its source; needs both engines (the extras train, and ct2, cpp or onnx)."""

    verify_audio: tuple[Path, ...] = ()
    """Audio files to compare on; without these and --manifest it is one generated clip, which shows broken weights but says little
    about how much a quantised model still understands."""

    manifest: Path | None = None
    """Manifest whose first utterances are compared."""

    align: Path | None = None
    """Manifest with speech that the model is for, such as its dev set: choose on it the attention heads that tell when words are spoken,
    write them into the copy, and print how far their times are off, before and after; needs torch."""

    limit: int = Field(8, ge=1)
    """How many utterances of the manifest are compared."""

    language: Language = None
    """Language of the clips where the manifest does not say; detected by the source model by default."""

    overwrite: bool = False
    """Replace the folder if it is there."""
