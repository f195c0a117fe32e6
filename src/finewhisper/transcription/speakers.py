"""Recordings in which each speaker has a channel, as calls and interviews are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from finewhisper.transcript import Transcript


def together(transcripts: Sequence[Transcript], names: Sequence[str]) -> Transcript:
    """One transcript of what was heard in each channel: phrases in the order of their times, each with its speaker."""
    spoken = [
        replace(segment, speaker=name) for transcript, name in zip(transcripts, names, strict=True) for segment in transcript.segments
    ]
    first = next((transcript for transcript in transcripts if transcript.segments), transcripts[0])
    return replace(
        first,
        segments=tuple(sorted(spoken, key=lambda segment: (segment.start_s, segment.end_s))),
        duration_s=max(transcript.duration_s for transcript in transcripts),
        well_timed=tuple(timed for transcript in transcripts for timed in transcript.well_timed),
        notices=tuple(dict.fromkeys(notice for transcript in transcripts for notice in transcript.notices)),
    )
