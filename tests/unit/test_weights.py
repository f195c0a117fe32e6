"""An adapter on its base, one weight at a time, is what peft merges; where tied matrices are adapted, it is what peft computes."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from finewhisper import whisper
from finewhisper.errors import ModelError
from finewhisper.merging import MergeConfig, run
from finewhisper.model import ModelFolder

ATTENTION = ["q_proj", "v_proj"]


def adapter(base: Path, folder: Path, config: LoraConfig | AdaLoraConfig) -> Path:
    """An adapter whose factors are random numbers, none of them zero."""
    torch.manual_seed(1)
    model = get_peft_model(whisper.load(ModelFolder.open(base)), config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.requires_grad and "ranknum" not in name:
                weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(folder)
    return folder


def merged(base: Path, adapter: Path, output: Path) -> dict[str, torch.Tensor]:
    run(MergeConfig(models=(adapter,), base=base, output=output))
    return load_file(output / "model.safetensors")


def by_peft(base: Path, adapter: Path) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(whisper.load(ModelFolder.open(base)), str(adapter)).eval()


CONFIGS: dict[str, Any] = {
    "lora": LoraConfig(r=4, lora_alpha=12, target_modules=ATTENTION),
    "rslora": LoraConfig(r=4, lora_alpha=12, target_modules=ATTENTION, use_rslora=True),
    "dora": LoraConfig(r=4, lora_alpha=12, target_modules=[*ATTENTION, "fc1"], use_dora=True),
    "dora, rslora": LoraConfig(r=4, lora_alpha=12, target_modules=ATTENTION, use_dora=True, use_rslora=True),
    "orthogonal": LoraConfig(r=4, target_modules=ATTENTION, init_lora_weights="orthogonal"),
    "patterns": LoraConfig(
        r=4, lora_alpha=12, target_modules=ATTENTION, rank_pattern={"q_proj": 2}, alpha_pattern={r"encoder\.layers\.0.*v_proj": 3}
    ),
    "biases": LoraConfig(r=4, target_modules=ATTENTION, bias="all"),
    "own biases": LoraConfig(r=4, target_modules=["q_proj"], lora_bias=True),
    "convolution": LoraConfig(r=4, target_modules=["conv1", "q_proj"]),
    "convolution, dora": LoraConfig(r=4, target_modules=["conv2"], use_dora=True),
    "whole modules": LoraConfig(r=4, target_modules=ATTENTION, modules_to_save=["conv1", "layer_norm"]),
    "adalora": AdaLoraConfig(init_r=6, target_r=4, lora_alpha=12, total_step=10, target_modules=ATTENTION),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_weight_is_what_peft_merges(random_model: Path, tmp_path: Path, name: str) -> None:
    folder = adapter(random_model, tmp_path / "adapter", CONFIGS[name])
    found = merged(random_model, folder, tmp_path / "merged")
    base = load_file(random_model / "model.safetensors")
    expected = by_peft(random_model, folder).merge_and_unload().state_dict()
    assert found.keys() == base.keys()
    assert any(not torch.equal(found[key], base[key]) for key in base)
    for key, weight in found.items():
        torch.testing.assert_close(weight, expected[key], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(r=4, target_modules=["proj_out", "q_proj"]),
        LoraConfig(r=4, target_modules=ATTENTION, modules_to_save=["proj_out"]),
        LoraConfig(r=4, target_modules=["embed_tokens", "q_proj"]),
    ],
    ids=["LoRA of the output matrix", "a whole output matrix", "LoRA of the embedding"],
)
def test_an_adapter_of_one_tied_matrix_unties_them_as_in_training(random_model: Path, tmp_path: Path, config: LoraConfig) -> None:
    """Merged by transformers, the token embedding would change with the output matrix, which it did not in training."""
    folder = adapter(random_model, tmp_path / "adapter", config)
    merged(random_model, folder, tmp_path / "merged")
    sound = {"input_features": torch.randn(1, 80, 200), "decoder_input_ids": torch.tensor([[50258, 50259, 50359, 50363, 400, 500]])}
    with torch.inference_mode():
        expected = by_peft(random_model, folder)(**sound).logits
        found = whisper.load(ModelFolder.open(tmp_path / "merged"))(**sound).logits
        plain = whisper.load(ModelFolder.open(random_model))(**sound).logits
    assert (expected - plain).abs().max() > 0.01
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("says", [False, True])
def test_an_output_matrix_of_its_own_stays_beside_a_merged_adapter(random_model: Path, tmp_path: Path, says: bool) -> None:
    """Also where ``config.json`` says that there is none: transformers loads two matrices that differ as two."""
    source = tmp_path / "source"
    shutil.copytree(random_model, source)
    weights = load_file(source / "model.safetensors")
    own = weights["model.decoder.embed_tokens.weight"] + 1
    save_file(weights | {"proj_out.weight": own}, source / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": says}))
    folder = adapter(source, tmp_path / "adapter", CONFIGS["lora"])
    found = merged(source, folder, tmp_path / "merged")
    assert torch.equal(found["proj_out.weight"], own)
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["tie_word_embeddings"] is False


def changed_config(folder: Path, **values: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peft_type": "LOHA"}, "type 'LOHA'; finewhisper merges LORA and ADALORA"),
        (
            {"init_lora_weights": "pissa_niter_4"},
            "init_lora_weights pissa_niter_4, which changes the base too; write it as an ordinary adapter",
        ),
        ({"init_lora_weights": "olora"}, "path_initial_model_for_weight_conversion=FOLDER"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"lora_alpha": "many"}, "'many' where a number is needed"),
        ({"lora_alpha": 1 << 70}, "where a number is needed"),
        ({"alpha_pattern": {"(": 1}}, "alpha_pattern is"),
        ({"alpha_pattern": [3]}, "alpha_pattern is"),
    ],
)
def test_what_cannot_be_computed_is_said(random_model: Path, tmp_path: Path, values: dict[str, Any], message: str) -> None:
    folder = adapter(random_model, tmp_path / "adapter", CONFIGS["lora"])
    changed_config(folder, **values)
    with pytest.raises(ModelError) as refused:
        merged(random_model, folder, tmp_path / "merged")
    assert message in str(refused.value)
    assert not (tmp_path / "merged").exists()


def test_pissa_written_as_an_ordinary_adapter_is_merged(random_model: Path, tmp_path: Path) -> None:
    """With what the refusal of the other says."""
    base = load_file(random_model / "model.safetensors")
    model = get_peft_model(
        whisper.load(ModelFolder.open(random_model)), LoraConfig(r=4, target_modules=ATTENTION, init_lora_weights="pissa")
    )
    model.save_pretrained(tmp_path / "start")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in (weight for weight in model.parameters() if weight.requires_grad):
            weight.add_(0.05 * torch.randn_like(weight))
    model.save_pretrained(tmp_path / "adapter", path_initial_model_for_weight_conversion=str(tmp_path / "start"))
    found = merged(random_model, tmp_path / "adapter", tmp_path / "merged")
    expected = model.merge_and_unload().state_dict()
    assert any(not torch.equal(found[key], base[key]) for key in base)
    for key, weight in found.items():
        torch.testing.assert_close(weight, expected[key], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fault", ["another layer", "another width", "a factor missing", "an unknown weight"])
def test_an_adapter_that_does_not_fit_is_refused(random_model: Path, tmp_path: Path, fault: str) -> None:
    folder = adapter(random_model, tmp_path / "adapter", CONFIGS["lora"])
    weights = load_file(folder / "adapter_model.safetensors")
    first = next(name for name in sorted(weights) if name.endswith("lora_A.weight"))
    if fault == "another layer":
        weights = {name.replace("layers.0", "layers.9"): weight for name, weight in weights.items()}
    elif fault == "another width":
        weights[first] = torch.zeros(4, 65)
    elif fault == "a factor missing":
        del weights[first]
    else:
        weights["base_model.model.model.lm_head.weight"] = torch.zeros(2, 2)
    save_file(weights, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"--base FOLDER|has not the two factors"):
        merged(random_model, folder, tmp_path / "merged")
