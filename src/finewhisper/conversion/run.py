"""``finewhisper convert``: open, write, verify, publish."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewhisper import audio, manifest
from finewhisper.alignment import choose_heads, require
from finewhisper.conversion import from_openai, to_ctranslate2, to_ggml, to_onnx, to_transformers, verify
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.verify import Agreement, Clip
from finewhisper.errors import MissingExtraError, UsageError, VerificationError
from finewhisper.formats import FORMATS, GGML_NAME, Quantization
from finewhisper.generation import complete
from finewhisper.model import ModelFolder, versions
from finewhisper.outputs import atomic_folder, require_absent

if TYPE_CHECKING:
    from finewhisper.alignment.run import Alignment


@dataclass(frozen=True)
class Converted:
    """The copy, and how it compared with its source."""

    source: Path
    target: Path
    quantization: str
    size: int  #: bytes of the weights
    agreement: Agreement | None  #: None where the comparison was left out
    alignment: Alignment | None = None  #: None where none was asked for

    def __str__(self) -> str:
        proof = str(self.agreement) if self.agreement else "not compared with its source (--no-verify)"
        aligned = f"\n{self.alignment}" if self.alignment else ""
        return f"{self.target}: {self.quantization}, {self.size / 1e6:.1f} MB, from {self.source}\n{proof}{aligned}"


def run(config: ConvertConfig) -> Converted:
    """Convert a model and prove the copy equal to its source.

    Raises:
        ModelError: the source is not a whole Whisper folder of the right kind.
        UsageError: the options do not fit together.
        VerificationError: the copy differs by more than its precision explains; nothing is left of it.
        MissingExtraError: an optional library is needed.
        StorageError: the target is there, or cannot be written.
    """
    source, quantization = _open_source(config), _quantization(config)
    require_absent(config.target, replace=config.overwrite)
    clips = _clips(config, source)
    if config.align is not None:
        require(config.align)
    alignment = choose_heads(source, config.align, config.language) if config.align and source.kind == "transformers" else None
    with atomic_folder(config.target, replace=config.overwrite) as folder:
        _write(source, folder, config, quantization)
        source.card.write(folder)  # the copy hears in the contexts that its source has learnt
        if config.to in ("transformers", "onnx"):  # the kinds that others decode with what generation_config.json says
            complete(folder, source.card.languages, source.card.task)
        if config.align is not None:
            alignment = alignment or choose_heads(ModelFolder.open(folder, "transformers"), config.align, config.language)
            alignment.place(folder / ("config.json" if config.to == "ctranslate2" else "generation_config.json"))
        copy = ModelFolder.open(folder, config.to)
        agreement = _verified(source, copy, clips, config, quantization) if config.verify else None
        record = {"source": _identity(source), "quantization": quantization, **(agreement.record() if agreement else {})}
        changes: dict[str, Any] = {
            "verification": record,
            "versions": versions("ctranslate2", "onnx", "onnxruntime", "pywhispercpp", "torch", "transformers"),
        }
        if alignment is not None:
            changes["alignment"] = alignment.record()
        source.card.model_copy(update=changes).write(folder)
        size = sum(path.stat().st_size for path in copy.stored_weights())
    return Converted(config.source, config.target, quantization, size, agreement, alignment)


def _open_source(config: ConvertConfig) -> ModelFolder:
    source = ModelFolder.open(config.source)
    if source.kind == config.to:
        raise UsageError(f"--to {config.to}: {config.source} is a {source.kind} {'file' if source.path.is_file() else 'folder'} already")
    return ModelFolder.open(config.source, *FORMATS[config.to].made_from)


def _quantization(config: ConvertConfig) -> Quantization:
    """What is asked for, or the default of the kind."""
    known = FORMATS[config.to].quantizations
    if config.layout == "sherpa-onnx":
        if config.to != "onnx":
            raise UsageError(f"--layout sherpa-onnx: is a layout of --to onnx, not of --to {config.to}")
        known = ("float32", "int8")
    chosen = config.quantization or known[0]
    if chosen not in known:
        listed = f"{', '.join(known[:-1])} or {known[-1]}"
        layout = " --layout sherpa-onnx" if config.layout == "sherpa-onnx" else ""
        raise UsageError(f"--quantization {chosen}: --to {config.to}{layout} takes {listed}")
    return chosen


def _clips(config: ConvertConfig, source: ModelFolder) -> list[Clip]:
    """What to compare on, read before any work is done so that a wrong path shows at once."""
    if not config.verify:
        return []
    for library, extra in (*FORMATS[source.kind].libraries, *FORMATS[config.to].libraries):
        if find_spec(library) is None:
            raise MissingExtraError(f"{library}, to compare the copy with its source (--no-verify leaves that out),", extra)
    clips = [Clip(path.name, audio.read(path)[: audio.WINDOW_SAMPLES], config.language) for path in config.verify_audio]
    if config.manifest is not None:
        for utterance in manifest.read(config.manifest)[: config.limit]:
            waveform = utterance.waveform()[: audio.WINDOW_SAMPLES]
            clips.append(Clip(utterance.id, waveform, utterance.language or config.language, sentence=utterance.sentence))
    return clips or [verify.generated_clip()]


def _write(source: ModelFolder, folder: Path, config: ConvertConfig, quantization: Quantization) -> None:
    if config.to == "ctranslate2":
        to_ctranslate2.write(source, folder, quantization)
    elif config.to == "ggml":
        to_ggml.write(source, folder, quantization)
    elif config.to == "onnx":
        to_onnx.write(source, folder, quantization, config.layout)
    else:
        writer = to_transformers if source.kind == "ctranslate2" else from_openai
        writer.write(source, folder, "float16" if quantization == "float16" else "float32")


def _verified(source: ModelFolder, copy: ModelFolder, clips: list[Clip], config: ConvertConfig, quantization: Quantization) -> Agreement:
    with _with_tokenizer(source, copy) as whole:
        agreement = verify.compare(whole, copy, clips, quantization)
    if not agreement.good:
        raise VerificationError(
            f"{config.target}: the copy does not say what {config.source} says, so it was not kept\n{agreement}\n"
            f"try a finer --quantization than {quantization}, or speech of the model's language with --verify-audio or --manifest"
        )
    return agreement


@contextmanager
def _with_tokenizer(source: ModelFolder, copy: ModelFolder) -> Iterator[ModelFolder]:
    """The source, with the copy's tokenizer and tokens to suppress where it is a file, which has none of its own."""
    if source.kind == "openai" or (source.files / "tokenizer.json").is_file():
        yield source
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / GGML_NAME).symlink_to(source.path.resolve())
        shutil.copyfile(copy.path / "generation_config.json", folder / "generation_config.json")
        shutil.copyfile(copy.path / "tokenizer.json", folder / "tokenizer.json")
        yield ModelFolder.open(folder, source.kind)


def _identity(source: ModelFolder) -> dict[str, Any]:
    return {"path": str(source.path), "kind": source.kind, "fingerprint": source.fingerprint(), **from_openai.loss(source)}
