"""Which recordings a command names, and where their results go."""

from __future__ import annotations

import glob
import os
from collections import defaultdict
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
    elif os.path.isdir(name):  # noqa: PTH112 - pathlib raises where a name is too long or a folder may not be entered
        yield from (Recording(file, file.parent.relative_to(path)) for file in _media(path.rglob("*")) if not _hidden(file, path))
    elif os.path.exists(name):  # noqa: PTH110
        yield Recording(path)
    elif glob.has_magic(name):
        matches = sorted(Path(match) for match in glob.glob(name, recursive=True))  # noqa: PTH207 - pathlib has no absolute patterns
        explicit = bool(path.suffix) and not glob.has_magic(path.suffix)  # "*.dat" means what it says, "talks/*" only recordings
        yield from (Recording(file) for file in (filter(_is_file, matches) if explicit else _media(matches)))


def _media(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in ENDINGS and _is_file(path))


def _is_file(path: Path) -> bool:
    """Whether it is one, or nobody may know: reading it will then say why."""
    try:
        return path.is_file()
    except OSError:
        return True


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _nothing(name: str) -> str:
    if os.path.isdir(name):  # noqa: PTH112
        if not os.access(name, os.R_OK | os.X_OK):
            return f"{name}: this folder cannot be read; check its permissions"
        return f"{name}: no audio or video files in this folder"
    if glob.has_magic(name):
        return f"{name}: no file matches this pattern"
    try:
        Path(name).stat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:  # a name that is too long or holds a NUL, a folder that may not be entered
        return f"{name}: cannot be read ({getattr(error, 'strerror', None) or error}); check the path and its permissions"
    return f"{name}: no such file; check the path"


def destinations(recordings: Sequence[Recording], output: Path | None, formats: Sequence[str]) -> list[dict[str, Path]]:
    """For each recording the file of each format: ``talk.mp3`` becomes ``talk.srt``, beside it or in ``output``; no two are the same.

    Recordings of one name from several folders keep their folders within ``output``, from the folder on that all recordings share.
    Recordings that differ only in their ending keep it (``talk.mp3.srt``), as does one that its own result would replace.
    """
    places = _places(recordings, output)
    inputs = {recording.path.absolute() for recording in recordings if recording.path is not None}
    longer = [0] * len(places)
    while True:
        results = [{name: _result(place, name, count) for name in formats} for place, count in zip(places, longer, strict=True)]
        users: defaultdict[Path, list[int]] = defaultdict(list)
        for index, result in enumerate(results):
            for path in result.values():
                users[path.absolute()].append(index)
        disputed = {index for found in users.values() if len(found) > 1 for index in _yielding(places, longer, found)}
        disputed |= {index for path, found in users.items() if path in inputs for index in found}
        if not disputed:
            return results
        for index in disputed:
            longer[index] += 1


def _yielding(places: Sequence[Path], longer: Sequence[int], rivals: Sequence[int]) -> list[int]:
    """Which of several recordings with one result take a longer name: those with the shortest; of one place, all but the first."""
    least = min(longer[index] for index in rivals)
    shortest = [index for index in rivals if longer[index] == least]
    one_place = len({places[index].absolute() for index in shortest}) == 1
    return shortest[1:] if one_place and len(shortest) > 1 else shortest


def _result(place: Path, name: str, longer: int) -> Path:
    """``talk.mp3`` as ``talk.srt``, with its own ending as ``talk.mp3.srt``, and so on."""
    return place.with_name(place.name + f".{name}" * longer) if longer else place.with_suffix(f".{name}")


def _places(recordings: Sequence[Recording], output: Path | None) -> list[Path]:
    """Where each recording would lie beside its results."""
    if output is None:
        return [Path(recording.filename) if recording.path is None else recording.path for recording in recordings]
    places = [output / recording.folder / recording.filename for recording in recordings]
    if len(set(places)) == len(places):
        return places
    whole = [Path.cwd() / recording.filename if recording.path is None else _resolved(recording.path) for recording in recordings]
    shared = os.path.commonpath([path.parent for path in whole])
    return [output / path.relative_to(shared) for path in whole]


def _resolved(path: Path) -> Path:
    """Without links in its folder, so that no two files share one; a link to a file keeps its own name."""
    return path.parent.resolve() / path.name
