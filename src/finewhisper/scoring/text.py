"""How text is compared: small named steps, composed into a printable :class:`Normalizer`.

Chinese is compared in simplified characters without punctuation or spaces, numerals written in characters; other languages with
Whisper's basic normaliser (Radford et al. 2022, appendix C). Where that one takes words apart, the parts that do so are replaced:

- It puts a space for every combining mark, so "हिन्दी" becomes "ह न द" and error rates become those of fragments (Manohar et al. 2024,
  arXiv 2409.02449). Scripts that spell vowels with marks keep them; the optional points of Arabic and Hebrew go without a trace.
- It lowers "İ" to "i" and a mark, hence "i stanbul". Turkish and Azerbaijani are lowered by their own rule first.

Every step has a name and can be chosen by it, as in ``--normalize lower,punctuation,spaces``; ``none`` compares raw text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

from finewhisper.errors import UsageError
from finewhisper.scoring import numerals as chinese_numerals
from finewhisper.transcript import UNSPACED

Step = Callable[[str], str]


@cache
def _basic_normalizer() -> Step:
    from whisper_normalizer.basic import BasicTextNormalizer

    normalizer: Step = BasicTextNormalizer()
    return normalizer


def basic(text: str) -> str:
    """Whisper's basic normaliser: lower case, no bracketed asides, a space for every mark, symbol and punctuation, single spaces."""
    return _basic_normalizer()(_without_asides(text))


@cache
def _english_normalizer() -> Step:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Step = EnglishTextNormalizer()
    return normalizer


def english(text: str) -> str:
    """Whisper's English normaliser: also contractions, British spellings and numbers, as in most published English results."""
    text = _SPACES.sub(" ", _FILLERS.sub("", _without_asides(text.lower())))
    return _english_normalizer()(_ENDLESS.sub(lambda match: f"{match[0]} " if any(map(str.isnumeric, match[0])) else match[0], text))


# The normalisers of Whisper take time with the square of a text's length where it is made of opening brackets or of spaces, and fail at
# numbers of more than 4,300 digits, which Python does not convert. What they would do first is done here, in time with the length.

_FILLERS = re.compile(r"\b(?:hmm|mm|mhm|mmm|uh|um)\b")
_SPACES = re.compile(r"\s{2,}")
#: No word; such a number is cut into several.
_ENDLESS = re.compile(r"\S{1000}(?=\S)")
#: A mark that is a symbol like a bracket and opens nothing.
_OPENING = str.maketrans(dict.fromkeys("<[(", "{"))


def _without_asides(text: str) -> str:
    """:func:`brackets`, after which an opening bracket, which has no partner any more, is another mark."""
    return brackets(text).translate(_OPENING)


@cache
def _to_simplified() -> Step:
    import opencc

    converter = opencc.OpenCC("t2s")
    return lambda text: str(converter.convert(text))


def simplified(text: str) -> str:
    """Traditional Chinese characters to simplified ones (OpenCC t2s)."""
    return _to_simplified()(text)


def numerals(text: str) -> str:
    """Arabic numerals to Chinese characters as they are read: "29度" is 二十九度, "1998年" 一九九八年; 两 is 二."""
    return chinese_numerals.read_aloud(text)


def turkish(text: str) -> str:
    """The capitals that Turkish and Azerbaijani lower in their own way: I to ı, İ to i."""
    return unicodedata.normalize("NFC", text).replace("I", "ı").replace("İ", "i")


def unpointed(text: str) -> str:
    """Without the optional vowel points and cantillation of Arabic and Hebrew, and without the tatweel that stretches words."""
    return _POINTS.sub("", unicodedata.normalize("NFC", text))


_POINTS = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]"
)


def brackets(text: str) -> str:
    """Without asides such as [music], <noise> and (laughs), by the rules of Whisper's basic normaliser."""
    return _cut(_ROUND, ")", _cut(_SQUARE, ">]", text))


_SQUARE, _ROUND = re.compile(r"[<\[][^>\]]*[>\]]"), re.compile(r"\([^)]+?\)")


