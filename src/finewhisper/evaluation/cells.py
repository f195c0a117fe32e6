"""What each model heard in each set, kept beside the output until the table stands, so that a killed ``evaluate`` goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finewhisper import __version__, json_values
from finewhisper.files import atomic_file
from finewhisper.scoring.sets import SpeechSet
from finewhisper.transcript import Segment, Transcript


class Cells:
    """A folder of finished cells, each under a digest of everything that its texts depend on."""

    def __init__(self, output: Path) -> None:
        self._folder = output.absolute().parent / f".{output.name}.cells"

    def key(self, speech: SpeechSet, **made_with: Any) -> str:
        """The digest of a cell: the clips as they are on disk, what is asked of each, and how it is decoded."""
        clips = []
        for utterance, language in zip(speech.utterances, speech.languages, strict=True):
            state = utterance.path.stat()
            place = (str(utterance.path.absolute()), utterance.start_s, utterance.end_s)
            clips.append([*place, state.st_size, state.st_mtime_ns, language])
        content = json.dumps([__version__, clips, made_with], sort_keys=True)
        return hashlib.sha256(content.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def read(self, key: str, speech: SpeechSet) -> list[Transcript] | None:
        """A cell that was finished before; None where there is none that can be read."""
        try:
            found = json_values.read(self._folder / f"{key}.json")
            transcripts = [_transcript(*entry) for entry in found]
        except (OSError, ValueError, TypeError):
            return None
        return transcripts if len(transcripts) == len(speech.utterances) else None

    def write(self, key: str, heard: Sequence[Transcript]) -> None:
        """Keep a finished cell. Raises: StorageError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        content = [[transcript.text, transcript.language, transcript.duration_s, transcript.language_probability] for transcript in heard]
        with atomic_file(self._folder / f"{key}.json") as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")

    def drop(self) -> None:
        """Remove the cells, once the table is written."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _transcript(text: str, language: str, duration_s: float, probability: float | None) -> Transcript:
    return Transcript((Segment(text, 0.0, duration_s),) if text else (), language, duration_s, probability)
