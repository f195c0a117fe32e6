"""Which recordings names stand for, and where their results go."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.files import unwritable
from finewhisper.transcription.files import Recording, destinations, find


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty files are enough: nothing is opened here."""
    for name in ("b.mp3", "a.WAV", "notes.txt", "dump.dat", ".hidden.wav", "sub/c.webm", "sub/.cache/d.wav", "odd[1].ogg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*given: str) -> list[str]:
    recordings, problems = find(given)
    assert problems == []
    return [recording.name for recording in recordings]


def test_a_folder_is_searched_for_recordings_in_order(folder: Path):
    assert names(".") == ["a.WAV", "b.mp3", "odd[1].ogg", "sub/c.webm"]


def test_a_file_that_is_named_is_taken_whatever_its_ending(folder: Path):
    assert names("notes.txt", ".hidden.wav") == ["notes.txt", ".hidden.wav"]


def test_a_pattern_takes_recordings_unless_it_names_an_ending(folder: Path):
    assert names("*") == ["a.WAV", "b.mp3", "odd[1].ogg"]
    assert names("*.dat") == ["dump.dat"]
    assert names("**/*.webm") == ["sub/c.webm"]


def test_a_name_with_brackets_is_a_file_before_it_is_a_pattern(folder: Path):
    assert names("odd[1].ogg") == ["odd[1].ogg"]


def test_a_recording_that_is_named_twice_is_done_once(folder: Path):
    assert names("b.mp3", "*.mp3", str(folder / "b.mp3"), "-", "-") == ["b.mp3", "standard input"]


def test_every_name_that_stands_for_nothing_is_told(folder: Path):
    (folder / "none").mkdir()
    recordings, problems = find(["none", "*.flac", "absent.wav", "b.mp3"])
    assert [recording.name for recording in recordings] == ["b.mp3"]
    assert problems == [
        "none: no audio or video files in this folder",
        "*.flac: no file matches this pattern",
        "absent.wav: no such file; check the path",
    ]


def test_results_lie_beside_the_recording_or_in_a_tree_of_their_own(folder: Path):
    recordings, _ = find([str(folder)])
    beside = destinations(recordings, None, ["srt"])
    assert beside[-1] == {"srt": folder / "sub" / "c.srt"}
    apart = destinations(recordings, Path("out"), ["srt", "json"])
    assert apart[0] == {"srt": Path("out/a.srt"), "json": Path("out/a.json")}
    assert apart[-1]["srt"] == Path("out/sub/c.srt")
    assert destinations([Recording(None)], Path("out"), ["txt"]) == [{"txt": Path("out/stdin.txt")}]


def test_recordings_that_differ_only_in_their_ending_keep_it():
    both = destinations([Recording(Path("talk.mp3")), Recording(Path("talk.wav")), Recording(Path("other.wav"))], None, ["txt"])
    assert both == [{"txt": Path("talk.mp3.txt")}, {"txt": Path("talk.wav.txt")}, {"txt": Path("other.txt")}]


def test_a_result_never_replaces_a_recording():
    """A recording may be called notes.txt; its text must not be written over it, not even with --overwrite."""
    assert destinations([Recording(Path("notes.txt"))], None, ["txt"]) == [{"txt": Path("notes.txt.txt")}]


def test_recordings_of_one_name_keep_their_folders(folder: Path):
    """The second would be written over the first."""
    for name in ("a/x.wav", "b/x.wav", "b/deep/y.wav", "stdin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    recordings, _ = find(["a/x.wav", "b/x.wav"])
    assert destinations(recordings, Path("out"), ["txt"]) == [{"txt": Path("out/a/x.txt")}, {"txt": Path("out/b/x.txt")}]
    recordings, _ = find(["a", "b"])
    paths = [result["txt"] for result in destinations(recordings, Path("out"), ["txt"])]
    assert paths == [Path("out/a/x.txt"), Path("out/b/deep/y.txt"), Path("out/b/x.txt")]
    both = destinations([Recording(None), Recording(Path("stdin"))], Path("out"), ["txt"])
    assert len({result["txt"] for result in both}) == 2


NAMES = st.builds("/".join, st.lists(st.sampled_from(["a", "b", "x.wav", "x.txt", "x", "x.wav.txt", "x.txt.txt"]), min_size=1, max_size=3))


@given(st.sets(NAMES, min_size=1, max_size=8), st.sampled_from([None, Path("out")]), st.booleans())
def test_no_result_is_written_over_another_or_over_a_recording(names: set[str], output: Path | None, standard_input: bool):
    recordings = [*map(Recording, map(Path, sorted(names))), *[Recording(None)] * standard_input]
    results = [path for result in destinations(recordings, output, ["txt", "srt"]) for path in result.values()]
    assert len(set(results)) == 2 * len(recordings)
    assert not {recording.path for recording in recordings} & set(results)


def test_a_name_that_no_file_system_takes_is_a_problem_like_others(folder: Path):
    long = "x" * 300 + ".wav"
    recordings, problems = find([long, "nul\0.wav", "b.mp3"])
    assert [recording.name for recording in recordings] == ["b.mp3"]
    assert problems[0] == f"{long}: cannot be read (File name too long); check the path and its permissions"
    assert problems[1].startswith("nul\0.wav: cannot be read (")


def test_what_may_not_be_looked_at_is_left_to_the_reader(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder that may be listed and not entered; whoever runs tests as root has none."""

    def denied(path: Path, **_: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    assert names(".") == ["a.WAV", "b.mp3", "odd[1].ogg", "sub/c.webm"]


def test_where_nothing_can_be_written_is_known_before(folder: Path):
    (folder / "taken.txt").mkdir()
    assert unwritable(folder / "new" / "deep" / "a.txt") is None
    assert "is a folder, where a file is to be written" in (unwritable(folder / "taken.txt") or "")
    assert "b.mp3 is not a folder" in (unwritable(folder / "b.mp3" / "deep" / "a.txt") or "")
    assert "File name too long" in (unwritable(folder / ("x" * 300)) or "")
