"""What a run learns from, as it was when it began: a run that goes on must find it unchanged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finewhisper import json_values
from finewhisper.errors import UsageError
from finewhisper.files import sampled_sha256, sha256
from finewhisper.manifest import Utterance
from finewhisper.model import ModelFolder
from finewhisper.training.config import FinetuneConfig

#: The file in a run's folder.
NAME = "inputs.json"


def write(inputs: dict[str, Any], folder: Path) -> None:
    """Keep what :func:`describe` found beside the run's options."""
    (folder / NAME).write_text(json.dumps(inputs, indent=1) + "\n", encoding="utf-8")


def describe(config: FinetuneConfig, base: ModelFolder, train: Sequence[Utterance]) -> dict[str, Any]:
    """The contents of all files that decide what is learnt, as hashes by option, and how many utterances can be used."""
    return {
        "model": sampled_sha256(base.files / "config.json", *base.stored_weights()),
        "train": sha256(config.train),
        "utterances": len(train),
        "dev": [sha256(path) for path in config.dev],
        "augment": sha256(config.augment) if config.augment else None,
    }


def require_unchanged(inputs: dict[str, Any], folder: Path) -> None:
    """Refuse to go on with other data than the run in ``folder`` began with; a run without the file is taken at its word.

    Raises:
        UsageError: naming what has changed.
    """
    path = folder / NAME
    try:
        before = dict(json_values.read(path)) if path.is_file() else {}
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"--resume: {path}: cannot be read ({error}); delete it to resume without comparing the data") from None
    changed = [_change(key, value, inputs[key]) for key, value in before.items() if value != inputs[key]]
    if changed:
        raise UsageError(
            f"--resume: {'; '.join(changed)} since the run in {folder} began. "
            "Bring back what it began with, or start a new run in another -o"
        )


def _change(key: str, before: object, now: object) -> str:
    return (
        f"the usable utterances of --train have become {now} instead of {before}" if key == "utterances" else f"--{key} has other content"
    )
