"""Merging adds exactly scale · B·A, and only to the model that the adapter was trained on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewhisper.errors import ModelError
from finewhisper.finetune.config import FinetuneConfig, LoraOptions
from finewhisper.finetune.run import run as finetune
from finewhisper.merge import MergeConfig, run
from finewhisper.model import ModelFolder


@pytest.fixture
def adapter(random_model: Path, speech_folder: Path) -> Path:
    output = speech_folder / "adapter"
    finetune(
        FinetuneConfig(
            model=random_model, train=speech_folder / "train.jsonl", output=output, epochs=2, learning_rate=1e-2,
            lora=LoraOptions(rank=4, alpha=12), device="cpu", tracker="none", full_window_share=0,
        )
    )  # fmt: skip
    return output


def test_every_matrix_is_the_base_and_its_scaled_update(adapter: Path, random_model: Path, tmp_path: Path) -> None:
    result = run(MergeConfig(adapter=adapter, output=tmp_path / "merged"))
    base, merged = load_file(random_model / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    update = load_file(adapter / "adapter_model.safetensors")
    assert base.keys() == merged.keys()
    adapted = 0
    for name, weight in base.items():
        key = "base_model.model." + name.removesuffix(".weight")
        expected = weight
        if f"{key}.lora_A.weight" in update:
            expected = weight + 12 / 4 * update[f"{key}.lora_B.weight"] @ update[f"{key}.lora_A.weight"]
            assert not torch.equal(expected, weight)
            adapted += 1
        torch.testing.assert_close(merged[name], expected, atol=1e-6, rtol=1e-6)
    assert adapted == result.matrices == len(update) // 2


def test_the_merged_folder_is_complete_and_carries_what_was_learnt(adapter: Path, tmp_path: Path) -> None:
    run(MergeConfig(adapter=adapter, output=tmp_path / "merged"))
    folder = ModelFolder.open(tmp_path / "merged", "transformers")
    assert folder.card.context == ModelFolder.open(adapter).card.context
    assert folder.card.context.trimmed
    for name in ("tokenizer.json", "preprocessor_config.json", "vocab.json", "added_tokens.json", "training.json", "README.md"):
        assert (folder.path / name).is_file(), name


def test_another_base_is_refused(adapter: Path, random_model: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(random_model, other)
    weights = load_file(other / "model.safetensors")
    weights["model.encoder.conv1.bias"] += 1e-3
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="is not the base"):
        run(MergeConfig(adapter=adapter, output=tmp_path / "merged", base=other))
    assert not (tmp_path / "merged").exists()


def test_a_base_that_moved_can_be_named(adapter: Path, random_model: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(random_model, moved)
    card = json.loads((adapter / "finewhisper.json").read_text())
    card["base"]["path"] = str(tmp_path / "gone")
    (adapter / "finewhisper.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="--base FOLDER"):
        run(MergeConfig(adapter=adapter, output=tmp_path / "merged"))
    run(MergeConfig(adapter=adapter, output=tmp_path / "merged", base=moved))


def test_an_adapter_made_by_other_tools_needs_its_base_named(adapter: Path, random_model: Path, tmp_path: Path) -> None:
    (adapter / "finewhisper.json").unlink()
    with pytest.raises(ModelError, match="--base FOLDER"):
        run(MergeConfig(adapter=adapter, output=tmp_path / "merged"))
    run(MergeConfig(adapter=adapter, output=tmp_path / "merged", base=random_model))
    assert not ModelFolder.open(tmp_path / "merged").card.context.trimmed, "nothing is known about what it learnt"


def test_a_full_model_is_not_an_adapter(random_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="adapter is needed"):
        run(MergeConfig(adapter=random_model, output=tmp_path / "merged"))
