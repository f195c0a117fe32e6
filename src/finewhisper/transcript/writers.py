"""A transcript as text, subtitles or data: pure functions, one for each format.

Subtitle files hold one cue for each segment, or several of a given size. The formats are SubRip (``.srt``), WebVTT
(https://www.w3.org/TR/webvtt1/), Advanced SubStation (``.ass``), lyrics (``.lrc``), OpenAI Whisper's tab-separated table (milliseconds)
and a JSON object with everything that is known.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Protocol

from finewhisper.audio import Seconds
from finewhisper.transcript import Segment, Transcript
from finewhisper.transcript.cues import Layout, cues, one_line

#: Segments as they are.
PLAIN = Layout()


class Writer(Protocol):
    """One format; those without cues take no notice of the layout."""

    def __call__(self, transcript: Transcript, layout: Layout = PLAIN) -> str: ...


def clock(seconds: Seconds, decimal_mark: str = ".") -> str:
    """``3661.5`` as ``01:01:01.500``: rounded to milliseconds first, so that 59.9996 s is one minute, not "00:00:60.000"."""
    milliseconds = _milliseconds(seconds)
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{decimal_mark}{rest % 1000:03d}"


def txt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """The text alone, one segment a line."""
    return "".join(f"{one_line(segment.text)}\n" for segment in _named(transcript).segments)


def srt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """SubRip: numbered cues with a comma before the milliseconds."""
    return "\n".join(
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n{_without_arrow(chr(10).join(cue.lines))}\n"
        for number, cue in enumerate(cues(_named(transcript), layout), start=1)
    )


def vtt(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """WebVTT: a header, and text in which the characters of markup are written as entities."""
    shown = cues(transcript, layout)
    body = [f"{clock(cue.start_s)} --> {clock(cue.end_s)}\n{_voice(cue.speaker)}{_entities(chr(10).join(cue.lines))}\n" for cue in shown]
    return "\n".join(["WEBVTT\n", *body])


def ass(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """Advanced SubStation Alpha (http://www.tcax.org/docs/ass-specs.htm): one style, and a dialogue line for each cue."""
    rows = [
        f"Dialogue: 0,{_hundredths(cue.start_s)},{_hundredths(cue.end_s)},Default,{_name(cue.speaker)},0,0,0,,"
        f"{_without_markup(chr(10).join(cue.lines))}\n"
        for cue in cues(transcript, layout)
    ]
    return "".join([_ASS_HEAD, *rows])


def lrc(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """Lyrics for music players: the start of each segment in hundredths of a second; an empty line ends one before a pause."""
    rows = []
    transcript = _named(transcript)
    for index, segment in enumerate(transcript.segments):
        rows.append(f"[{_lyrics_clock(segment.start_s)}]{one_line(segment.text)}\n")
        following = transcript.segments[index + 1].start_s if index + 1 < len(transcript.segments) else transcript.duration_s
        if following - segment.end_s >= _LRC_PAUSE_S:
            rows.append(f"[{_lyrics_clock(segment.end_s)}]\n")
    return "".join(rows)


def tsv(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """A table of start and end in whole milliseconds and text, as OpenAI's Whisper writes it."""
    rows = [
        f"{_milliseconds(segment.start_s)}\t{_milliseconds(segment.end_s)}\t{one_line(segment.text)}\n"
        for segment in _named(transcript).segments
    ]
    return "".join(["start\tend\ttext\n", *rows])


def as_json(transcript: Transcript, layout: Layout = PLAIN) -> str:
    """Everything that is known, times in seconds, rounded to milliseconds; what is not known is left out."""
    content: dict[str, Any] = {
        "language": transcript.language or None,
        "language_probability": transcript.language_probability,
        "duration": round(transcript.duration_s, 3),
        "text": transcript.text,
        "segments": [_segment(number, segment) for number, segment in enumerate(transcript.segments)],
    } | noticed(transcript)
    return json.dumps({key: value for key, value in content.items() if value is not None}, ensure_ascii=False, indent=2) + "\n"


def noticed(transcript: Transcript) -> dict[str, Any]:
    """What a user should know of the recording, as JSON has it; nothing where there is nothing."""
    return {"notices": list(transcript.notices)} if transcript.notices else {}


#: The formats by the ending of their files.
WRITERS: dict[str, Writer] = {"txt": txt, "srt": srt, "vtt": vtt, "json": as_json, "tsv": tsv, "lrc": lrc, "ass": ass}

_LRC_PAUSE_S = 2.0
_ASS_HEAD = """[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288
ScaledBorderAndShadow: yes
WrapStyle: 0

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, StrikeOut, ScaleX, \
ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&H00FFFFFF,&H000000FF,&H00000000,&H00000000,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def _milliseconds(seconds: Seconds) -> int:
    return max(round(round(seconds, 3) * 1000), 0)  # as JSON has it: half a millisecond may fall either way


def _hundredths(seconds: Seconds) -> str:
    """``1:01:01.50``."""
    hundredths = max(round(seconds * 100), 0)
    minutes, rest = divmod(hundredths, 6_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"


def _lyrics_clock(seconds: Seconds) -> str:
    """``61:01.50``: there are no hours."""
    minutes, rest = divmod(max(round(seconds * 100), 0), 6_000)
    return f"{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"


def _named(transcript: Transcript) -> Transcript:
    """Speakers' names before what they say, for formats that have no place for them."""
    return replace(transcript, segments=tuple(map(_with_name, transcript.segments)))


def _with_name(segment: Segment) -> Segment:
    if not segment.speaker:
        return segment
    first, *others = segment.words or (None,)
    words = () if first is None else (replace(first, text=f"{segment.speaker}: {first.text.lstrip()}"), *others)
    return replace(segment, text=f"{segment.speaker}: {segment.text.lstrip()}", words=words)


def _voice(speaker: str | None) -> str:
    """WebVTT's voice tag, which may stand open when it holds for the whole cue."""
    return f"<v {_entities(one_line(speaker))}>" if speaker else ""


def _name(speaker: str | None) -> str:
    """A field of a dialogue line, which a comma would end."""
    return _without_markup(one_line(speaker)).replace(",", " ") if speaker else ""


def _without_arrow(text: str) -> str:
    """SubRip has no escapes, so the arrow that would read as a line of times becomes a typographic one."""
    return text.replace("-->", "→")


def _entities(text: str) -> str:
    """WebVTT's own escapes; they also break up the arrow, which is not allowed in a cue."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _without_markup(text: str) -> str:
    r"""Braces and backslashes would be commands, and there are no escapes: look-alikes take their places. ``\N`` breaks a line."""
    return text.translate({ord("{"): "｛", ord("}"): "｝", ord("\\"): "＼"}).replace("\n", "\\N")


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    known = {"id": number, "start": round(segment.start_s, 3), "end": round(segment.end_s, 3), "text": segment.text}
    known |= {"speaker": segment.speaker} if segment.speaker else {}
    scores = {"avg_logprob": segment.avg_logprob, "no_speech_prob": segment.no_speech_prob}
    words = [
        {"start": round(word.start_s, 3), "end": round(word.end_s, 3), "text": word.text}
        | ({} if word.probability is None else {"probability": round(word.probability, 4)})
        for word in segment.words
    ]
    return known | {key: round(value, 4) for key, value in scores.items() if value is not None} | ({"words": words} if words else {})
