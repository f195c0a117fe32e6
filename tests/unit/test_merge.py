"""Merging gives exactly W + scale · (mean of what was tuned - W), and only for the model that was tuned."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewhisper.errors import ModelError, UsageError
from finewhisper.merging import MergeConfig, MergeResult, run
from finewhisper.model import ModelFolder
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.training.run import run as finetune

Weights = dict[str, torch.Tensor]


def tuned(model: Path, folder: Path, name: str, **options: Any) -> Path:
    """A run of a few steps on generated clips."""
    settings: dict[str, Any] = {
        "model": model, "train": folder / "train.jsonl", "output": folder / name, "epochs": 2, "learning_rate": 1e-2,
        "lora": LoraOptions(rank=4, alpha=12), "device": "cpu", "tracker": "none", "full_window_share": 0,
        "precision": "float32",
    }  # fmt: skip
    return finetune(FinetuneConfig(**(settings | options))).output


@pytest.fixture
def adapter(random_model: Path, speech_folder: Path) -> Path:
    return tuned(random_model, speech_folder, "adapter")


@pytest.fixture
def full(random_model: Path, speech_folder: Path) -> Path:
    return tuned(random_model, speech_folder, "full", method="full", learning_rate=1e-3)


def merge(*models: Path, output: Path, **options: Any) -> tuple[Weights, MergeResult]:
    result = run(MergeConfig(models=models, output=output, **options))
    return weights(output), result


def weights(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def updates(adapter: Path) -> Weights:
    """B·A of each adapted matrix, by its name in the full model."""
    found = load_file(adapter / "adapter_model.safetensors")
    names = [name.removesuffix(".lora_A.weight") for name in found if name.endswith(".lora_A.weight")]
    return {
        f"{name.removeprefix('base_model.model.')}.weight": found[f"{name}.lora_B.weight"] @ found[f"{name}.lora_A.weight"]
        for name in names
    }


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_every_matrix_is_the_base_and_its_scaled_update(adapter: Path, random_model: Path, tmp_path: Path, scale: float) -> None:
    merged, result = merge(adapter, output=tmp_path / "merged", scale=scale)
    base, update = weights(random_model), updates(adapter)
    assert base.keys() == merged.keys()
    for name, weight in base.items():
        expected = weight + scale * 12 / 4 * update[name] if name in update else weight
        assert torch.equal(expected, weight) == (name not in update)
        torch.testing.assert_close(merged[name], expected, atol=1e-6, rtol=1e-6)
    assert result.matrices == len(update)


def test_a_scale_of_nothing_is_the_base_bit_for_bit_and_hears_like_it(adapter: Path, random_model: Path, tmp_path: Path) -> None:
    merged, result = merge(adapter, output=tmp_path / "merged", scale=0)
    assert all(torch.equal(merged[name], weight) for name, weight in weights(random_model).items())
    assert result.matrices == 0
    assert not ModelFolder.open(result.output).card.context.trimmed, "the base has not learnt short contexts"


def test_a_full_model_goes_back_towards_its_base(full: Path, random_model: Path, tmp_path: Path) -> None:
    merged, _ = merge(full, output=tmp_path / "merged", scale=0.25)
    base, after = weights(random_model), weights(full)
    for name, weight in base.items():
        torch.testing.assert_close(merged[name], weight + 0.25 * (after[name] - weight), atol=1e-7, rtol=1e-6)
    assert any(not torch.equal(merged[name], base[name]) for name in base)
    assert not ModelFolder.open(tmp_path / "merged").card.context.trimmed, "so little of what was learnt loops on short contexts"


def test_adapters_of_one_base_are_averaged(adapter: Path, random_model: Path, speech_folder: Path, tmp_path: Path) -> None:
    other = tuned(random_model, speech_folder, "other", seed=1, lora=LoraOptions(rank=2, alpha=8))
    merged, result = merge(adapter, other, output=tmp_path / "merged", scale=0.5)
    one, two = updates(adapter), updates(other)
    for name, weight in weights(random_model).items():
        expected = weight + 0.5 * (12 / 4 * one[name] + 8 / 2 * two[name]) / 2 if name in one else weight
        torch.testing.assert_close(merged[name], expected, atol=1e-6, rtol=1e-6)
    made = json.loads((result.output / "finewhisper.json").read_text())["merged"]
    assert made == {"scale": 0.5, "share": 0.5, "sources": ["adapter", "other"]}


@pytest.mark.parametrize("kind", ["adapter", "full"])
def test_the_last_checkpoints_of_a_run_are_averaged(kind: str, random_model: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    folder: Path = request.getfixturevalue(kind)
    merged, _ = merge(folder, output=tmp_path / "merged", average=2)
    steps = sorted((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))[-2:]
    if kind == "full":
        one, two = (weights(step) for step in steps)
        expected = {name: (one[name] + two[name]) / 2 for name in weights(random_model)}
    else:
        one, two = (updates(step) for step in steps)
        expected = {name: weights(random_model)[name] + 12 / 4 * (one[name] + two[name]) / 2 for name in one}
    assert not any(torch.equal(one[name], two[name]) for name in one if "proj.weight" in name)
    for name, weight in expected.items():
        torch.testing.assert_close(merged[name], weight, atol=1e-6, rtol=1e-6)


def test_fewer_checkpoints_than_asked_for_are_counted(adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--average 9: there are 2 checkpoints"):
        merge(adapter, output=tmp_path / "merged", average=9)


def test_a_run_leaves_as_many_checkpoints_as_are_to_be_averaged(random_model: Path, speech_folder: Path, tmp_path: Path) -> None:
    """It left two whatever was planned, so that a mean of three could not be had of our own runs."""
    run_of_three = tuned(random_model, speech_folder, "three", epochs=4, keep_checkpoints=3)
    _, result = merge(run_of_three, output=tmp_path / "merged", average=3)
    assert len(json.loads((result.output / "finewhisper.json").read_text())["merged"]["sources"]) == 3


def test_the_merged_folder_is_complete_and_carries_what_was_learnt(adapter: Path, tmp_path: Path) -> None:
    merge(adapter, output=tmp_path / "merged", scale=0.9)
    folder = ModelFolder.open(tmp_path / "merged", "transformers")
    assert folder.card.context == ModelFolder.open(adapter).card.context
    assert folder.card.context.trimmed
    for name in ("tokenizer.json", "preprocessor_config.json", "vocab.json", "added_tokens.json", "training.json", "README.md"):
        assert (folder.path / name).is_file(), name
    assert "0.9 of the way from the base" in (folder.path / "README.md").read_text()


def with_card(folder: Path, copy: Path, training: dict[str, Any] | None = None, **context: Any) -> Path:
    """A copy of a result whose card says something else."""
    shutil.copytree(folder, copy)
    card = json.loads((copy / "finewhisper.json").read_text())
    card["training"] |= training or {}
    card["context"] |= context
    (copy / "finewhisper.json").write_text(json.dumps(card))
    return copy


def test_scales_count_from_the_base_when_full_windows_are_asked_for(adapter: Path, tmp_path: Path) -> None:
    """A run that chose 0.6, merged at 0.8 and at 0.5, lies at 0.24, which loops on short contexts."""
    chosen = with_card(adapter, tmp_path / "chosen", {"scale": 0.6})
    merge(chosen, output=tmp_path / "once", scale=0.8)
    assert ModelFolder.open(tmp_path / "once").card.context.trimmed
    for scale, source, shorter in ((0.5, chosen, False), (0.5, tmp_path / "once", False), (0.9, tmp_path / "once", True)):
        merge(source, output=tmp_path / "twice", scale=scale, overwrite=True)
        assert ModelFolder.open(tmp_path / "twice").card.context.trimmed == shorter, (source, scale)
    merge(chosen, output=tmp_path / "mean", scale=0.5, average=2)
    assert ModelFolder.open(tmp_path / "mean").card.context.trimmed, "checkpoints are as they were trained"


def test_a_mean_gets_the_longest_margin_and_no_calibration(adapter: Path, tmp_path: Path) -> None:
    """The margin of one model, measured on it alone, says nothing of the mean."""
    one = with_card(adapter, tmp_path / "one", margin_s=0.1, calibration={"margins": [0.1, 0.5]})
    two = with_card(adapter, tmp_path / "two", margin_s=0.4)
    merge(one, two, output=tmp_path / "mean")
    context = ModelFolder.open(tmp_path / "mean").card.context
    assert (context.margin_s, context.calibration) == (0.4, None)
    merge(one, output=tmp_path / "itself")
    assert ModelFolder.open(tmp_path / "itself").card.context == ModelFolder.open(one).card.context, "the weights are the same"
    merge(one, output=tmp_path / "scaled", scale=0.8)
    assert ModelFolder.open(tmp_path / "scaled").card.context.calibration is None


def test_another_base_is_refused(adapter: Path, random_model: Path, speech_folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(random_model, other)
    changed = weights(other)
    changed["model.encoder.conv1.bias"] += 1e-3
    save_file(changed, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="is not the base"):
        merge(adapter, output=tmp_path / "merged", base=other)
    of_other = tuned(other, speech_folder, "of-other")
    with pytest.raises(ModelError, match="of-other was trained on"):
        merge(adapter, of_other, output=tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_base_that_moved_can_be_named(adapter: Path, random_model: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(random_model, moved)
    card = json.loads((adapter / "finewhisper.json").read_text())
    card["base"]["path"] = str(tmp_path / "gone")
    (adapter / "finewhisper.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="--base FOLDER"):
        merge(adapter, output=tmp_path / "merged")
    merge(adapter, output=tmp_path / "merged", base=moved)


def test_an_adapter_made_by_other_tools_needs_its_base_named(adapter: Path, random_model: Path, tmp_path: Path) -> None:
    (adapter / "finewhisper.json").unlink()
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(tmp_path / "elsewhere")}))
    with pytest.raises(ModelError, match="--base FOLDER"):
        merge(adapter, output=tmp_path / "merged")
    merge(adapter, output=tmp_path / "merged", base=random_model)
    assert not ModelFolder.open(tmp_path / "merged").card.context.trimmed, "nothing is known about what it learnt"


def test_weights_that_are_not_numbers_are_refused(adapter: Path, tmp_path: Path) -> None:
    broken = load_file(adapter / "adapter_model.safetensors")
    next(iter(broken.values()))[0] = float("nan")
    save_file(broken, adapter / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="not numbers"):
        merge(adapter, output=tmp_path / "merged")


def test_a_full_model_alone_has_nothing_to_be_merged_with(random_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a full model already"):
        merge(random_model, output=tmp_path / "merged")
