"""Your own recordings: a folder of audio files and a table of what is said in them.

The table is ``metadata.csv``, ``.tsv`` or ``.jsonl`` in the folder, or in its subfolders ``train``, ``dev`` and ``test``; a table can
also be given itself, such as Common Voice's ``validated.tsv``. A row has

- the file: ``file_name``, ``path`` or ``audio``, relative to the table, or to ``clips``, ``wavs`` or ``audio`` beside it;
- what is said: ``transcription``, ``sentence``, ``text``, ``transcript`` or ``normalized_text``; empty means no speech;
- optionally ``language`` (or ``locale``), ``speaker`` (or ``speaker_id``, ``client_id``), ``start`` and ``end`` in seconds, ``split``.

A table of lines ``id|text`` or ``id|text|normalised text`` without header is read as LJSpeech's, one of ``file|number|text`` as VITS'.
Further columns are kept. Files in folders called ``train``, ``dev`` or ``test`` belong to these splits. Without splits, they are dealt out
by text, so that no test sentence is trained on, or by speaker with ``--split-by speaker``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from finewhisper import label_rules
from finewhisper.corpora import tables
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import SPLITS, Clip, Corpus, Shares
from finewhisper.errors import CorpusError, UsageError
from finewhisper.files import is_path
from finewhisper.language import spoken_language
from finewhisper.manifest import Files, Utterance, halves

SHARES = Shares(test=0.1, dev=0.05)

_COLUMNS = {
    "file": ("file_name", "path", "audio", "file", "filename", "audio_path"),
    "text": ("transcription", "sentence", "text", "transcript", "normalized_text"),
    "language": ("language", "locale", "lang"),
    "speaker": ("speaker", "speaker_id", "client_id"),
    "start": ("start", "start_time"),
    "end": ("end", "end_time"),
    "split": ("split",),
}
_DECIMAL_COMMA = re.compile(r"[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})")  # three digits after it may be thousands
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "development", "valid", "validation", "val", "eval"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_TABLES = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
_BESIDE = ("", "clips", "wavs", "audio")


def fetch(config: PrepareConfig) -> Path:
    """The folder, or the table, that was given. Raises: UsageError, CorpusError."""
    if config.source is None:
        raise UsageError(f"--source: is required for audiofolder: a folder with {', '.join(_TABLES)}, or such a table itself")
    if not config.source.exists():
        raise CorpusError(f"{config.source}: no such file or folder")
    return config.source


def read(source: Path, config: PrepareConfig) -> Corpus:
    """Every row of the tables; what is wrong with rows is collected.

    Raises:
        CorpusError: there is no table, or it lacks a column.
    """
    problems: list[str] = []
    clips = []
    decided = False  # whether the corpus has splits of its own
    for table, folder_split in _tables(source):
        files = Files(table.parent)
        for number, row in tables.rows(table, _missing, problems):
            reader = _Row(table, number, row, config.language, files)
            clip = reader.clip(folder_split)
            problems += reader.problems
            if clip is not None:
                clips.append(clip)
            decided = decided or folder_split is not None or reader.has_split
        files.tell(table)
    if decided and {"test_share", "dev_share", "split_by"} & config.model_fields_set:
        raise UsageError(f"--test-share, --dev-share, --split-by: {source} has splits of its own; leave these options or its column away")
    clips.sort(key=lambda clip: (str(clip.utterance.path), clip.utterance.start_s))
    return Corpus(str(source), clips, None if decided else SHARES, problems=problems)


def _tables(source: Path) -> list[tuple[Path, str | None]]:
    """The metadata files, each with the split that its folder stands for."""
    if not source.is_dir():
        return [(source, None)]
    here: list[tuple[Path, str | None]] = [(source / name, None) for name in _TABLES if (source / name).is_file()]
    below: list[tuple[Path, str | None]] = [
        (source / folder / name, split_)
        for folder, split_ in _SPLIT_NAMES.items()
        for name in _TABLES
        if (source / folder / name).is_file()
    ]
    found = here or below
    if not found:
        raise CorpusError(f"{source}: holds no {', '.join(_TABLES)}; write one with the columns file_name and transcription")
    if len(here) > 1:
        raise CorpusError(f"{source}: holds {' and '.join(path.name for path, _ in here)}; keep one of them")
    return found


def _missing(names: Sequence[str]) -> str:
    """The column that a header lacks, by its names; empty where it lacks none."""
    return next((" or ".join(_COLUMNS[kind]) for kind in ("file", "text") if _column(dict.fromkeys(names), kind) is None), "")


def _column(row: Mapping[str, Any], kind: str) -> str | None:
    """The row's name for a kind of column."""
    return next((name for name in _COLUMNS[kind] if name in row), None)