def _cut(aside: re.Pattern[str], closing: str, text: str) -> str:
    """A text without asides. Behind the last closing bracket none can end, and looking for it from every opening one would take long."""
    end = 1 + max(map(text.rfind, closing))
    return aside.sub("", text[:end]) + text[end:]


def lower(text: str) -> str:
    """Lower case, after compatibility composition (full-width letters become ordinary ones)."""
    return unicodedata.normalize("NFKC", text).lower()


def punctuation(text: str) -> str:
    """Punctuation and symbols to spaces; letters keep their accents and vowel signs."""
    return "".join(" " if unicodedata.category(character)[0] in "PS" else character for character in text)


def spaces(text: str) -> str:
    """Runs of white space to one space, none at the ends."""
    return " ".join(_INVISIBLE.sub(" ", text).split())


def no_spaces(text: str) -> str:
    """No white space at all, for scripts without word boundaries."""
    return "".join(_INVISIBLE.sub("", text).split())


#: Zero-width spaces: Khmer, Thai and Tibetan texts mark words with them, and they start some files; Python does not split at them.
_INVISIBLE = re.compile("[\u200b\u2060\ufeff]")

STEPS: dict[str, Step] = {
    step.__name__: step
    for step in (basic, english, simplified, numerals, turkish, unpointed, brackets, lower, punctuation, spaces, no_spaces)
}

#: Written with spaces, and with combining marks that are part of the spelling: Brahmic scripts, Yiddish, Yoruba.
_MARKED = frozenset({"as", "bn", "gu", "hi", "kn", "ml", "mr", "ne", "pa", "sa", "si", "ta", "te", "yi", "yo"})
#: Written in Arabic or Hebrew letters, whose points are left out in ordinary text.
_POINTED = frozenset({"ar", "fa", "he", "ps", "sd", "ur"})
_DOTLESS_I = frozenset({"az", "tr"})


@dataclass(frozen=True)
class Normalizer:
    """A chain of named steps; ``str(normalizer)`` is part of every score's signature."""

    steps: tuple[str, ...]

    def __post_init__(self) -> None:
        unknown = [step for step in self.steps if step not in STEPS]
        if unknown:
            raise UsageError(f"--normalize: there is no step {unknown[0]!r}; the steps are {', '.join(STEPS)}")

    def __call__(self, text: str) -> str:
        for step in self.steps:
            text = STEPS[step](text)
        return text

    def __str__(self) -> str:
        return "+".join(self.steps) or "none"

    @classmethod
    def named(cls, steps: str) -> Normalizer:
        """The steps of ``--normalize``, separated by commas or plus signs; "none" for raw text.

        Raises:
            UsageError: there is no such step.
        """
        names = [name.strip() for name in steps.replace("+", ",").split(",")]
        return cls(()) if names == ["none"] else cls(tuple(names))

    @classmethod
    def for_language(cls, language: str | None) -> Normalizer:
        """What the language's error rates are computed on; Whisper's basic normaliser where there is no reason for another."""
        if language in {"zh", "yue"}:
            return cls(("simplified", "numerals", "lower", "punctuation", "no_spaces"))
        if language in UNSPACED:
            return cls(("lower", "punctuation", "no_spaces"))
        if language in _MARKED:
            return cls(("brackets", "lower", "punctuation", "spaces"))
        if language in _POINTED:
            return cls(("unpointed", "basic", "spaces"))
        if language in _DOTLESS_I:
            return cls(("turkish", "basic", "spaces"))
        return cls(("basic", "spaces"))


def spelled(languages: Iterable[str | None], normalizer: Callable[[str | None], Normalizer]) -> str:
    """The steps for a set, as in a signature: ``basic+spaces``, or ``bg,en:basic+spaces;zh:simplified+…`` where languages differ."""
    named: dict[str, list[str]] = {}
    for language in sorted(set(languages), key=lambda language: language or ""):
        named.setdefault(str(normalizer(language)), []).append(language or "unknown")
    return next(iter(named)) if len(named) == 1 else ";".join(f"{','.join(codes)}:{steps}" for steps, codes in named.items())
