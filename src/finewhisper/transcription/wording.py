"""What a user may want changed in the text that is written: simplified characters, no punctuation."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace

from finewhisper.scoring.text import simplified
from finewhisper.transcript import Transcript

Change = Callable[[str], str]

#: Inside a word or number these are spelling: don't, 3.14, 12:30, e-mail.
_INNER = frozenset("'’.,:/-‐")
#: Unicode counts these as punctuation, but they are read aloud.
_SPOKEN = frozenset("%‰@#&*§")


def without_punctuation(text: str) -> str:
    """Punctuation is deleted, dashes become spaces; apostrophes, points and hyphens inside words and numbers stay."""
    return " ".join("".join(map(_kept, f" {text}", text, f"{text[1:]} ")).split())


def _kept(before: str, mark: str, after: str) -> str:
    """What becomes of a character between its neighbours."""
    category = unicodedata.category(mark)
    if category[0] != "P" or mark in _SPOKEN or (mark in _INNER and _spells(before) and _spells(after)):
        return mark
    return " " if category == "Pd" or mark == "…" else ""


def _spells(character: str) -> bool:
    """Whether it is a letter or digit of a script with spaces."""
    return character.isalnum() and unicodedata.east_asian_width(character) not in "WF"


def changed(transcript: Transcript, changes: list[Change]) -> Transcript:
    """The transcript with every text changed; phrases and words of which nothing is left go."""

    def apply(text: str) -> str:
        for change in changes:
            text = change(text)
        return text

    segments = []
    for segment in transcript.segments:
        words = (replace(word, text=apply(word.text)) for word in segment.words)
        segments.append(replace(segment, text=apply(segment.text), words=tuple(word for word in words if word.text)))
    return replace(transcript, segments=tuple(segment for segment in segments if segment.text))


def changes(*, to_simple: bool, remove_pun: bool) -> list[Change]:
    """The changes that are asked for."""
    return [*([simplified] if to_simple else []), *([without_punctuation] if remove_pun else [])]
