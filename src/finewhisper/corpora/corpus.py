"""What a corpus hands to ``prepare``: its clips, each with its split, and what it left out and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from finewhisper.manifest import Utterance

if TYPE_CHECKING:
    from finewhisper.corpora.config import PrepareConfig

#: In the order in which they are written and shown.
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Clip:
    """An utterance, where it goes, and where it stood."""

    utterance: Utterance
    split: str = "train"
    where: str = ""  #: such as "metadata.csv:12: ", to begin a sentence about it with


@dataclass(frozen=True)
class Shares:
    """How large the test and dev splits are unless the user says otherwise, as shares of the clips."""

    test: float = 0.0
    dev: float = 0.0


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
    shares: Shares | None = None  #: to deal the clips out by; None: they know their splits
    left_out: Sequence[LeftOut] = ()  #: by rules of the corpus, which its module explains
    problems: Sequence[str] = ()  #: lines that cannot be used
    max_characters_per_second: float | None = None  #: of text; more means that the text is not what is said


@dataclass(frozen=True)
class Recipe:
    """The two functions of a corpus."""

    fetch: Callable[[PrepareConfig], Path]
    read: Callable[[Path, PrepareConfig], Corpus]
