"""Time stamps and samples brought together: what is missing between them is silence, what cannot be believed is passed over."""

from __future__ import annotations

from finewhisper.audio.constants import Seconds

#: Time stamps are rounded and jitter by this much, or by most of a frame, where nothing is missing.
_JITTER_S: Seconds = 0.03
_JITTER_FRAMES = 0.9
#: Stamps that go back by more than this begin anew, as where recordings were joined.
_ANEW_S: Seconds = 1.0
#: Once a packet was skipped its time is known to be missing.
_EXACT_S: Seconds = 0.002
#: No recording is smaller than this for each second of it, but for the shortest: speech at the lowest rates takes 600 bytes.
_LEAST_BYTES_PER_S, _ALWAYS_S = 200, 60.0


class Timeline:
    """Where in a file the next samples belong.

    Args:
        now_s: the time of what comes first, from the file's beginning.
        size: of the file in bytes, which bounds how long it may be.
        promised_s: where its header says that it ends; None: it does not.
        begun: whether something should come at once: a late start is a hole then.

    Attributes:
        now_s: the end of what has been placed.
        holes: times and lengths of those that were found.
        jumps: the times of stamps that were not believed.
        anew: whether stamps began again, so that no header tells how long all of it is.
    """

    def __init__(self, now_s: Seconds, size: int, promised_s: Seconds | None = None, *, begun: bool = False) -> None:
        self.now_s = now_s
        self.holes: list[tuple[Seconds, Seconds]] = []
        self.jumps: list[Seconds] = []
        self.anew = False
        self._offset_s: Seconds = 0.0
        self._skipped, self._begun = False, begun
        plausible_s = max(size / _LEAST_BYTES_PER_S, _ALWAYS_S)
        self._latest_s = plausible_s if promised_s is None else min(plausible_s, promised_s)

    def skipped(self, uncounted_s: Seconds = 0.0) -> None:
        """A packet could not be decoded: the next stamp says how long it was.

        Args:
            uncounted_s: what later stamps lack, where they are only counted from the packets before.
        """
        self._skipped = True
        self._offset_s += uncounted_s

    def place(self, stamp_s: Seconds | None, length_s: Seconds) -> Seconds:
        """The silence before a frame of ``length_s``; then the time is at the frame's end."""
        hole_s = 0.0 if stamp_s is None else self._hole_s(stamp_s, length_s)
        self._skipped, self._begun = False, True
        self.now_s += hole_s + length_s
        return hole_s

    def _hole_s(self, stamp_s: Seconds, length_s: Seconds) -> Seconds:
        late_s = stamp_s + self._offset_s - self.now_s
        if late_s < -_ANEW_S:
            self.anew = True
            self._offset_s -= late_s
            return 0.0
        if late_s < (_EXACT_S if self._skipped else max(_JITTER_S, _JITTER_FRAMES * length_s)):
            return 0.0
        if self.now_s + late_s > self._latest_s:
            self.jumps.append(self.now_s)
            self._offset_s -= late_s
            return 0.0
        if self._begun and not self._skipped:  # a late start is no hole
            self.holes.append((self.now_s, late_s))
        return late_s
