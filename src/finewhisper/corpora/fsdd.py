"""The Free Spoken Digit Dataset: English digits, 8 kHz, six speakers, fifty recordings of each digit each.

Files are named ``{digit}_{speaker}_{index}.wav``; as its README says, indices 0 to 4 are the test set. Source: Zohar Jackson and
contributors, github.com/Jakobovski/free-spoken-digit-dataset; licence CC BY-SA 4.0.
"""

from __future__ import annotations

import re
from pathlib import Path

from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import Clip, Corpus
from finewhisper.errors import CorpusError, UsageError
from finewhisper.language import language_code
from finewhisper.manifest import Utterance

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEST_INDICES = range(5)
_RECORDING = re.compile(r"(?P<digit>\d)_(?P<speaker>\w+?)_(?P<index>\d+)\.(?:wav|flac)")


def fetch(config: PrepareConfig) -> Path:
    """The folder of recordings in the one given. Raises: UsageError, CorpusError."""
    if config.language is not None and language_code(config.language) != "en":
        raise UsageError(f"--language {config.language}: the digits of fsdd are spoken in English; leave it out")
    if config.source is None:
        raise UsageError("--source: is required for fsdd: a folder with recordings such as 7_jackson_32.wav")
    if not config.source.is_dir():
        raise CorpusError(f"{config.source}: no such folder")
    return next((folder for folder in (config.source / "recordings", config.source / "audio") if folder.is_dir()), config.source)


def read(folder: Path, config: PrepareConfig) -> Corpus:
    """All recordings of a folder. Raises: CorpusError where there are none."""
    clips = []
    for path in sorted(folder.iterdir()):
        match = _RECORDING.fullmatch(path.name)
        if match:
            utterance = Utterance(path, DIGITS[int(match["digit"])], "en", extra={"speaker": match["speaker"]})
            clips.append(Clip(utterance, "test" if int(match["index"]) in TEST_INDICES else "train"))
    if not clips:
        raise CorpusError(f"{folder}: holds no recordings named like 7_jackson_32.wav; give the dataset's folder")
    return Corpus("Free Spoken Digit Dataset, English", clips)
