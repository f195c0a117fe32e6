"""Sound in pieces, of any channels and of rates that may change midway, to mono of one rate.

Recorders and broadcasters join files of different rates, and FFmpeg then hands on frames of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soxr

if TYPE_CHECKING:
    from av import AudioFrame
    from av.audio.resampler import AudioResampler

Samples = npt.NDArray[np.float32]  # (samples,)


class Converter:
    """Keeps what a resampler needs from one piece to the next.

    Args:
        rate: of what comes out, in samples per second.
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.joined = False  #: whether the rate has changed: no header then tells how long all of it is
        self._from: int | None = None
        self._stream: soxr.ResampleStream | None = None
        self._format: tuple[str, str, int] | None = None
        self._planar: AudioResampler | None = None

    def frame(self, frame: AudioFrame) -> Samples:
        """A decoded frame; the channels are averaged, as FFmpeg's own mono is 3 dB louder than that."""
        import av

        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._planar is None or kind != self._format:
            self._planar, self._format = av.AudioResampler(format="fltp"), kind  # one refuses frames of another kind
        pieces = [piece.to_ndarray().mean(axis=0, dtype=np.float32) for piece in self._planar.resample(frame)]
        return self.samples(np.concatenate(pieces) if pieces else np.zeros(0, np.float32), frame.sample_rate)

    def samples(self, mono: Samples, rate: int) -> Samples:
        """The next mono samples, taken at ``rate``; the resampler holds some of them back."""
        rest = np.zeros(0, np.float32)
        if rate != self._from:
            self.joined = self.joined or self._from is not None
            rest = self.rest()
            self._from, self._stream = rate, None if rate == self.rate else soxr.ResampleStream(rate, self.rate, 1, dtype="float32")
        own = mono if self._stream is None else self._stream.resample_chunk(mono)
        return np.concatenate([rest, own]) if len(rest) else np.asarray(own, dtype=np.float32)

    def rest(self) -> Samples:
        """What the resampler still holds."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        held = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        self._from, self._stream = None, None
        return np.asarray(held, dtype=np.float32)
