"""Where somebody begins and stops speaking, told as soon as it is sure, from sound that arrives piece by piece.

The detector and its thresholds are those that cut recordings (:mod:`finewhisper.transcription.vad`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform
from finewhisper.transcription.silero import CHUNK_SAMPLES, Detector

#: Added before and after speech unless another padding is asked for: soft beginnings and ends of words are speech too.
PADDING_S: Seconds = 0.3
#: Speech ends this much below the probability at which it begins: a word's soft end keeps it open.
_HYSTERESIS = 0.15
#: Less speech than this is a click; two clicks further apart than this are two.
_SHORTEST_S: Seconds = 0.1
#: A chunk that never gets louder is not shown to the detector: a muted microphone costs nothing. -60 dB of full scale.
_INAUDIBLE = 1e-3


@dataclass(frozen=True)
class Start:
    """Somebody speaks since this sample."""

    at: int


@dataclass(frozen=True)
class End:
    """Nobody has spoken since this sample."""

    at: int


class EndPointer:
    """Finds utterances in 16 kHz sound.

    Args:
        pause_s: silence that ends an utterance.
        threshold: probability of speech at which an utterance begins.
        padding_s: what is added before and after it.
        at: the sample of the session that the sound begins with.
    """

    def __init__(self, pause_s: Seconds, threshold: float = 0.5, padding_s: Seconds = PADDING_S, *, at: int = 0) -> None:
        self._pause, self._on, self._off = round(pause_s * SAMPLE_RATE), threshold, threshold - _HYSTERESIS
        self._padding, self._shortest = (round(seconds * SAMPLE_RATE) for seconds in (padding_s, _SHORTEST_S))
        self._detector = Detector()
        self._waiting = np.zeros(0, dtype=np.float32)  # less than a chunk
        self._at = at  # samples judged
        self._first: int | None = None  # where the speech that may become an utterance began
        self._last = at  # where the last speech ended
        self._loud = 0  # samples of speech since then
        self._free = at  # what comes before belongs to an earlier utterance
        self.speaking = False

    @property
    def at(self) -> int:
        """How many samples have been judged."""
        return self._at

    @property
    def heard_until(self) -> int:
        """The sample at which the last speech ended."""
        return self._last

    def feed(self, waveform: Waveform) -> list[Start | End]:
        """Judge the next samples, all but the last few that do not fill a chunk of 32 ms."""
        joined = np.concatenate([self._waiting, waveform])
        whole = len(joined) // CHUNK_SAMPLES * CHUNK_SAMPLES
        self._waiting = joined[whole:]
        found = []
        for probability in self._probabilities(joined[:whole]):
            event = self._judged(probability)
            if event is not None:
                found.append(event)
        return found

    def split(self, at: int) -> None:
        """An utterance was cut at a sample: nothing before it belongs to the next one."""
        self._free = at

    def reset(self, at: int) -> None:
        """An utterance ended at a sample though its speaker may go on: that would be the next one."""
        self.speaking, self._first, self._free = False, None, at

    def _probabilities(self, chunks: Waveform) -> list[float]:
        """Of each chunk; runs of audible ones are judged together."""
        rows = chunks.reshape(-1, CHUNK_SAMPLES)
        audible = np.abs(rows).max(axis=1, initial=0.0) > _INAUDIBLE
        found = np.zeros(len(rows), dtype=np.float32)
        if audible.any():
            found[audible] = self._detector.judge(rows[audible].reshape(-1))
        return [float(probability) for probability in found]

    def _judged(self, probability: float) -> Start | End | None:
        start, self._at = self._at, self._at + CHUNK_SAMPLES
        if probability >= (self._on if self._first is None else self._off):
            if self._first is None:
                self._first, self._loud = start, 0
            self._loud += CHUNK_SAMPLES
            self._last = self._at
            if self.speaking or self._loud < self._shortest:
                return None
            self.speaking = True
            return Start(max(self._first - self._padding, self._free, 0))
        if self._first is None:
            return None
        if self._at - self._last >= (self._pause if self.speaking else self._shortest):
            return self._ended()
        return None

    def _ended(self) -> End | None:
        was_speaking, self.speaking, self._first = self.speaking, False, None
        self._free = min(self._last + self._padding, self._at)
        return End(self._free) if was_speaking else None