class _Row:
    """Takes one row apart and collects what is wrong with it."""

    def __init__(self, table: Path, number: int, row: Mapping[str, Any], language: str | None, files: Files) -> None:
        self.row, self.language, self.files = dict(row), language, files
        self.where = f"{table}:{number}: "
        self.problems: list[str] = []
        self.has_split = False

    def clip(self, folder_split: str | None) -> Clip | None:
        """The utterance, or None where there are problems."""
        file, text = self._take("file"), self._take("text")
        start_s, end_s = self._seconds("start"), self._seconds("end")
        language, speaker, split_ = self._language(), self._take("speaker"), self._split(file or "", folder_split)
        if not file:
            self._problem(f"names no file in {' or '.join(_COLUMNS['file'])}")
        elif not is_path(file):
            self._problem(f"{file!r} is no path of an audio file")
        if text is None:
            self._problem(f"has no {' or '.join(_COLUMNS['text'])}")
        for key in halves({**self.row, "speaker": speaker}):
            self._problem(f"{key!r} holds half a character (a lone surrogate); write the text again")
        fault = None if text is None else label_rules.refusal(text)
        if fault:
            self._problem(f"{_spelled(text or '')} {fault}")
        if end_s is not None and end_s <= (start_s or 0.0):
            self._problem(f"ends at {end_s:g} s, which is not after its start at {start_s or 0.0:g} s")
        if self.problems or not file or text is None:
            return None
        extra = {name: value for name, value in self.row.items() if name and value is not None and value != ""} | (
            {"speaker": speaker} if speaker else {}
        )
        text = label_rules.composed(text)
        return Clip(Utterance(self._path(file), text, language, None, start_s or 0.0, end_s, extra=extra), split_, self.where)

    def _problem(self, text: str) -> None:
        self.problems.append(self.where + text)

    def _take(self, kind: str) -> str | None:
        name = _column(self.row, kind)
        value = None if name is None else self.row.pop(name)
        if isinstance(value, dict) and kind == "file":
            value = value.get("path")  # as in our own manifests
        if value is None or isinstance(value, str):
            return value.strip() if value else value
        if isinstance(value, bool | list | dict):
            self._problem(f"{name!r} must be text, not {value!r}")
            return None
        return str(value)

    def _seconds(self, kind: str) -> float | None:
        text = self._take(kind)
        if not text:
            return None
        try:
            value = float(text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text)
        except ValueError:
            value = math.nan
        if not 0 <= value < math.inf:
            self._problem(f"{kind} must be seconds, 0 or more, not {text!r}")
            return None
        return value

    def _language(self) -> str | None:
        name = self._take("language") or self.language
        try:
            return spoken_language(name)
        except UsageError as error:
            self._problem(str(error))
            return None

    def _split(self, file: str, table_split: str | None) -> str:
        """As the row says, else the folder that its file lies in, else the table's folder."""
        name = self._take("split")
        folder = next((part for part in map(str.lower, _parts(file)[:-1]) if part in _SPLIT_NAMES), None)
        if name and name.lower() not in _SPLIT_NAMES:
            self._problem(f"split {name!r} must be one of {', '.join(SPLITS)}")
        elif name and folder and _SPLIT_NAMES[name.lower()] != _SPLIT_NAMES[folder]:
            self._problem(f"split says {name!r}, but the file lies in {folder}/; correct one of them")
        self.has_split = self.has_split or bool(name or folder)
        return _SPLIT_NAMES.get((name or folder or "").lower()) or table_split or "train"

    def _path(self, file: str) -> Path:
        """Where the file is; beside the table where it is nowhere, so that the error names the obvious place."""
        names = (file,) if Path(file).suffix else (file, f"{file}.wav", f"{file}.flac", f"{file}.mp3")
        return self.files.find(*(str(PurePath(beside, name)) for beside in _BESIDE for name in names)) or self.files.folder / file


def _parts(file: str) -> tuple[str, ...]:
    return PurePath(file.replace("\\", "/")).parts


def _spelled(text: str) -> str:
    return f"the text {text if len(text) <= 40 else text[:39] + '…'!r}"
