"""A folder put together from two models is refused before anything is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.consistency import require_consistent
from finewhisper.training.run import run
from finewhisper.vocabulary import Vocabulary


@pytest.fixture
def changed(random_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies the model and changes keys of one of its files."""

    def change(name: str, **keys: Any) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(random_model, folder)
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | keys))
        return folder

    return change


def check(folder: Path) -> None:
    require_consistent(ModelFolder.open(folder), Vocabulary.load(folder))


@pytest.mark.parametrize("fixture", ["base_model", "tiny_en_model", "random_model"])
def test_whole_models_pass(fixture: str, request: pytest.FixtureRequest) -> None:
    check(request.getfixturevalue(fixture))


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("config.json", "vocab_size", 51866),
        ("config.json", "decoder_start_token_id", 50257),  # the .en models' own
        ("preprocessor_config.json", "feature_size", 128),  # large-v3's
        ("generation_config.json", "no_timestamps_token_id", 50364),  # large-v3's
        ("generation_config.json", "prev_sot_token_id", 50362),
        ("generation_config.json", "task_to_id", {"transcribe": 50360}),
        ("generation_config.json", "lang_to_id", {"<|yue|>": 50358}),
    ],
)
def test_a_file_of_another_model_is_named_with_its_key(changed: Callable[..., Path], name: str, key: str, value: Any) -> None:
    word = next(iter(value)) if isinstance(value, dict) else key
    with pytest.raises(ModelError, match=rf"{name}: .*{word.replace('|', r'[|]')}"):
        check(changed(name, **{key: value}))


def test_keys_that_older_files_lack_are_not_missed(changed: Callable[..., Path]) -> None:
    check(changed("generation_config.json", lang_to_id=None, task_to_id=None, prev_sot_token_id=None, eos_token_id=[50257]))


def test_fine_tuning_refuses_before_it_reads_a_clip(changed: Callable[..., Path], speech_folder: Path) -> None:
    """v3's ids on a v2 tokenizer teach the words "translate" and "nospeech" in the prompt's place: the model only writes garbage."""
    model = changed("generation_config.json", no_timestamps_token_id=50364)
    (speech_folder / "audio" / "clip1.wav").unlink()
    with pytest.raises(ModelError, match=r"no_timestamps_token_id is 50364, but tokenizer\.json says 50363"):
        run(FinetuneConfig(model=model, train=speech_folder / "train.jsonl", output=speech_folder / "out", device="cpu"))
