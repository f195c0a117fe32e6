"""A folder is recognised by what is in it; what is missing or wrong is said with the next step."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from finewhisper.errors import ModelError
from finewhisper.model import Context, ModelCard, ModelFolder


@pytest.fixture
def copy(random_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    shutil.copytree(random_model, folder)
    return folder


def test_a_complete_folder_opens(copy: Path) -> None:
    folder = ModelFolder.open(copy)
    assert folder.kind == "transformers"
    assert folder.card.context == Context(trimmed=False)
    assert folder.config["model_type"] == "whisper"


@pytest.mark.parametrize(("name", "said"), [("config.json", "config.json"), ("model.safetensors", "no safetensors weights")])
def test_a_missing_file_is_named(copy: Path, name: str, said: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=said.replace(".", r"\.")):
        ModelFolder.open(copy)


def test_a_folder_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="finewhisper download base"):
        ModelFolder.open(tmp_path / "absent")


def test_a_file_is_not_a_folder(copy: Path) -> None:
    with pytest.raises(ModelError, match="is a file"):
        ModelFolder.open(copy / "config.json")


def test_an_empty_folder_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a model folder"):
        ModelFolder.open(tmp_path)


def test_another_kind_of_network_is_refused_by_name(copy: Path) -> None:
    (copy / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    with pytest.raises(ModelError, match="'wav2vec2', not Whisper"):
        ModelFolder.open(copy)


def test_a_broken_configuration_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        ModelFolder.open(copy)


def test_what_is_no_pickle_of_weights_is_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin"):
        ModelFolder.open(copy)


def test_a_folder_of_graphs_alone_is_an_onnx_one(copy: Path) -> None:
    (copy / "onnx").mkdir()
    for name in ("encoder_model.onnx", "decoder_model_merged.onnx", "decoder_model_merged.onnx_data"):
        (copy / "onnx" / name).write_bytes(name.encode())
    assert ModelFolder.open(copy).kind == "transformers"  # others keep both in one folder
    (copy / "model.safetensors").unlink()
    folder = ModelFolder.open(copy)
    assert folder.kind == "onnx"
    assert len(folder.stored_weights()) == 3
    before = folder.fingerprint()
    (copy / "onnx" / "decoder_model_merged.onnx_data").write_bytes(b"other")
    assert folder.fingerprint() != before
    (copy / "tokenizer.json").unlink()
    (copy / "vocab.json").unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        ModelFolder.open(copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="model-00002-of-00002"):
        ModelFolder.open(copy)


def test_the_wrong_kind_says_the_command_that_helps(copy: Path) -> None:
    with pytest.raises(ModelError, match="finewhisper convert"):
        ModelFolder.open(copy, "ctranslate2")


def test_the_card_survives_and_keeps_what_it_does_not_know(copy: Path) -> None:
    card = ModelCard(context=Context(trimmed=True, margin_s=0.5), languages=("bg",))
    card.write(copy)
    content = json.loads((copy / "finewhisper.json").read_text())
    (copy / "finewhisper.json").write_text(json.dumps(content | {"from_the_future": 1}))
    read = ModelFolder.open(copy).card
    assert read.context == card.context
    assert read.languages == ("bg",)
    assert read.model_dump()["from_the_future"] == 1


def test_a_broken_card_is_not_taken_for_none(copy: Path) -> None:
    (copy / "finewhisper.json").write_text("[]")
    with pytest.raises(ModelError, match=r"finewhisper\.json"):
        _ = ModelFolder.open(copy).card


def test_the_fingerprint_follows_the_weights_alone(copy: Path, random_model: Path) -> None:
    assert ModelFolder.open(copy).fingerprint() == ModelFolder.open(random_model).fingerprint()
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert ModelFolder.open(copy).fingerprint() != ModelFolder.open(random_model).fingerprint()
