"""Adapters that peft wrote without finewhisper are merged as peft does it, with the base that they name; ours are found by peft."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import WhisperForConditionalGeneration

from finewhisper.errors import ModelError
from finewhisper.merging import MergeConfig, run
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.training.run import run as finetune


def peft_adapter(base: str | Path, folder: Path, *, safe: bool = True, **options: Any) -> PeftModel:
    """An adapter of random weights, written by peft alone."""
    torch.manual_seed(1)
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "fc1"], "init_lora_weights": False}
    model = get_peft_model(WhisperForConditionalGeneration.from_pretrained(base), LoraConfig(**(settings | options)))
    for name, weight in model.named_parameters():
        if "modules_to_save" in name:
            weight.data += 0.1 * torch.randn_like(weight)
    model.save_pretrained(folder)
    if not safe:  # as peft wrote it before 2023
        torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
        (folder / "adapter_model.safetensors").unlink()
    return model


def logits(model: Any) -> torch.Tensor:
    torch.manual_seed(2)
    features, tokens = torch.randn(1, 80, 3000), torch.tensor([[50258, 50259, 50359, 50363, 400, 500]])
    with torch.inference_mode():
        found: torch.Tensor = model.eval()(input_features=features, decoder_input_ids=tokens).logits
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"safe": False},
        {"modules_to_save": ["proj_out"]},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["layer_norm"], "use_rslora": True},
    ],
    ids=["safetensors", "pickle", "output matrix", "embedding", "norms"],
)
def test_a_peft_adapter_whose_base_exists_is_merged_without_base(options: dict[str, Any], random_model: Path, tmp_path: Path) -> None:
    theirs = peft_adapter(random_model, tmp_path / "adapter", **options)
    run(MergeConfig(models=(tmp_path / "adapter",), output=tmp_path / "merged"))
    merged = WhisperForConditionalGeneration.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(theirs), atol=2e-4, rtol=1e-4)
    assert not torch.allclose(logits(merged), logits(WhisperForConditionalGeneration.from_pretrained(random_model)), atol=1e-2)
    generation = json.loads((tmp_path / "merged" / "generation_config.json").read_text())
    assert generation["task"] == "transcribe"
    assert "language" not in generation


def test_a_base_of_the_hub_is_taken_from_the_cache_of_its_library(random_model: Path, tmp_path: Path) -> None:
    peft_adapter(random_model, tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "someone/their-whisper"}))
    hub = tmp_path / "hub" / "models--someone--their-whisper"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text(commit)
    (hub / "snapshots").mkdir()
    command = [sys.executable, "-m", "finewhisper", "merge", "adapter", "-o", "merged"]
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    absent = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert absent.returncode == 2
    assert "its base model someone/their-whisper is not on this machine" in absent.stderr
    assert "finewhisper download someone/their-whisper -o models/their-whisper" in absent.stderr
    (hub / "snapshots" / commit).symlink_to(random_model)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("named", [None, 5, "../../etc/none"])
def test_an_adapter_without_a_base_that_exists_says_what_to_do(named: Any, random_model: Path, tmp_path: Path) -> None:
    peft_adapter(random_model, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": named}))
    with pytest.raises(ModelError, match="--base FOLDER"):
        run(MergeConfig(models=(tmp_path / "adapter",), output=tmp_path / "merged"))
    assert run(MergeConfig(models=(tmp_path / "adapter",), base=random_model, output=tmp_path / "merged")).matrices


def test_peft_finds_the_base_of_an_adapter_that_finetune_wrote_from_any_folder(
    random_model: Path, speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (speech_folder / "base").symlink_to(random_model)
    monkeypatch.chdir(speech_folder)
    settings: dict[str, Any] = {"epochs": 1, "lora": LoraOptions(rank=4), "device": "cpu", "tracker": "none", "full_window_share": 0}
    finetune(FinetuneConfig(model=Path("base"), train=Path("train.jsonl"), output=Path("adapter"), **settings))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    folder = speech_folder / "adapter"
    base = PeftConfig.from_pretrained(folder).base_model_name_or_path
    theirs = PeftModel.from_pretrained(WhisperForConditionalGeneration.from_pretrained(base), folder)
    run(MergeConfig(models=(folder,), output=tmp_path / "merged"))
    merged = WhisperForConditionalGeneration.from_pretrained(tmp_path / "merged")
    torch.testing.assert_close(logits(merged), logits(theirs), atol=2e-4, rtol=1e-4)
