"""Folders of outputs: ours by a record, replaced in one step, and nobody else's files touched."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest

from finewhisper import outputs
from finewhisper.cli import VERBS, load
from finewhisper.config import Config, Flag, build, options, resolve
from finewhisper.errors import StorageError, UsageError
from finewhisper.files import atomic_file, temporary_name
from finewhisper.outputs import RECORD, atomic_folder, foreign, recover, remove, require_absent, require_apart, written

OLD, NEW = {"model.bin": "old", "sub/old.txt": "old"}, {"model.bin": "new", "added.txt": "new"}


def write(target: Path, files: dict[str, str], *, replace: bool = False, **options: object) -> None:
    with atomic_folder(target, replace=replace, **options) as folder:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)


def content(folder: Path) -> dict[str, str]:
    """Every file but the record, by its relative name."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != RECORD
    }


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A folder that finewhisper wrote."""
    write(tmp_path / "model", OLD)
    return tmp_path / "model"


def test_a_folder_of_ours_is_replaced_and_nothing_is_left_beside_it(target: Path) -> None:
    with pytest.raises(StorageError, match="exists already; delete it, choose another -o, or pass --overwrite"):
        require_absent(target)
    write(target, NEW, replace=True)
    assert content(target) == NEW
    assert list(target.parent.iterdir()) == [target]
    assert written(target) == ("added.txt", "model.bin")


@pytest.mark.parametrize("name", ["config.yaml", "result.json", "finewhisper.json", "notes/thesis.odt"])
def test_a_folder_without_a_record_is_never_replaced(tmp_path: Path, name: str) -> None:
    thesis = tmp_path / "thesis"
    (thesis / name).parent.mkdir(parents=True)
    (thesis / name).write_text("years of work")
    with pytest.raises(StorageError, match=r"has no \.finewhisper-files\.json, so it cannot be told what of it finewhisper wrote"):
        write(thesis, NEW, replace=True)
    assert content(thesis) == {name: "years of work"}


@pytest.mark.parametrize("name", ["notes.txt", "recordings/interview.wav", "sub/mine.txt", ".hidden", "empty-folder"])
def test_a_folder_of_ours_with_something_of_the_users_is_left_alone(target: Path, name: str) -> None:
    place = target / name
    if name == "empty-folder":
        place.mkdir()
    else:
        place.parent.mkdir(exist_ok=True)
        place.write_text("mine")
    before = content(target)
    with pytest.raises(StorageError, match=f"holds what finewhisper did not write \\({name}\\), which --overwrite leaves alone"):
        write(target, NEW, replace=True)
    assert content(target) == before
    assert place.exists()


def test_what_is_announced_or_comes_later_is_ours(tmp_path: Path) -> None:
    run = tmp_path / "run"
    write(run, OLD, later=("checkpoints", "checkpoints/checkpoint-*"))
    (run / "checkpoints" / "checkpoint-5" / "deep").mkdir(parents=True)
    (run / "checkpoints" / "checkpoint-5" / "deep" / "state.pt").write_text("")
    outputs.announce(run, ["result.txt"])
    (run / "result.txt").write_text("")
    assert foreign(run) == []
    (run / "checkpoints" / "my-notes.txt").write_text("")
    assert foreign(run) == ["checkpoints/my-notes.txt"]


def test_only_what_we_wrote_is_removed(target: Path) -> None:
    (target / "sub" / "mine.txt").write_text("mine")
    remove(target)
    assert content(target) == {"sub/mine.txt": "mine"}
    (target / "sub" / "mine.txt").unlink()
    write(target.parent / "other", OLD)
    remove(target.parent / "other")
    assert not (target.parent / "other").exists()


def test_a_folder_that_appears_meanwhile_is_not_deleted_and_the_result_is_kept(tmp_path: Path) -> None:
    place = tmp_path / "model"
    with (
        pytest.raises(StorageError, match=r"something else has appeared there meanwhile, which is left alone; the result is in .*model-2"),
        atomic_folder(place, replace=True) as folder,
    ):
        (folder / "model.bin").write_text("hours of work")
        place.mkdir()
        (place / "notes.txt").write_text("mine")
    assert content(place) == {"notes.txt": "mine"}
    assert content(tmp_path / "model-2") == {"model.bin": "hours of work"}


def test_notes_that_appear_in_a_folder_of_ours_meanwhile_are_not_deleted(target: Path) -> None:
    with pytest.raises(StorageError, match="model-2"), atomic_folder(target, replace=True) as folder:
        (folder / "model.bin").write_text("new")
        (target / "notes.txt").write_text("mine")
    assert content(target) == OLD | {"notes.txt": "mine"}
    assert content(target.parent / "model-2") == {"model.bin": "new"}


# ---- links, mount points, rights


@pytest.mark.parametrize("there", [True, False], ids=["to a folder", "to nothing yet"])
def test_the_output_may_be_a_link(tmp_path: Path, there: bool) -> None:
    real, link = tmp_path / "disk" / "model", tmp_path / "link"
    if there:
        write(real, OLD)
    link.symlink_to(real)
    write(link, NEW, replace=True)
    assert link.is_symlink()
    assert content(real) == NEW


@pytest.fixture(params=["tmpfs", "bind"])
def mount(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A mount point, as a Docker volume is one: of another file system, or of a part of this one."""
    place, source = tmp_path / "volume", tmp_path / "source"
    place.mkdir()
    source.mkdir()
    command = ["mount", "-t", "tmpfs", "none", place] if request.param == "tmpfs" else ["mount", "--bind", source, place]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount anything here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_the_output_may_be_a_mount_point(mount: Path) -> None:
    assert outputs.is_mount(mount)
    write(mount, OLD)
    assert content(mount) == OLD
    write(mount, NEW, replace=True)
    assert content(mount) == NEW
    assert sorted(path.name for path in mount.iterdir()) == [RECORD, "added.txt", "model.bin"]
    (mount / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match=r"did not write \(notes.txt\)"):
        write(mount, NEW, replace=True)


