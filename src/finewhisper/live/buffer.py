"""The sound of a session: in pieces as it comes, and from the first sample that is still needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform

#: A session judges a piece at once, and knows only then what it holds.
PIECE_S: Seconds = 0.5


def in_pieces(samples: npt.NDArray[Any], rate: int = SAMPLE_RATE) -> Iterator[npt.NDArray[Any]]:
    """At most half a second of samples (samples,) at a time."""
    step = round(PIECE_S * rate)
    for first in range(0, len(samples), step):
        yield samples[first : first + step]


class SoundBuffer:
    """Pieces in order; samples are counted from the beginning of the session.

    Attributes:
        begin: the first sample that is kept.
        end: how many samples there have been.
    """

    def __init__(self) -> None:
        self._pieces: deque[Waveform] = deque()
        self.begin = self.end = 0

    def append(self, waveform: Waveform) -> None:
        if len(waveform):
            self._pieces.append(waveform)
            self.end += len(waveform)

    def forget(self, before: int) -> None:
        """Drop whole pieces that end before a sample."""
        while self._pieces and self.begin + len(self._pieces[0]) <= before:
            self.begin += len(self._pieces.popleft())

    def part(self, start: int, end: int) -> Waveform:
        """A copy of some samples, none of them forgotten."""
        joined = np.concatenate([*self._pieces, np.zeros(0, dtype=np.float32)])
        return np.array(joined[start - self.begin : end - self.begin], dtype=np.float32)
