"""``finewhisper align``, from top to bottom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from finewhisper import manifest
from finewhisper.alignment.attention import Head, Listener
from finewhisper.alignment.config import AlignConfig
from finewhisper.alignment.windows import Window, windows
from finewhisper.audio import Seconds
from finewhisper.engines.words import Matrix, path_starts
from finewhisper.errors import ManifestError
from finewhisper.files import atomic_file, sha256
from finewhisper.model import ModelFolder
from finewhisper.progress import track
from finewhisper.terminal import table

#: At most so many heads are averaged; OpenAI names 6 to 23 of a model.
MOST_HEADS = 20
#: A time this far off is as wrong as one that is farther, so that a lost head is not judged by how lost it is.
_LOST_S: Seconds = 1.0

Errors = npt.NDArray[np.float64]  # (choices, boundaries)


@dataclass(frozen=True)
class Found:
    """Heads, and how far their times are from known ones."""

    heads: tuple[Head, ...]
    errors_s: tuple[Seconds, ...]  #: one for each boundary of the windows that did not choose them

    @property
    def mean_s(self) -> Seconds:
        return float(np.mean(self.errors_s))

    @property
    def median_s(self) -> Seconds:
        return float(np.median(self.errors_s))

    @property
    def near_percent(self) -> float:
        """Within a tenth of a second."""
        return 100.0 * float(np.mean(np.array(self.errors_s) <= 0.1))

    def json(self) -> dict[str, Any]:
        return {
            "heads": [list(head) for head in self.heads],
            "mean_error_s": round(self.mean_s, 4),
            "median_error_s": round(self.median_s, 4),
            "within_0.1_s_percent": round(self.near_percent, 2),
        }


@dataclass(frozen=True)
class Alignment:
    """The value of ``finewhisper align``."""

    model: Path
    before: Found
    after: Found
    written: bool

    def __str__(self) -> str:
        rows = [("", "heads", "mean error", "median", "within 0.1 s")]
        for name, found in (("before", self.before), ("after", self.after)):
            figures = (f"{found.mean_s:.3f} s", f"{found.median_s:.3f} s", f"{found.near_percent:.1f} %")
            rows.append((name, str(len(found.heads)), *figures))
        kept = "the heads are good as they are" if self.after.heads == self.before.heads else f"heads: {_listed(self.after.heads)}"
        place = f"written to {self.model / _FILE}" if self.written else "nothing was written"
        return "\n".join([*table(rows), f"{len(self.before.errors_s)} known moments, none of which chose the heads", kept, place])


_FILE = "generation_config.json"


def run(config: AlignConfig) -> Alignment:
    """Choose the alignment heads of a model, measure them and write them down.

    Raises:
        ModelError: the folder is not a whole transformers one.
        ManifestError: too few moments are known in it.
        AudioError: a clip cannot be read.
        StorageError: the folder cannot be written.
    """
    folder = ModelFolder.open(config.model, "transformers")
    if config.threads:
        torch.set_num_threads(config.threads)
    listener = Listener(folder)
    heard = windows(manifest.read(config.manifest), listener.vocabulary, config.language, config.limit)
    if len(heard) < 2:
        raise ManifestError(
            f"{config.manifest}: holds {len(heard)} windows with a known moment, two are needed; give more clips, and shorter than 15 s, "
            "so that several fit into 30 s, or with times of their sentences or words ('sentences')"
        )
    current = _current(folder, listener.heads)
    chosen = choose(listener, heard[::2], current)
    before, after = measure(listener, heard[1::2], [current, chosen])
    alignment = Alignment(config.model, before, after, not config.dry_run and chosen != current)
    if alignment.written:
        _write(folder, alignment, config)
    return alignment


def choose(listener: Listener, heard: Sequence[Window], current: tuple[Head, ...]) -> tuple[Head, ...]:
    """The best heads together: of those that are best alone, the largest number that is as good as the best number.

    As good is what is worse by no more than one standard error of the difference (Breiman et al. 1984, "Classification and regression
    trees", section 3.4.3): the mean of more heads is steadier on other speech. For the same reason the current heads stay where they are
    as good.
    """
    alone = _errors(listener, heard, [(head,) for head in listener.heads], "each head")
    order = np.argsort(alone.mean(axis=1), kind="stable")[:MOST_HEADS]
    best = [listener.heads[place] for place in order]
    choices = [*(tuple(sorted(best[:count])) for count in range(1, len(best) + 1)), current]
    together = _errors(listener, heard, choices, "heads together")
    worse = together - together[together.mean(axis=1).argmin()]
    as_good = worse.mean(axis=1) <= worse.std(axis=1) / np.sqrt(worse.shape[1])
    return choices[int(np.flatnonzero(as_good)[-1])]


def measure(listener: Listener, heard: Sequence[Window], choices: Sequence[tuple[Head, ...]]) -> list[Found]:
    """How far the times of several choices of heads are off."""
    found = _errors(listener, heard, choices, "measure", lost_s=float("inf"))
    return [Found(heads, tuple(map(float, row))) for heads, row in zip(choices, found, strict=True)]


def _errors(
    listener: Listener, heard: Sequence[Window], choices: Sequence[tuple[Head, ...]], name: str, lost_s: Seconds = _LOST_S
) -> Errors:
    """Every choice's distances from every known moment: (choices, moments)."""
    heads = sorted({head for choice in choices for head in choice})
    places = [[heads.index(head) for head in choice] for choice in choices]
    found = []
    for window in track(heard, name, len(heard), "window"):
        attention = listener.attention(window, heads)
        found.append([_distances(attention[place].mean(axis=0, dtype=np.float64), window) for place in places])
    return np.minimum(np.concatenate(found, axis=1), lost_s)


def _distances(weights: Matrix, window: Window) -> npt.NDArray[np.float64]:
    """How far the times of a path are from the known moments of a window, seconds."""
    starts = path_starts(weights)
    return np.array([abs(starts[token] - at_s) for token, at_s in window.boundaries])


def _current(folder: ModelFolder, there: Sequence[Head]) -> tuple[Head, ...]:
    """The heads that the model names, or all of the upper half, which is what everybody takes where none are named.

    A model of fewer layers may still name those of the one that it was distilled from; what is not ``there`` is left out.
    """
    from finewhisper.generation import known_alignment_heads

    named = folder.generation.get("alignment_heads")
    known = [(layer, head) for layer, head in known_alignment_heads(named, folder.config)]
    return tuple(sorted(set(known) & set(there)) or known)


def _write(folder: ModelFolder, alignment: Alignment, config: AlignConfig) -> None:
    path = folder.path / _FILE
    content = folder.generation | {"alignment_heads": [list(head) for head in alignment.after.heads]}
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    record = {"manifest_sha256": sha256(config.manifest), "before": alignment.before.json(), "after": alignment.after.json()}
    folder.card.model_copy(update={"alignment": record}).write(folder.path)


def _listed(heads: Sequence[Head]) -> str:
    return ", ".join(f"{layer}.{head}" for layer, head in heads)
