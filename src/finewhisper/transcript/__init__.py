"""What was heard: plain values, and how they are written as text, subtitles and data."""

from finewhisper.transcript.values import (
    UNSPACED,
    DecodeOptions,
    Segment,
    Task,
    Transcript,
    Word,
    join_texts,
    joint,
    written_language,
)

__all__ = [
    "UNSPACED",
    "DecodeOptions",
    "Segment",
    "Task",
    "Transcript",
    "Word",
    "join_texts",
    "joint",
    "written_language",
]
