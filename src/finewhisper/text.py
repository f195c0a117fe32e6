"""How text is compared: small named steps, composed into a printable :class:`Normalizer`.

Chinese is compared in simplified characters without punctuation or spaces, numerals written in characters; other languages with
Whisper's basic normaliser (Radford et al. 2022, appendix C). Every step has a name and can be switched off or chosen by name.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from finewhisper.errors import UsageError
from finewhisper.transcript import UNSPACED

Step = Callable[[str], str]


@cache
def _basic_normalizer() -> Step:
    from whisper_normalizer.basic import BasicTextNormalizer

    normalizer: Step = BasicTextNormalizer()
    return normalizer


def basic(text: str) -> str:
    """Whisper's basic normaliser: lower case, no bracketed asides, no marks or punctuation, single spaces."""
    return _basic_normalizer()(text)


@cache
def _to_simplified() -> Step:
    import opencc

    converter = opencc.OpenCC("t2s")
    return lambda text: str(converter.convert(text))


def simplified(text: str) -> str:
    """Traditional Chinese characters to simplified ones (OpenCC t2s)."""
    return _to_simplified()(text)


def numerals(text: str) -> str:
    """Arabic numerals to Chinese characters (cn2an): "29度" becomes "二十九度", a year is read digit by digit."""
    if not any(character.isdecimal() for character in text):
        return text
    import cn2an

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cn2an warns of every expression that it leaves as it is
        return str(cn2an.transform(unicodedata.normalize("NFKC", text), "an2cn"))


def lower(text: str) -> str:
    """Lower case, after compatibility composition (full-width letters become ordinary ones)."""
    return unicodedata.normalize("NFKC", text).lower()


def punctuation(text: str) -> str:
    """Punctuation and symbols to spaces; letters keep their accents and vowel signs."""
    return "".join(" " if unicodedata.category(character)[0] in "PS" else character for character in text)


def spaces(text: str) -> str:
    """Runs of white space to one space, none at the ends."""
    return " ".join(text.split())


def no_spaces(text: str) -> str:
    """No white space at all, for scripts without word boundaries."""
    return re.sub(r"\s+", "", text)


STEPS: dict[str, Step] = {step.__name__: step for step in (basic, simplified, numerals, lower, punctuation, spaces, no_spaces)}


@dataclass(frozen=True)
class Normalizer:
    """A chain of named steps; ``str(normalizer)`` is part of every score's signature."""

    steps: tuple[str, ...]

    def __call__(self, text: str) -> str:
        for step in self.steps:
            text = STEPS[step](text)
        return text

    def __str__(self) -> str:
        return "+".join(self.steps) or "none"

    @classmethod
    def named(cls, steps: Sequence[str]) -> Normalizer:
        """Raises: UsageError for a step that does not exist."""
        unknown = [step for step in steps if step not in STEPS]
        if unknown:
            raise UsageError(f"--normalize: there is no step {unknown[0]!r}; the steps are {', '.join(STEPS)}")
        return cls(tuple(steps))

    @classmethod
    def for_language(cls, language: str | None) -> Normalizer:
        """What the language's error rates are conventionally computed on."""
        if language in {"zh", "yue"}:
            return cls(("simplified", "numerals", "lower", "punctuation", "no_spaces"))
        if language in UNSPACED:
            return cls(("lower", "punctuation", "no_spaces"))
        return cls(("basic", "spaces"))
