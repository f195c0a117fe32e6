"""What a corpus hands to ``prepare``: its clips, each with its split, and what it left out and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from finewhisper.manifest import Utterance

if TYPE_CHECKING:
    from finewhisper.prepare.config import PrepareConfig

#: In the order in which they are written and shown.
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Clip:
    """An utterance, where it goes, and where it stood."""

    utterance: Utterance
    split: str = "train"
    where: str = ""  #: such as "metadata.csv:12: ", to begin a sentence about it with

    def moved(self, split: str) -> Clip:
        """The same clip in another split."""
        return replace(self, split=split)


@dataclass(frozen=True)
class LeftOut:
    """A clip that is no part of the manifests."""

    reason: str
    path: Path
    text: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Corpus:
    """A corpus that has been read, before anyone has looked at its audio."""

    title: str
    clips: Sequence[Clip]
    left_out: Sequence[LeftOut] = ()  #: by rules of the corpus, which its module explains
    problems: Sequence[str] = ()  #: lines that cannot be used
    max_characters_per_second: float | None = None  #: of text; more means that the text is not what is said


@dataclass(frozen=True)
class Recipe:
    """The two functions of a corpus."""

    fetch: Callable[[PrepareConfig], Path]
    read: Callable[[Path, PrepareConfig], Corpus]
