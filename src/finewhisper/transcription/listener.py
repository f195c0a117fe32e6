"""What a transcriber asks of an engine: all of it for itself, or a share of one that a server's requests have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from finewhisper import progress as reports
from finewhisper.audio import WINDOW_FRAMES, Waveform
from finewhisper.errors import MemoryLimitError
from finewhisper.model import Context
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.vocabulary import Vocabulary

Window = TypeVar("Window")
Answer = TypeVar("Answer")

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

    def transcribe(self, waveforms: Sequence[Waveform], options: DecodeOptions, batch_size: int = ...) -> list[Transcript]: ...

    def detect_languages(self, waveforms: Sequence[Waveform]) -> list[dict[str, float]]: ...


def windows_together(frames: int, batch_size: int) -> int:
    """How many windows with a context of ``frames`` share a batch that holds ``batch_size`` full ones."""
    return batch_size * min(WINDOW_FRAMES // frames, _MOST_TIMES_AS_MANY)


def by_halves(
    windows: list[Window],
    decode: Callable[[list[Window]], list[Answer]],
    batch_size: Callable[[], int],
    lower: Callable[[int], None],
) -> list[Answer]:
    """Decode windows together, or half of them at a time where memory does not hold them.

    Args:
        batch_size: how many full windows a batch may hold now.
        lower: told how many later batches may hold.

    Raises:
        MemoryLimitError: memory does not even hold one window.
    """
    planned = batch_size()
    try:
        return decode(windows)
    except MemoryLimitError:
        if len(windows) == 1:
            raise
    lower(max(min(batch_size(), planned // 2), 1))  # another batch at the same time may have failed as well
    reports.note(f"memory does not hold {len(windows)} windows at once: going on with fewer, as --batch-size {batch_size()} does")
    half = len(windows) // 2
    return by_halves(windows[:half], decode, batch_size, lower) + by_halves(windows[half:], decode, batch_size, lower)
