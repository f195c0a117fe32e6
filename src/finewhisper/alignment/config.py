"""What ``finewhisper align`` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from finewhisper.config import Config, Flag
from finewhisper.language import Language

#: How many windows of up to 30 s are listened to.
WINDOWS = 24


class AlignConfig(Config):
    """Word times come from a few of the decoder's attention heads, and fine-tuning changes which of them are good at it.

    Clips of the manifest are joined to windows of up to 30 s, so that the moments where one ends and the next begins are known; times that
    the manifest gives for sentences or words are used too. The heads that find these moments best are written into the
    model's generation_config.json, from which convert and transformers take them. Half of the windows choose the heads, the other half
    say how far their times are off, before and after.
    """

    model: Annotated[Path, Flag(positional=True)]
    """Hugging Face folder of the model; its generation_config.json is changed."""
    manifest: Path
    """Manifest with speech that the model is for, such as its dev set."""
    limit: int = Field(WINDOWS, ge=2)
    """How many windows to listen to, half of them to choose and half to measure."""
    language: Language = None
    """Language of the clips where the manifest does not say."""
    dry_run: bool = False
    """Only print what would be chosen."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 leaves the choice to torch."""
