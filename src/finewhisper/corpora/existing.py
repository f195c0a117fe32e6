"""An existing manifest: checked whole, completed and copied, and split where shares are given.

Every problem of the file is reported at once with file and line: broken lines, wrong types, slices outside the audio, files that are
missing, empty or not audio. The copy has each clip's length, languages as codes, and paths relative to it where the audio lies below.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from finewhisper import manifest
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import Clip, Corpus, Shares
from finewhisper.errors import UsageError
from finewhisper.language import spoken_language


def fetch(config: PrepareConfig) -> Path:
    """The manifest that was given. Raises: UsageError."""
    if config.source is None:
        raise UsageError("--source: is required for manifest: the .jsonl file to check")
    return config.source


def read(source: Path, config: PrepareConfig) -> Corpus:
    """Every line that can be used, and what is wrong with the others.

    Raises:
        ManifestError: there is no such file.
    """
    utterances, problems = manifest.scan(source)
    language = spoken_language(config.language)
    clips = [
        # a stated duration may be wrong; it is read from the audio
        Clip(replace(item, language=item.language or language, duration_s=None), source.stem, f"{source}:{item.line}: ")
        for item in utterances
    ]
    return Corpus(str(source), clips, Shares() if config.test_share or config.dev_share else None, problems=problems)
