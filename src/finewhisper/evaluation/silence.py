"""What a model writes where nothing is said: on silence, noise and music, every character is invented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finewhisper.audio import Seconds
from finewhisper.evaluation.scores import Row, split


@dataclass(frozen=True)
class Silence:
    """Clips in which nothing is said, all of them or those of one kind, and what was heard in them.

    Text counts as in the error rates: normalised, so that punctuation, and in most languages asides such as "[Music]", are nothing.
    """

    name: str  #: the manifest's ``label``, such as "music", or "all"
    clips: int
    audio_s: Seconds
    with_text: int  #: clips in which anything was heard
    characters: int  #: that were heard, the spaces between words among them
    before: Silence | None = None  #: the baseline

    @property
    def share(self) -> float:
        """Percent of the clips in which anything was heard."""
        return 100.0 * self.with_text / self.clips

    @property
    def per_minute(self) -> float:
        """Characters heard in a minute of such audio."""
        return 60.0 * self.characters / self.audio_s if self.audio_s else 0.0

    def json(self) -> dict[str, Any]:
        """As in ``result.json``."""
        content: dict[str, Any] = {
            "clips": self.clips,
            "audio_s": round(self.audio_s, 2),
            "clips_with_text": self.with_text,
            "percent_with_text": round(self.share, 4),
            "characters": self.characters,
            "characters_per_minute": round(self.per_minute, 4),
        }
        return content if self.before is None else content | {"baseline": self.before.json()}


def silences(rows: Sequence[Row], before: Sequence[Row] | None) -> list[Silence]:
    """All clips in which nothing is said, then those of each label where there are labels; empty where every clip has speech.

    Args:
        before: the same utterances in the same order, heard by the baseline.
    """
    silent = [index for index, row in enumerate(rows) if not row.normalized_reference]
    if not silent:
        return []
    found = [rows[index] for index in silent]
    earlier = None if before is None else [before[index] for index in silent]
    labels = split(found, earlier, lambda row: row.label)
    parts = [(name or "no label", part) for name, part in labels.items()] if any(labels) else []
    return [_silence(name, *part) for name, part in [("all", (found, earlier)), *parts]]


def _silence(name: str, rows: Sequence[Row], before: Sequence[Row] | None) -> Silence:
    return Silence(
        name,
        len(rows),
        sum(row.duration_s for row in rows),
        sum(bool(row.normalized_hypothesis) for row in rows),
        sum(row.characters.insertions for row in rows),
        None if before is None else _silence(name, before, None),
    )


def printed(found: Sequence[Silence]) -> list[tuple[str, ...]]:
    """The lines of the printed table, its headings first; none where every clip has speech."""
    if not found:
        return []
    headings = ("no speech", "clips", "audio", "with text", "characters", "a minute")
    compared = ("baseline with text", "a minute") if found[0].before else ()
    return [(*headings, *compared), *[_cells(one) for one in found]]


def _cells(one: Silence) -> tuple[str, ...]:
    cells = (one.name, str(one.clips), f"{one.audio_s:.0f} s", str(one.with_text), str(one.characters), f"{one.per_minute:.1f}")
    return cells if one.before is None else (*cells, str(one.before.with_text), f"{one.before.per_minute:.1f}")
