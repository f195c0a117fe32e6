"""The engines behind one method, chosen by what kind of folder a model is."""

from __future__ import annotations

from finewhisper.engines.base import Engine
from finewhisper.errors import UnsupportedError
from finewhisper.model import Kind, ModelFolder

ENGINES = ("transformers", "ctranslate2", "whispercpp", "onnx")
#: The kinds of folders that they run.
KINDS: tuple[Kind, ...] = ("transformers", "ctranslate2", "ggml", "onnx")


def load_engine(
    folder: ModelFolder,
    *,
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    side_by_side: bool = False,
) -> Engine:
    """Load a model with the engine that its kind needs.

    Args:
        device: "cpu", "cuda" or "auto" (CUDA where there is one).
        precision: the type to compute in; "auto" is float32 on a CPU (int8 for an int8 copy) and float16 on CUDA.
        threads: CPU threads; 0 leaves the choice to the library.
        side_by_side: there is much to decode, so that CPU threads had better run batches side by side than share each one, where the
            engine can (see :attr:`Engine.workers`).

    Raises:
        ModelError: a folder cannot be loaded.
        UnsupportedError: there is no engine for this kind, or it cannot honour an option.
        MissingExtraError: the engine's library is not installed.
    """
    if folder.kind == "transformers":
        from finewhisper.engines.transformers import TransformersEngine

        return TransformersEngine.load(folder, device=device, precision=precision, threads=threads)
    if folder.kind == "ctranslate2":
        from finewhisper.engines.ct2 import CTranslate2Engine

        return CTranslate2Engine.load(folder, device=device, precision=precision, threads=threads, side_by_side=side_by_side)
    if folder.kind == "ggml":
        from finewhisper.engines.whispercpp import WhisperCppEngine

        return WhisperCppEngine.load(folder, device=device, precision=precision, threads=threads)
    if folder.kind == "openai":
        step = f"finewhisper convert {folder.path} {folder.path.with_suffix('')} --to transformers"
        raise UnsupportedError(f"{folder.path}: OpenAI's checkpoints cannot be run as they are; convert it first: {step}")
    if folder.kind == "onnx":
        from finewhisper.engines.onnx import OnnxEngine

        return OnnxEngine.load(folder, device=device, precision=precision, threads=threads)
    raise UnsupportedError(f"{folder.path}: an adapter cannot be run by itself; merge it: finewhisper merge {folder.path} -o MERGED")


__all__ = ["ENGINES", "KINDS", "Engine", "load_engine"]
