"""Splits that depend on the clips alone, neither on the order of files nor on the machine."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import Clip, Shares
from finewhisper.errors import UsageError
from finewhisper.scoring.text import Normalizer

#: Two texts are one where a listener could not tell them apart.
same_text = Normalizer(("lower", "punctuation", "spaces"))


def split(clips: Sequence[Clip], shares: Shares, config: PrepareConfig) -> list[Clip]:
    """Deal clips out to train, dev and test; those that share a text (or a speaker) stay together.

    Raises:
        UsageError: a split that was asked for would be empty, or a clip names no speaker.
    """
    asked = {"test": config.test_share, "dev": config.dev_share}
    wanted = {name: getattr(shares, name) if share is None else share for name, share in asked.items()}
    key = _text if config.split_by == "text" else _speaker
    splits = deal([key(clip) for clip in clips], wanted, config.seed)
    for name, share in asked.items():
        if share and name not in splits:
            raise UsageError(
                f"--{name}-share {share:g}: no {config.split_by} is that small a part of the {len(clips)} clips; "
                f"raise the share, set it to 0, or choose another --split-by"
            )
    return [replace(clip, split=name) for clip, name in zip(clips, splits, strict=True)]


def deal(keys: Sequence[str], shares: dict[str, float], seed: int) -> list[str]:
    """The split of each item: "train" or a name in ``shares``; equal keys share one.

    Keys are taken in the order of their hashes; each goes to the first split with room left for all of its items.
    """
    groups = defaultdict(list)
    for index, key in enumerate(keys):
        groups[key].append(index)
    room = {name: math.ceil(share * len(keys)) for name, share in shares.items()}
    splits = ["train"] * len(keys)
    for key in sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogateescape")).digest()):
        name = next((name for name, left in room.items() if left >= len(groups[key])), None)
        if name is not None:
            room[name] -= len(groups[key])
            for index in groups[key]:
                splits[index] = name
    return splits


def _text(clip: Clip) -> str:
    """Clips without words are alike only to themselves."""
    utterance = clip.utterance
    return same_text(utterance.sentence) or f"{utterance.path.name}@{utterance.start_s:g}"


def _speaker(clip: Clip) -> str:
    speaker = clip.utterance.extra.get("speaker")
    if not speaker:
        raise UsageError(f"--split-by speaker: {clip.where or f'{clip.utterance.path}: '}names no speaker; choose --split-by text")
    return str(speaker)
