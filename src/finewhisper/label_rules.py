"""What a text may hold that is to be learnt or scored: what is refused, and what is only told.

A label is one line of Unicode in its composed form (NFC), as models write it. Whisper's own tokens and control characters are no speech.
"""

from __future__ import annotations

import re
import unicodedata

_TOKEN = re.compile(r"<\|[^<|>]{0,64}\|>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # all but tab, line feed and carriage return
_BREAKS = re.compile("[\t\n\r\u2028\u2029]")
_TAG = re.compile(r"\{[^{}]{1,40}\}|<[A-Za-z/][^<>|]{0,40}>|\[[^\[\]]{1,40}\]")
#: What pandas and databases write into a cell that holds nothing.
_NOTHING = frozenset({"nan", "NaN", "NAN", "None", "NULL", "null", "<NA>", "<nan>", "#N/A", "N/A", "NaT", "nil"})

#: Letters a second that nobody speaks for a whole sentence; auctioneers reach about 25.
_LETTERS, _KANA, _IDEOGRAPHS = 30.0, 20.0, 15.0
#: How many times as long as a clip its text must take even then, to be another clip's.
IMPOSSIBLE = 4.0
#: No word is shorter.
SHORTEST_S = 0.1


def composed(text: str) -> str:
    """A label in the normal form that models write: NFC."""
    return unicodedata.normalize("NFC", text)


def refusal(text: str) -> str | None:
    """Why a text cannot be a label, as the end of a sentence; None where it can."""
    token = _TOKEN.search(text)
    if token:
        return f"holds {token[0]!r}, which has the form of Whisper's special tokens; write only what is said"
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "holds half a character (a lone surrogate); write the text again"
    control = _CONTROL.search(text)
    if control:
        name = "a NUL" if control[0] == "\0" else f"the control character {control[0]!r}"
        return f"holds {name}; write the text again"
    return None


def oddities(text: str) -> list[str]:
    """What a label holds that is seldom speech, each as the end of a sentence."""
    stripped = text.strip()
    found = []
    if stripped in _NOTHING:
        found.append(f"is {stripped!r}, which pandas and databases write where there is nothing; if nothing is said, leave it empty")
    if _BREAKS.search(stripped):
        found.append("holds a tab or a line break, which the model learns to write")
    tag = _TAG.search(text)
    if tag:
        found.append(f"holds {tag[0]!r}; if nobody says that, the model learns to write it")
    if "\ufffd" in text:
        found.append("holds '\ufffd', which stands where a text was read in the wrong encoding")
    if stripped and not any(character.isalnum() for character in stripped):
        found.append(f"is {stripped[:40]!r}, in which nothing can be said")
    return found


def spoken_s(text: str) -> float:
    """Seconds that a text takes at least, at a pace that nobody keeps up."""
    return sum(map(str.isalnum, text)) / _LETTERS if text.isascii() else sum(map(_letter_s, text))


def mismatch(text: str, heard_s: float) -> str | None:
    """That nobody can have said a text in that time, where it is beyond doubt."""
    stripped = text.strip()
    if not stripped:
        return None
    if heard_s < SHORTEST_S:
        return f"is {heard_s:.3f} s long, too short for any word, but its sentence is {_short(stripped)}"
    if spoken_s(stripped) > IMPOSSIBLE * heard_s:
        return f"is {heard_s:.2f} s long, in which nobody says {len(stripped)} characters: {_short(stripped)}"
    return None


def hurried(text: str, heard_s: float) -> str | None:
    """That a text is hardly said in that time."""
    needed_s = spoken_s(text)
    return f"has {len(text.strip())} characters in {heard_s:.2f} s, faster than people speak" if needed_s > heard_s else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")


def _letter_s(letter: str) -> float:
    if not letter.isalnum():
        return 0.0
    if "\u3040" <= letter <= "\u30ff":
        return 1 / _KANA
    return 1 / _IDEOGRAPHS if unicodedata.east_asian_width(letter) == "W" else 1 / _LETTERS
