"""Every recipe for fine-tuning really trains: two steps of the random model on generated clips, and an adapter merges."""

from __future__ import annotations

from pathlib import Path

import pytest

from finewhisper import merging
from finewhisper.config import resolve
from finewhisper.model import ModelFolder
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.run import run

FOLDER = Path(__file__).parent.parent.parent.parent / "recipes"
RECIPES = sorted(path for path in FOLDER.glob("*.yaml") if path.name != "augment.yaml")  # which is a part of one, not a recipe


@pytest.mark.filterwarnings("ignore:The following rank_pattern keys")
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains(recipe: Path, random_model: Path, speech_folder: Path) -> None:
    given = {"model": random_model, "train": speech_folder / "train.jsonl", "output": speech_folder / "result"}
    given |= {"max_steps": 2, "device": "cpu", "tracker": "none"}
    config = resolve(
        FinetuneConfig, "finetune", flags={(name,): str(value) for name, value in given.items()}, environment={}, recipe=recipe
    )
    if config.quantize != "none" or config.optimizer == "adamw-8bit":
        pytest.importorskip("bitsandbytes", reason="the recipe needs it")
    assert run(config).steps == 2
    if config.trains_adapter:
        result = merging.run(merging.MergeConfig(models=(config.output,), output=speech_folder / "merged"))
        assert result.matrices
    else:
        ModelFolder.open(config.output, "transformers")


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_what_it_is_for(recipe: Path) -> None:
    assert recipe.read_text(encoding="utf-8").startswith("# ")


def test_there_is_a_recipe_for_every_method_and_every_kind_of_base() -> None:
    given = {("model",): "m", ("train",): "t", ("output",): "o"}
    configs = [resolve(FinetuneConfig, "finetune", flags=given, environment={}, recipe=recipe) for recipe in RECIPES]
    for option in ("method", "quantize"):
        choices = set(FinetuneConfig.model_fields[option].annotation.__args__)
        assert {getattr(config, option) for config in configs} == choices
    assert any(config.freeze for config in configs)
    assert any(config.lora.dora for config in configs)
    assert any(config.lora.rslora for config in configs)
