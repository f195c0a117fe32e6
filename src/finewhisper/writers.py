"""A transcript as text, subtitles or data: pure functions, one for each format.

Subtitle files hold one cue for each segment. The formats are SubRip (``.srt``), WebVTT (https://www.w3.org/TR/webvtt1/), OpenAI
Whisper's tab-separated table (milliseconds) and a JSON object with everything that is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from finewhisper.audio import Seconds
from finewhisper.transcript import Segment, Transcript

Writer = Callable[[Transcript], str]


def clock(seconds: Seconds, decimal_mark: str = ".") -> str:
    """``3661.5`` as ``01:01:01.500``: rounded to milliseconds first, so that 59.9996 s is one minute, not "00:00:60.000"."""
    milliseconds = _milliseconds(seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{decimal_mark}{rest % 1000:03d}"


def txt(transcript: Transcript) -> str:
    """The text alone, one segment a line."""
    return "".join(f"{_line(segment)}\n" for segment in transcript.segments)


def srt(transcript: Transcript) -> str:
    """SubRip: numbered cues with a comma before the milliseconds."""
    return "\n".join(
        f"{number}\n{clock(segment.start_s, ',')} --> {clock(segment.end_s, ',')}\n{_without_arrow(_line(segment))}\n"
        for number, segment in enumerate(transcript.segments, start=1)
    )


def vtt(transcript: Transcript) -> str:
    """WebVTT: a header, and text in which the characters of markup are written as entities."""
    cues = [f"{clock(segment.start_s)} --> {clock(segment.end_s)}\n{_entities(_line(segment))}\n" for segment in transcript.segments]
    return "\n".join(["WEBVTT\n", *cues])


def tsv(transcript: Transcript) -> str:
    """A table of start and end in whole milliseconds and text, as OpenAI's Whisper writes it."""
    rows = [f"{_milliseconds(segment.start_s)}\t{_milliseconds(segment.end_s)}\t{_line(segment)}\n" for segment in transcript.segments]
    return "".join(["start\tend\ttext\n", *rows])


def as_json(transcript: Transcript) -> str:
    """Everything that is known, times in seconds, rounded to milliseconds; what is not known is left out."""
    content: dict[str, Any] = {
        "language": transcript.language or None,
        "language_probability": transcript.language_probability,
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "segments": [_segment(number, segment) for number, segment in enumerate(transcript.segments)],
    }
    return json.dumps({key: value for key, value in content.items() if value is not None}, ensure_ascii=False, indent=2) + "\n"


#: The formats by the ending of their files.
WRITERS: dict[str, Writer] = {"txt": txt, "srt": srt, "vtt": vtt, "json": as_json, "tsv": tsv}


def _milliseconds(seconds: Seconds) -> int:
    return max(round(seconds * 1000), 0)


def _line(segment: Segment) -> str:
    """A segment's text on one line: a line break would end a row or, if doubled, a cue."""
    return " ".join(segment.text.split())


def _without_arrow(text: str) -> str:
    """SubRip has no escapes, so the arrow that would read as a line of times becomes a typographic one."""
    return text.replace("-->", "→")


def _entities(text: str) -> str:
    """WebVTT's own escapes; they also break up the arrow, which is not allowed in a cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    known = {"id": number, "start": round(segment.start_s, 3), "end": round(segment.end_s, 3), "text": segment.text}
    scores = {"avg_logprob": segment.avg_logprob, "no_speech_prob": segment.no_speech_prob}
    words = [
        {"start": round(word.start_s, 3), "end": round(word.end_s, 3), "text": word.text}
        | ({} if word.probability is None else {"probability": round(word.probability, 4)})
        for word in segment.words
    ]
    return known | {key: round(value, 4) for key, value in scores.items() if value is not None} | ({"words": words} if words else {})
