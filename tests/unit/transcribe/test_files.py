"""Which recordings names stand for, and where their results go."""

from __future__ import annotations

from pathlib import Path

import pytest

from finewhisper.transcribe.files import Recording, destinations, find


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
