"""The engines behind one method, chosen by what kind of folder a model is."""

from __future__ import annotations

from importlib import import_module
from typing import Protocol

from finewhisper.engines.base import Engine
from finewhisper.errors import UnsupportedError
from finewhisper.formats import ENGINES, FORMATS, RUNNABLE
from finewhisper.model import ModelFolder
from finewhisper.shared_options import EngineOptions

#: The kinds of folders that they run.
KINDS = RUNNABLE


class Loads(Protocol):
    """The class of an engine that runs model folders."""

    def load(self, folder: ModelFolder, *, device: str, precision: str, threads: int, side_by_side: bool) -> Engine:
        """As :func:`load_engine`."""


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
    found = FORMATS[folder.kind]
    if not found.engine:
        raise UnsupportedError(f"{folder.path}: {found.advice.format(path=folder.path, stem=folder.path.with_suffix(''))}")
    module, _, name = found.runs.partition(":")
    engine: Loads = getattr(import_module(module), name)
    return engine.load(folder, device=device, precision=precision, threads=threads, side_by_side=side_by_side)


def load_for(folder: ModelFolder, options: EngineOptions, *, side_by_side: bool, full_windows: bool = False) -> Engine:
    """As :func:`load_engine`, as a verb's options have it.

    Args:
        full_windows: in windows of 30 s, whatever context the model has learnt.
    """
    engine = load_engine(folder, device=options.device, precision=options.precision, threads=options.threads, side_by_side=side_by_side)
    return engine.within(engine.context.full()) if full_windows else engine


__all__ = ["ENGINES", "KINDS", "Engine", "load_engine", "load_for"]
