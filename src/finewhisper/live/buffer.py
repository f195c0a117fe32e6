"""The sound of a session from the first sample that is still needed."""

from __future__ import annotations

from collections import deque

import numpy as np

from finewhisper.audio import Waveform


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
