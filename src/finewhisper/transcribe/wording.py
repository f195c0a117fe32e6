"""What a user may want changed in the text that is written: simplified characters, no punctuation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from finewhisper.text import simplified
from finewhisper.transcript import Transcript

Change = Callable[[str], str]

#: Inside a word or number a mark is spelling: don't, 3.14, 12:30, e-mail.
_MARKS = re.compile(r"(?<=[^\W_])(?P<inner>['’.,:/\-‐])(?=[^\W_])|(?P<dash>[–—―…~～·]|--+)|(?P<mark>[^\w\s%‰°$€£¥₩₽+=<>&@#*^|`])|_")
_CJK = r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
_INNER_CJK = re.compile(f"(?<={_CJK})['’.,:/\\-‐](?={_CJK})")


def without_punctuation(text: str) -> str:
    """Punctuation is deleted, dashes become spaces; apostrophes, points and hyphens inside words and numbers stay."""
    spelt = _MARKS.sub(lambda found: found["inner"] or (" " if found["dash"] else ""), _INNER_CJK.sub("", text))
    return " ".join(spelt.split())


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
