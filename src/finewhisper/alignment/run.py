"""``finewhisper align``, from top to bottom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from finewhisper import manifest
from finewhisper.alignment.attention import Head, Listener
from finewhisper.alignment.config import WINDOWS, AlignConfig
from finewhisper.alignment.windows import Window, windows
from finewhisper.audio import Seconds
from finewhisper.engines.word_times import Matrix, path_starts
from finewhisper.errors import ManifestError
from finewhisper.files import atomic_file, sha256
from finewhisper.model import ModelFolder
from finewhisper.progress import track
from finewhisper.small_files import read_json, write_json
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
    """The heads that a model has and those that were chosen, and how good the times of both are."""

    manifest: Path  #: whose speech chose them
    before: Found
    after: Found

    @property
    def changed(self) -> bool:
        """Whether others were chosen than the model has."""
        return self.after.heads != self.before.heads

    def record(self) -> dict[str, Any]:
        """As in ``finewhisper.json``, under ``alignment``."""
        return {"manifest_sha256": sha256(self.manifest), "before": self.before.json(), "after": self.after.json()}

    def place(self, path: Path, content: Mapping[str, Any] | None = None) -> None:
        """Write the heads into a file, beside what is in it.

        Args:
            path: ``config.json`` of a CTranslate2 folder, ``generation_config.json`` of any other.
            content: what to write beside, in place of what is there.

        Raises:
            StorageError: it cannot be written.
        """
        whole = {**(read_json(path) if content is None else content), "alignment_heads": [list(head) for head in self.after.heads]}
        with atomic_file(path) as temporary:
            write_json(temporary, whole)

    def __str__(self) -> str:
        rows = [("word times", "heads", "mean error", "median", "within 0.1 s")]
        for name, found in (("before", self.before), ("after", self.after)):
            figures = (f"{found.mean_s:.3f} s", f"{found.median_s:.3f} s", f"{found.near_percent:.1f} %")
            rows.append((name, str(len(found.heads)), *figures))
        kept = f"heads: {_listed(self.after.heads)}" if self.changed else "the heads are good as they are"
        return "\n".join([*table(rows), f"{len(self.before.errors_s)} known moments, none of which chose the heads", kept])


@dataclass(frozen=True)
class Aligned:
    """The value of ``finewhisper align``."""

    model: Path
    alignment: Alignment
    written: bool

    def __str__(self) -> str:
        place = f"written to {self.model / 'generation_config.json'}" if self.written else "nothing was written"
        return f"{self.alignment}\n{place}"


def run(config: AlignConfig) -> Aligned:
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
    found = find(folder, config.manifest, config.language, config.limit)
    written = found.changed and not config.dry_run
    if written:
        found.place(folder.path / "generation_config.json", folder.generation)
        folder.card.model_copy(update={"alignment": found.record()}).write(folder.path)
    return Aligned(config.model, found, written)


def find(folder: ModelFolder, path: Path, language: str | None = None, limit: int = WINDOWS) -> Alignment:
    """Choose the alignment heads of a model, and measure them beside those that it has.

    Args:
        path: a manifest with speech that the model is for.
        language: of the lines that do not say theirs.
        limit: the most windows to listen to, half of them to choose and half to measure.

    Raises:
        ManifestError: too few moments are known in it.
        AudioError: a clip cannot be read.
    """
    listener = Listener(folder)
    heard = windows(manifest.read(path), listener.vocabulary, language, limit)
    if len(heard) < 2:
        raise ManifestError(
            f"{path}: holds {len(heard)} windows with a known moment, two are needed; give more clips, and shorter than 15 s, "
            "so that several fit into 30 s, or with times of their sentences or words ('sentences')"
        )
    current = _current(folder, listener.heads)
    chosen = choose(listener, heard[::2], current)
    before, after = measure(listener, heard[1::2], [current, chosen])
    return Alignment(path, before, after)


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


def _listed(heads: Sequence[Head]) -> str:
    return ", ".join(f"{layer}.{head}" for layer, head in heads)
