"""Whoever names a model that is not there is shown the one that was meant, or the command that fetches it."""

from __future__ import annotations

from pathlib import Path

import pytest

from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.model_names import known, resembling


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two models in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("models/whisper-base", "runs/bulgarian/checkpoints/checkpoint-200"):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("base", "base"), ("Base", "base"), ("whisper-base", "base"), ("openai/whisper-base", "base"), ("whisper-tiny.en", "tiny.en"),
        ("large-v3", "large-v3"), ("openai/whisper-large-v3", "large-v3"), ("turbo", "turbo"),
        ("openai/whisper-large-v3-turbo", "large-v3-turbo"), ("openai/whisper-large", "large-v1"),
        ("Systran/faster-whisper-small", "small"), ("distil-whisper/distil-large-v3", "distil-large-v3"),
        ("whisper", None), ("", None), ("runs/model", None), ("someone/their-whisper", None),
    ],
)  # fmt: skip
def test_a_model_is_known_whoever_spells_its_name(text: str, name: str | None) -> None:
    assert known(text) == name


def test_typing_errors_resemble_the_name_that_was_meant() -> None:
    assert [resembling(text) for text in ("bsae", "larg-v3", "whisper-smal", "medium.eng", "tubro", "my-own")] == [
        "base", "large-v3", "small", "medium.en", "turbo", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("large-v3", "get it with: finewhisper download large-v3 -o models/whisper-large-v3"),
        ("openai/whisper-small", "get it with: finewhisper download small -o models/whisper-small"),
        ("whisper-small", "get it with: finewhisper download small -o models/whisper-small"),
        ("models/whisper-small", "get it with: finewhisper download small -o models/whisper-small"),
        ("base", "did you mean models/whisper-base?"),
        ("openai/whisper-base", "did you mean models/whisper-base?"),
        ("whisper-base", "did you mean models/whisper-base?"),
        ("models/whsiper-base", "did you mean models/whisper-base?"),
        ("bsae", "did you mean base? did you mean models/whisper-base?"),
        ("larg-v3", "did you mean large-v3? get it with: finewhisper download large-v3 -o models/whisper-large-v3"),
        ("runs/bulgarian", "there is a model in runs/bulgarian/checkpoints/checkpoint-200"),
        ("runs/bulgarian/model", "there is a model in runs/bulgarian/checkpoints/checkpoint-200"),
        ("runs/bulgarian/checkpoints/checkpoint-20", "did you mean runs/bulgarian/checkpoints/checkpoint-200?"),
        ("models/whisper-base/weights", "there is a model in models/whisper-base"),
        ("someone/their-whisper", "finewhisper download someone/their-whisper -o models/their-whisper"),
    ],
)
def test_a_model_that_is_not_there_is_found_nearby_or_fetched(path: str, advice: str, home: Path) -> None:
    with pytest.raises(ModelError) as caught:
        ModelFolder.open(Path(path))
    assert str(caught.value).endswith(advice), str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_within_a_model_names_its_folder(home: Path) -> None:
    with pytest.raises(ModelError, match=r"give the folder it lies in: models/whisper-base$"):
        ModelFolder.open(Path("models/whisper-base/config.json"))


def test_where_nothing_is_there_a_small_model_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="get one with: finewhisper download base -o models/whisper-base"):
        ModelFolder.open(Path("my-own"))


def test_a_search_in_a_folder_of_thousands_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(2100):
        (tmp_path / f"{number:04}").mkdir()
    (tmp_path / "9999" / "m").mkdir(parents=True)
    with pytest.raises(ModelError, match="there is no such model"):
        ModelFolder.open(Path("my/own"))