def test_the_output_may_be_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = tmp_path.stat().st_ino
    write(Path(), OLD)
    write(Path(), NEW, replace=True)
    assert content(tmp_path) == NEW
    assert tmp_path.stat().st_ino == before, "the shell stays where it is"


def test_a_folder_that_the_system_does_not_move_is_filled(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of a container's image cannot be renamed."""
    rename = Path.rename

    def refusing(self: Path, other: Path) -> Path:
        if self == target:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", refusing)
    monkeypatch.setattr(outputs, "_exchange", lambda one, other: False)
    write(target, NEW, replace=True)
    assert content(target) == NEW
    assert list(target.parent.iterdir()) == [target]


def test_what_is_only_added_to_may_contain_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "models" / "base").mkdir(parents=True)
    model = [("--model", tmp_path / "models" / "base")]
    require_apart(tmp_path, model, adds=True)
    for harmful in ("models/base", "models/base/new"):
        with pytest.raises(StorageError, match="which is only to be read"):
            require_apart(tmp_path / harmful, model, adds=True)


def test_files_get_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "model") as folder:
            (folder / "private").mkdir(mode=0o700)
            (folder / "private" / "weights").touch(mode=0o600)
        with atomic_file(tmp_path / "a.txt") as temporary:
            temporary.touch(mode=0o600)
    finally:
        os.umask(before)
    modes = {
        path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "model", *(tmp_path / "model").rglob("*"), tmp_path / "a.txt")
    }
    assert modes == {"model": "0o750", "private": "0o750", "weights": "0o640", RECORD: "0o640", "a.txt": "0o640"}


def test_a_file_that_is_replaced_keeps_its_rights_and_its_link(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "real.txt").chmod(0o604)
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with atomic_file(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    assert (tmp_path / "real.txt").stat().st_mode & 0o777 == 0o604


def test_a_place_that_cannot_be_written_shows_before_any_work(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        file = tmp_path / "file"
        file.touch()
        with pytest.raises(StorageError, match="cannot be written"):
            require_absent(file / "model")
        return
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="cannot be written"):
        require_absent(tmp_path / "model")
    tmp_path.chmod(0o700)


# ---- killed at any moment


def killed_at(moment: int, place: Path, *, exchange: bool) -> bool:
    """Replace a folder in a child process that ends itself as kill -9 does before its n-th change of a name; False: it had fewer."""
    child = multiprocessing.get_context("fork").Process(target=_replace, args=(moment, place, exchange))
    child.start()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def _replace(moment: int, place: Path, exchange: bool) -> None:
    left = moment

    def counting(function):  # type: ignore[no-untyped-def]
        def wrapped(*arguments, **options):  # type: ignore[no-untyped-def]
            nonlocal left
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            return function(*arguments, **options)

        return wrapped

    swap = outputs._exchange if exchange else (lambda one, other: False)
    outputs._exchange = counting(swap)
    for name in ("rename", "replace", "rmdir", "mkdir", "unlink"):
        setattr(os, name, counting(getattr(os, name)))
        setattr(Path, name, counting(getattr(Path, name)))  # Python 3.10 has bound the others when it was imported
    with atomic_folder(place, replace=True) as folder:
        for name, text in NEW.items():
            (folder / name).write_text(text)


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like that there")
@pytest.mark.parametrize("exchange", [True, False], ids=["in one step", "in two renames"])
def test_whenever_a_replacement_is_killed_the_old_or_the_new_folder_is_whole(tmp_path: Path, exchange: bool) -> None:
    seen = set()
    for moment in range(100):
        place = tmp_path / str(moment) / "model"
        write(place, OLD)
        killed = killed_at(moment, place, exchange=exchange)
        if exchange and sys.platform == "linux":
            assert place.is_dir(), "there is no moment without a model"
        recover(place)
        found = content(place)
        assert found in (OLD, NEW)
        seen.add(found == NEW)
        write(place, {"third": "3"}, replace=True)
        assert content(place) == {"third": "3"}
        assert [path.name for path in place.parent.iterdir()] == ["model"], "the next run removes what the killed one left"
        if not killed:
            break
    assert not killed
    assert seen == {True, False}, "the moments lie before and after the replacement"


def test_whenever_a_replacement_in_a_mount_point_is_killed_the_old_or_the_new_files_come_back(mount: Path) -> None:
    for moment in range(100):
        for path in mount.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write(mount, OLD)
        killed = killed_at(moment, mount, exchange=False)
        recover(mount)
        assert content(mount) in (OLD, NEW)
        write(mount, {"third": "3"}, replace=True)
        assert sorted(path.name for path in mount.iterdir()) == [RECORD, "third"]
        if not killed:
            break
    assert not killed


def test_what_a_killed_run_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path: Path) -> None:
    place = tmp_path / "model"
    own = temporary_name(place, "new")
    pid = str(os.getpid())
    dead, alive, elsewhere = (Path(str(own).replace(f"-{pid}.", f"-{other}.")) for other in ("4194304", str(os.getppid()), "1x"))
    elsewhere = own.with_name(f".model.finewhisper-elsewhere-{pid}.new")
    similar = tmp_path / ".model.123.tmp"
    for folder in (dead, alive, elsewhere, similar):
        folder.mkdir()
        (folder / "half").touch()
    write(place, OLD)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in (alive, elsewhere, similar, place))
    os.utime(elsewhere, (0, 0))
    write(place, NEW, replace=True)
    assert not elsewhere.exists(), "nobody has touched it for a day"


