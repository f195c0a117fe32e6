"""Which attention heads of a model tell when a word is spoken."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from finewhisper.errors import MissingExtraError
from finewhisper.manifest import read

if TYPE_CHECKING:
    from finewhisper.alignment.run import Alignment
    from finewhisper.model import ModelFolder


def choose_heads(model: ModelFolder, manifest: Path, language: str | None = None) -> Alignment:
    """What ``--align`` of ``merge`` and ``convert`` does; nothing is written.

    Args:
        model: a Hugging Face folder.
        manifest: with speech that the model is for.
        language: of the lines that do not say theirs; default: the model's, where it was tuned on one.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ManifestError: it cannot be used, or too few moments are known in it.
        AudioError: a clip cannot be read.
    """
    require(manifest)
    from finewhisper.alignment.run import find

    tuned = model.card.languages
    return find(model, manifest, language or (tuned[0] if len(tuned) == 1 else None))


def require(manifest: Path) -> None:
    """Refuse, before there is any work to lose, what :func:`choose_heads` would. Raises: MissingExtraError, ManifestError."""
    for library in ("torch", "transformers"):
        if find_spec(library) is None:
            raise MissingExtraError(f"{library}, to choose attention heads (--align),", "train")
    read(manifest)
