"""The last touch to a clip's segments: nothing empty, times in order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from finewhisper.audio import Seconds
from finewhisper.transcript import Segment


def finish(segments: Iterable[Segment], duration_s: Seconds) -> tuple[Segment, ...]:
    """Drop empty segments and keep times monotone and inside ``duration_s``."""
    finished: list[Segment] = []
    for segment in segments:
        if segment.text.strip():
            earliest = finished[-1].end_s if finished else 0.0
            start_s = min(max(segment.start_s, earliest), duration_s)
            finished.append(
                replace(segment, text=segment.text.strip(), start_s=start_s, end_s=min(max(segment.end_s, start_s), duration_s))
            )
    return tuple(finished)
