"""Outputs are whole or absent."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from finewhisper.errors import DiskFullError, StorageError
from finewhisper.files import atomic_file, sha256
from finewhisper.outputs import atomic_folder


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "a.txt"
    with atomic_file(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, failure: type[BaseException]) -> None:
    target = tmp_path / "a.txt"
    target.write_text("before")
    with pytest.raises(failure), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise failure
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failed_folder_leaves_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), atomic_folder(tmp_path / "model") as temporary:
        (temporary / "half").write_text("half")
        raise failure
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "full"), "no space left"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "no space left"),
        (PermissionError(errno.EACCES, "denied"), "cannot be written"),
    ],
)
def test_errors_of_the_disk_name_the_output(tmp_path: Path, error: Exception, words: str) -> None:
    with pytest.raises(StorageError, match=words) as caught, atomic_file(tmp_path / "a.txt"):
        raise error
    assert "a.txt" in str(caught.value)


def test_a_full_disk_is_told_from_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError), atomic_file(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, "full")
    for path in (tmp_path / ("x" * 300), tmp_path / "folder"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(StorageError, match="cannot be written") as caught, atomic_file(path) as temporary:
            temporary.touch()
        assert not isinstance(caught.value, DiskFullError)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_the_longest_name_that_a_file_may_have(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".txt")
    with atomic_file(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_other_errors_keep_their_own_face(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_file(tmp_path / "a.txt"):
        _ = 1 / 0


def test_sha256_is_of_the_contents_in_a_row(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    assert sha256(tmp_path / "a", tmp_path / "b") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
