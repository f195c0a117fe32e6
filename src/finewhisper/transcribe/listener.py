"""What a transcriber asks of an engine: all of it for itself, or a share of one that a server's requests have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from finewhisper.audio import WINDOW_FRAMES, Waveform
from finewhisper.model import Context
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.vocabulary import Vocabulary

#: Shorter windows need less memory and gain more from company, so up to this many times as many share a batch.
_MOST_TIMES_AS_MANY = 4


class Listener(Protocol):
    """As :class:`finewhisper.engines.base.Engine`, which has the documentation."""

    @property
    def context(self) -> Context: ...

    @property
    def vocabulary(self) -> Vocabulary: ...

    @property
    def workers(self) -> int: ...

    def frames(self, waveform: Waveform, options: DecodeOptions | None = None) -> int: ...

    def transcribe(self, waveforms: Sequence[Waveform], options: DecodeOptions) -> list[Transcript]: ...

    def detect_languages(self, waveforms: Sequence[Waveform]) -> list[dict[str, float]]: ...


def windows_together(frames: int, batch_size: int) -> int:
    """How many windows with a context of ``frames`` share a batch that holds ``batch_size`` full ones."""
    return batch_size * min(WINDOW_FRAMES // frames, _MOST_TIMES_AS_MANY)
