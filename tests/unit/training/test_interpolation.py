"""The line from the base to what was learnt: its ends are exact, and an adapter saved on it is that model for everyone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from finewhisper import whisper
from finewhisper.merging import MergeConfig
from finewhisper.merging import run as merge
from finewhisper.model import ModelFolder
from finewhisper.training import methods
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.training.interpolation import Line

METHODS = {
    "lora": {"lora": LoraOptions(rank=4, alpha=12)},
    "rslora": {"lora": LoraOptions(rank=4, alpha=12, rslora=True)},
    "dora": {"lora": LoraOptions(rank=4, alpha=12, dora=True)},
    "adalora": {"method": "adalora", "lora": LoraOptions(rank=4, alpha=12)},
    "full": {"method": "full"},
}


def learnt_line(random_model: Path, options: dict[str, Any]) -> tuple[Line, ModelFolder]:
    """A model whose weights that learn have been moved at random, as training would."""
    folder = ModelFolder.open(random_model)
    config = FinetuneConfig(model=random_model, train=Path("t.jsonl"), output=Path("o"), device="cpu", precision="float32", **options)
    torch.manual_seed(1)
    model = methods.adapt(methods.load_base(folder, config, torch.device("cpu")), config)
    line = Line(model, folder)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    return line, folder


def output(line: Line) -> torch.Tensor:
    """What the model says to a fixed input: (batch, tokens, vocabulary)."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 80, 200, generator=generator)
    line.model.eval()
    with torch.inference_mode():
        logits: torch.Tensor = line.model(input_features=features, decoder_input_ids=torch.tensor([[50258, 50259, 50359]] * 2)).logits
    return logits


@pytest.mark.parametrize("method", METHODS)
def test_the_ends_of_the_line_are_the_base_and_what_was_learnt(method: str, random_model: Path) -> None:
    line, folder = learnt_line(random_model, METHODS[method])
    learnt, tuned = line.learnt(), output(line)
    line.place(learnt, 0.0)
    base = output(Line(whisper.load(folder), folder))
    torch.testing.assert_close(output(line), base, atol=1e-5, rtol=1e-5)
    assert (tuned - base).abs().max() > 0.01
    line.place(learnt, 1.0)
    assert torch.equal(output(line), tuned)


@pytest.mark.parametrize("method", ["lora", "adalora"])
def test_a_saved_adapter_is_merged_to_the_base_and_its_scaled_update(method: str, random_model: Path, tmp_path: Path) -> None:
    line, folder = learnt_line(random_model, METHODS[method])
    learnt = line.learnt()
    merged = []
    for scale in (1.0, 0.4):
        line.place(learnt, scale)
        (tmp_path / f"adapter-{scale}").mkdir()
        methods.save(line.model, folder, tmp_path / f"adapter-{scale}")
        merge(MergeConfig(models=(tmp_path / f"adapter-{scale}",), output=tmp_path / f"merged-{scale}", base=random_model))
        merged.append(load_file(tmp_path / f"merged-{scale}" / "model.safetensors"))
    for name, weight in load_file(random_model / "model.safetensors").items():
        torch.testing.assert_close(merged[1][name] - weight, 0.4 * (merged[0][name] - weight), atol=1e-6, rtol=1e-4)
    fresh = PeftModel.from_pretrained(whisper.load(folder), str(tmp_path / "adapter-0.4"))
    torch.testing.assert_close(output(Line(fresh, folder)), output(line), atol=1e-5, rtol=1e-5, msg="peft alone loads the chosen model")


def test_all_weights_of_a_full_model_lie_on_the_line(random_model: Path) -> None:
    line, _ = learnt_line(random_model, METHODS["full"])
    learnt = line.learnt()
    line.place(learnt, 0.25)
    base, placed = load_file(random_model / "model.safetensors"), line.learnt()
    assert placed.keys() == learnt.keys()
    for name, weight in placed.items():
        torch.testing.assert_close(weight, base[name] + 0.25 * (learnt[name] - base[name]))