def test_files_that_killed_runs_left_are_removed(tmp_path: Path) -> None:
    own = temporary_name(tmp_path / "a.json", "tmp.json")
    dead = Path(str(own).replace(f"-{os.getpid()}.", "-4194304."))
    dead.touch()
    (tmp_path / ".a.json.123.tmp").touch()
    with atomic_file(tmp_path / "a.json") as temporary:
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.json.123.tmp", "a.json"]


# ---- an output is never an input


@pytest.mark.parametrize(
    ("output", "other", "words"),
    [
        ("data", "data", "is"),
        ("data/../data/.", "data", "is"),
        ("link", "data", "is"),
        ("data", "link/train.jsonl", "contains"),
        (".", "data", "contains"),
        ("data/new/deeper", "link", "lies in"),
        ("data/train.jsonl", "data/hard", "is"),
    ],
)
def test_an_output_that_would_harm_an_input_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, other: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").touch()
    (tmp_path / "data" / "hard").hardlink_to(tmp_path / "data" / "train.jsonl")
    (tmp_path / "link").symlink_to("data")
    with pytest.raises(StorageError, match=f"^-o .*: {words} --train {other}, which is only to be read; choose another -o"):
        require_apart(Path(output), [("--train", Path(other))])


@pytest.mark.parametrize(("output", "other"), [("out", "data"), ("data2", "data"), ("data/out", "data/train.jsonl"), ("out", "missing")])
def test_outputs_beside_inputs_are_fine(tmp_path: Path, output: str, other: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").touch()
    require_apart(tmp_path / output, [("--train", tmp_path / other)])


class Example(Config):
    """A verb."""

    model: Annotated[Path, Flag(positional=True)]
    """Read."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Written."""
    manifests: tuple[Path, ...] = ()
    """Read."""


def test_every_configuration_refuses_such_outputs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--output .*: is MODEL"):
        Example(model=tmp_path, output=tmp_path)
    with pytest.raises(UsageError, match=r"--output .*: contains --manifests .*b\.jsonl"):
        build(Example, {"model": "model", "output": tmp_path, "manifests": ["a.jsonl", str(tmp_path / "b.jsonl")]})
    recipe = tmp_path / "run" / "config.yaml"
    recipe.parent.mkdir()
    recipe.write_text("model: base\n")
    with pytest.raises(StorageError, match=r"--output .*: contains --config .*config\.yaml"):
        resolve(Example, "example", flags={("output",): str(tmp_path / "run")}, environment={}, recipe=recipe)


def test_every_path_of_every_verb_has_a_role() -> None:
    """A new path is an input unless its field says otherwise; this list says what is on purpose written."""
    roles = {
        f"{name} {option.name}": option.flag.role
        for name, verb in VERBS.items()
        for option in options(load(verb.config))
        if "Path" in str(option.field.annotation) and option.flag.role != "input"
    }
    assert roles == {
        "download --output": "output", "prepare --output": "output", "prepare --cache": "place", "augment --output": "output",
        "finetune --output": "output", "merge --output": "output", "evaluate --output": "output", "compare --output": "output",
        "convert --target": "output", "parity --keep": "place", "parity --figures": "output", "transcribe --output": "place",
        "serve --jobs.folder": "place",
    }  # fmt: skip


def test_the_record_is_plain_json_of_names(target: Path) -> None:
    assert json.loads((target / RECORD).read_text())["files"] == ["model.bin", "sub/old.txt"]
