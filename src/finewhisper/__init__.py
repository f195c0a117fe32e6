"""finewhisper: adapt Whisper to your own speech and put it everywhere you need it.

    >>> import finewhisper as fw
    >>> model = fw.load("base")
    >>> print(model.transcribe("interview.mp3").text)

The names below are the whole public interface; :mod:`finewhisper.api` documents them. They are imported when they are first used, so that
``import finewhisper`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from finewhisper.api import (
        Model,
        Score,
        cer,
        convert,
        download,
        evaluate,
        finetune,
        load,
        merge,
        prepare,
        read_audio,
        read_manifest,
        wer,
        write_manifest,
    )
    from finewhisper.errors import AudioError, FinewhisperError, ManifestError, ModelError, UnsupportedError, UsageError
    from finewhisper.live.session import Final, Partial, SpeechStarted, SpeechStopped
    from finewhisper.live.stream import Stream
    from finewhisper.manifest import TimedSentence, Utterance
    from finewhisper.transcript import Segment, Transcript, Word

__all__ = [
    "AudioError",
    "Final",
    "FinewhisperError",
    "ManifestError",
    "Model",
    "ModelError",
    "Partial",
    "Score",
    "Segment",
    "SpeechStarted",
    "SpeechStopped",
    "Stream",
    "TimedSentence",
    "Transcript",
    "UnsupportedError",
    "UsageError",
    "Utterance",
    "Word",
    "__version__",
    "cer",
    "convert",
    "download",
    "evaluate",
    "finetune",
    "load",
    "merge",
    "prepare",
    "read_audio",
    "read_manifest",
    "wer",
    "write_manifest",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'finewhisper' has no attribute {name!r}; it offers {', '.join(__all__)}")
    value = globals()[name] = getattr(import_module("finewhisper.api"), name)
    return value


def __dir__() -> list[str]:
    return __all__
