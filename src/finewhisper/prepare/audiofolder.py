"""Your own recordings: a folder of audio files and a table of what is said in them.

The table is ``metadata.csv``, ``.tsv`` or ``.jsonl`` in the folder, or in its subfolders ``train``, ``dev`` and ``test``; a table can
also be given itself, such as Common Voice's ``validated.tsv``. A row has

- the file: ``file_name``, ``path`` or ``audio``, relative to the table, or to ``clips``, ``wavs`` or ``audio`` beside it;
- what is said: ``transcription``, ``sentence``, ``text``, ``transcript`` or ``normalized_text``; empty means no speech;
- optionally ``language`` (or ``locale``), ``speaker`` (or ``speaker_id``, ``client_id``), ``start`` and ``end`` in seconds, ``split``.

A table of lines ``id|text`` or ``id|text|normalised text`` without header is read as LJSpeech's. Further columns are kept. Without
splits, they are dealt out by text, so that no test sentence is trained on, or by speaker with ``--split-by speaker``.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finewhisper.errors import CorpusError, UsageError
from finewhisper.language import spoken_language
from finewhisper.manifest import Utterance
from finewhisper.prepare.config import PrepareConfig
from finewhisper.prepare.corpus import SPLITS, Clip, Corpus, Shares

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
        for number, row in _rows(table, problems):
            reader = _Row(table, number, row, config.language)
            clip = reader.clip(folder_split)
            problems += reader.problems
            if clip is not None:
                clips.append(clip)
            decided = decided or folder_split is not None or reader.has_split
    if decided and {"test_share", "dev_share", "split_by"} & config.model_fields_set:
        raise UsageError(f"--test-share, --dev-share, --split-by: {source} has splits of its own; leave these options or its column away")
    clips.sort(key=lambda clip: (str(clip.utterance.path), clip.utterance.start_s))
    return Corpus(str(source), clips, None if decided else SHARES, problems=problems)


def _tables(source: Path) -> list[tuple[Path, str | None]]:
    """The metadata files, each with the split that its folder stands for."""
    if source.is_file():
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


def _rows(table: Path, problems: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line numbers and rows by column name, whatever form the table has."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{table}: is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8") from None
    except OSError as error:
        raise CorpusError(f"{table}: cannot be read ({error.strerror})") from None
    if not text.strip():
        raise CorpusError(f"{table}: is empty; write a row for each recording")
    yield from _json_rows(table, text, problems) if table.suffix.lower() in {".jsonl", ".json"} else _csv_rows(table, text)


def _json_rows(table: Path, text: str, problems: list[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.append(f"{table}:{number}: is not JSON ({error})")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            problems.append(f"{table}:{number}: is not an object with file_name and transcription")


def _csv_rows(table: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header = text.lstrip("\n").splitlines()[0]
    known = (mark for mark in "\t,;|" if all(_column(dict.fromkeys(_names(header, mark)), kind) for kind in ("file", "text")))
    delimiter = next(known, "|" if "|" in header else max("\t,;", key=header.count))
    literal = delimiter in "\t|"  # the quotes of Common Voice and LJSpeech are only quotes
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL)
    names = _names(header, delimiter)
    missing = next((kind for kind in ("file", "text") if _column(dict.fromkeys(names), kind) is None), None)
    if missing and delimiter == "|":
        names = ["file_name", "text", "normalized_text"]
    elif missing:
        raise CorpusError(f"{table}:1: has no column {' or '.join(_COLUMNS[missing])}; its columns are {', '.join(names)}")
    else:
        next(reader)
    for cells in reader:
        if any(cell.strip() for cell in cells):
            yield reader.line_num, dict(zip(names, cells, strict=False))


def _names(header: str, delimiter: str) -> list[str]:
    return [name.strip().strip('"') for name in header.split(delimiter)]


def _column(row: Mapping[str, Any], kind: str) -> str | None:
    """The row's name for a kind of column."""
    return next((name for name in _COLUMNS[kind] if name in row), None)


class _Row:
    """Takes one row apart and collects what is wrong with it."""

    def __init__(self, table: Path, number: int, row: Mapping[str, Any], language: str | None) -> None:
        self.table, self.row, self.language = table, dict(row), language
        self.where = f"{table}:{number}: "
        self.problems: list[str] = []
        self.has_split = False

    def clip(self, folder_split: str | None) -> Clip | None:
        """The utterance, or None where there are problems."""
        file, text = self._take("file"), self._take("text")
        start_s, end_s = self._seconds("start"), self._seconds("end")
        language, speaker, split_ = self._language(), self._take("speaker"), self._split() or folder_split or "train"
        if not file:
            self._problem(f"names no file in {' or '.join(_COLUMNS['file'])}")
        if text is None:
            self._problem(f"has no {' or '.join(_COLUMNS['text'])}")
        if end_s is not None and end_s <= (start_s or 0.0):
            self._problem(f"ends at {end_s:g} s, which is not after its start at {start_s or 0.0:g} s")
        if self.problems or not file or text is None:
            return None
        extra = {name: value for name, value in self.row.items() if name and value not in {None, ""}} | (
            {"speaker": speaker} if speaker else {}
        )
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
            value = float(text)
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

    def _split(self) -> str | None:
        name = self._take("split")
        if not name:
            return None
        self.has_split = True
        if name.lower() not in _SPLIT_NAMES:
            self._problem(f"split {name!r} must be one of {', '.join(SPLITS)}")
        return _SPLIT_NAMES.get(name.lower())

    def _path(self, file: str) -> Path:
        """Where the file is; beside the table where it is nowhere, so that the error names the obvious place."""
        folder = self.table.parent
        names = (file,) if Path(file).suffix else (file, f"{file}.wav", f"{file}.flac", f"{file}.mp3")
        places = (folder / beside / name for beside in _BESIDE for name in names)
        return next((place for place in places if place.is_file()), folder / file)
