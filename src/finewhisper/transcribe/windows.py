"""Where to cut audio that is longer than a model can hear at once."""

from __future__ import annotations

from dataclasses import dataclass

from finewhisper.audio import SAMPLE_RATE, WINDOW_SAMPLES, Seconds, Waveform


@dataclass(frozen=True)
class Window:
    """A stretch of a waveform that an engine decodes at once, in samples at 16 kHz."""

    start: int
    end: int

    @property
    def start_s(self) -> Seconds:
        return self.start / SAMPLE_RATE

    @property
    def duration_s(self) -> Seconds:
        return (self.end - self.start) / SAMPLE_RATE


def plan(waveform: Waveform, vad: bool | None) -> list[Window]:
    """Cut a waveform into windows of up to 30 s."""
    return [Window(start, min(start + WINDOW_SAMPLES, len(waveform))) for start in range(0, len(waveform), WINDOW_SAMPLES)]
