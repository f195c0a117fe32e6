"""Which recordings a command names, and where their results go."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: What a search of a folder takes for a recording; a file that is named is tried whatever its ending.
ENDINGS = {
    ".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi", ".caf", ".f4v", ".flac", ".flv", ".m2ts",
    ".m4a", ".m4b", ".m4v", ".mka", ".mkv", ".mov", ".mp2", ".mp3", ".mp4", ".mpeg", ".mpg", ".mts", ".oga", ".ogg", ".ogv", ".opus",
    ".rm", ".sph", ".spx", ".ts", ".tta", ".vob", ".w64", ".wav", ".webm", ".wma", ".wmv", ".wv",
}  # fmt: skip
STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Recording:
    """One input."""

    path: Path | None  #: None: standard input
    folder: Path = Path()  #: where its results lie within the output folder, relative

    @property
    def name(self) -> str:
        return "standard input" if self.path is None else str(self.path)

    @property
    def filename(self) -> str:
        return "stdin" if self.path is None else self.path.name


def find(names: Sequence[str]) -> tuple[list[Recording], list[str]]:
    """The recordings that files, folders, patterns and ``-`` stand for, each once; and a sentence for each name that stands for none."""
    found: dict[Path | None, Recording] = {}
    problems = []
    for name in names:
        recordings = list(_named(name))
        if not recordings:
            problems.append(_nothing(name))
        for recording in recordings:
            found.setdefault(recording.path and recording.path.resolve(), recording)
    return list(found.values()), problems


def _named(name: str) -> Iterator[Recording]:
    path = Path(name)
    if name == STANDARD_INPUT:
        yield Recording(None)
    elif path.is_dir():
        yield from (Recording(file, file.parent.relative_to(path)) for file in _media(path.rglob("*")) if not _hidden(file, path))
    elif path.exists():
        yield Recording(path)
    elif glob.has_magic(name):
        matches = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 - pathlib has no absolute patterns
        explicit = bool(path.suffix) and not glob.has_magic(path.suffix)  # "*.dat" means what it says, "talks/*" only recordings
        yield from (Recording(file) for file in (filter(Path.is_file, matches) if explicit else _media(matches)))


def _media(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in ENDINGS and path.is_file())


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _nothing(name: str) -> str:
    if Path(name).is_dir():
        return f"{name}: no audio or video files in this folder"
    if glob.has_magic(name):
        return f"{name}: no file matches this pattern"
    return f"{name}: no such file; check the path"


def destinations(recordings: Sequence[Recording], output: Path | None, formats: Sequence[str]) -> list[dict[str, Path]]:
    """For each recording the file of each format: ``talk.mp3`` becomes ``talk.srt``, beside it or in ``output``.

    Recordings that differ only in their ending keep it (``talk.mp3.srt``), as does one that its own result would replace.
    """
    places = [_place(recording, output) for recording in recordings]
    stems = Counter(place.with_suffix("") for place in places)
    inputs = {recording.path.absolute() for recording in recordings if recording.path is not None}
    results = []
    for place in places:
        short = {name: place.with_suffix(f".{name}") for name in formats}
        ambiguous = stems[place.with_suffix("")] > 1 or any(path.absolute() in inputs for path in short.values())
        results.append({name: place.with_name(f"{place.name}.{name}") for name in formats} if ambiguous else short)
    return results


def _place(recording: Recording, output: Path | None) -> Path:
    if output is not None:
        return output / recording.folder / recording.filename
    return Path(recording.filename) if recording.path is None else recording.path
