"""Subtitles as they are shown: a phrase is broken into lines of a width and into cues of a number of lines.

Where the times of words are known a cue begins and ends with its words; else a phrase's time is shared out by the length of the text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from finewhisper.audio import Seconds
from finewhisper.transcript import Segment, Transcript, joint


@dataclass(frozen=True)
class Layout:
    """How much of a phrase is shown at once; 0 sets no bound."""

    max_line_width: int = 0  #: in columns: a Chinese or Japanese character takes two
    max_line_count: int = 0  #: lines of a cue; needs a width


@dataclass(frozen=True)
class Cue:
    """What is on the screen for a while."""

    start_s: Seconds
    end_s: Seconds
    lines: tuple[str, ...]
    speaker: str | None = None


@dataclass(frozen=True)
class Piece:
    """What must not be broken: a word, or a character of a script without spaces with its punctuation."""

    text: str
    start_s: Seconds
    end_s: Seconds


def cues(transcript: Transcript, layout: Layout) -> list[Cue]:
    """The cues of all phrases, in order."""
    return [cue for segment in transcript.segments for cue in _cues(segment, layout, joint(segment.text, transcript.language))]


def _cues(segment: Segment, layout: Layout, space: str) -> list[Cue]:
    if not layout.max_line_width:
        return [Cue(segment.start_s, segment.end_s, (one_line(segment.text),), segment.speaker)]
    lines = _lines(pieces(segment, space), layout.max_line_width, space)
    step = layout.max_line_count or len(lines) or 1
    shown = [lines[first : first + step] for first in range(0, len(lines), step)]
    edges = [(group[0][0].start_s, group[-1][-1].end_s) for group in shown]
    if edges:  # the phrase's own times say when it is shown, those of words only where it is cut
        edges[0] = (segment.start_s, edges[0][1])
        edges[-1] = (edges[-1][0], segment.end_s)
    return [
        Cue(start_s, end_s, tuple(space.join(piece.text for piece in line) for line in group), segment.speaker)
        for group, (start_s, end_s) in zip(shown, edges, strict=True)
    ]


def _lines(pieces: Sequence[Piece], width: int, space: str) -> list[list[Piece]]:
    """Fill lines in order; a piece that is wider than a line has one of its own."""
    lines: list[list[Piece]] = []
    used = 0
    for piece in pieces:
        needed = columns(piece.text)
        if lines and used + len(space) + needed <= width:
            lines[-1].append(piece)
            used += len(space) + needed
        else:
            lines.append([piece])
            used = needed
    return lines


def pieces(segment: Segment, space: str) -> list[Piece]:
    """The words of a phrase, or the characters of a script without spaces; where their times are not known, its own is shared out."""
    if segment.words:
        return [Piece(one_line(word.text), word.start_s, word.end_s) for word in segment.words]
    texts = one_line(segment.text).split(" ") if space else _glyphs(one_line(segment.text))
    total = max(sum(map(len, texts)), 1)
    found, before = [], 0
    for text in texts:
        after = before + len(text)
        start_s, end_s = (segment.start_s + (segment.end_s - segment.start_s) * part / total for part in (before, after))
        found.append(Piece(text, start_s, end_s))
        before = after
    return found


def _glyphs(text: str) -> list[str]:
    """Characters, each with what must not begin a line: marks, closing punctuation, and the rest of a Latin word or number."""
    glyphs: list[str] = []
    for character in text:
        bound = unicodedata.category(character) in {"Mn", "Mc", "Me", "Po", "Pe", "Pf"}
        latin = bool(glyphs) and character.isascii() and character.isalnum() and glyphs[-1][-1].isascii() and glyphs[-1][-1].isalnum()
        if glyphs and (bound or latin):
            glyphs[-1] += character
        else:
            glyphs.append(character)
    return glyphs


def columns(text: str) -> int:
    """How wide a text is: characters that East Asian type sets in full squares count twice, combining marks not at all."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(unicodedata.combining(character) > 0 for character in text)


def one_line(text: str) -> str:
    """Without line breaks: they would end a row or, if doubled, a cue."""
    return " ".join(text.split())
