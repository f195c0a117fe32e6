"""The training log that travels with a fine-tuned model, for the curves in its report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from finewhisper import json_values
from finewhisper.errors import ModelError

NAME = "training.json"

Points = tuple[tuple[float, float], ...]  #: (optimizer step, value)


@dataclass(frozen=True)
class Curves:
    """What was logged while a model was trained, each by optimizer step; empty where it was not."""

    loss: Points = ()
    wer: Points = ()  #: percent, on the dev set
    cer: Points = ()

    @classmethod
    def read(cls, folder: Path) -> Curves:
        """Read ``training.json`` of a model folder; no curves where there is none.

        Raises:
            ModelError: it is not a list of objects with a step.
        """
        path = folder / NAME
        if not path.is_file():
            return cls()
        try:
            entries = json_values.read(path)
            return cls(*(_points(entries, key) for key in ("loss", "eval_wer", "eval_cer")))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise ModelError(f'{path}: is not a list like [{{"step": 10, "loss": 1.5}}, …] ({error!r}); delete it or merge again') from None


def _points(entries: list[dict[str, float]], key: str) -> Points:
    points = ((float(entry["step"]), float(entry[key])) for entry in entries if entry.get(key) is not None)
    return tuple(sorted(point for point in points if math.isfinite(point[1])))
