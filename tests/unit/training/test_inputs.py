"""A run that goes on finds what it began with, or says what has changed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from finetuning import quick_run
from finewhisper.errors import UsageError
from finewhisper.manifest import read
from finewhisper.model import ModelFolder
from finewhisper.training import inputs


def finetune_a_little(folder: Path) -> None:
    weights = load_file(folder / "base" / "model.safetensors")
    weights["model.decoder.embed_tokens.weight"] += 1e-3
    save_file(weights, folder / "base" / "model.safetensors")


#: What happens to a folder between the beginning of a run and its resumption, and what is said of it.
CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "manifest": (lambda folder: shutil.copy(folder / "dev.jsonl", folder / "train.jsonl"), "--train has other content"),
    "dev": (lambda folder: shutil.copy(folder / "train.jsonl", folder / "dev.jsonl"), "--dev has other content"),
    "augmentation": (lambda folder: (folder / "augment.yaml").write_text("speed: {}"), "--augment has other content"),
    "weights": (finetune_a_little, "--model has other content"),
    "configuration": (lambda folder: (folder / "base" / "config.json").write_text("{}"), "--model has other content"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_content_under_the_same_name_is_found_out(change: str, random_model: Path, speech_folder: Path) -> None:
    """The options only say where things lie."""
    shutil.copytree(random_model, speech_folder / "base")
    (speech_folder / "augment.yaml").write_text("volume: {}")
    config = quick_run(speech_folder, speech_folder / "base", dev=speech_folder / "dev.jsonl", augment=speech_folder / "augment.yaml")
    base, train = ModelFolder.open(config.model), read(config.train)
    inputs.write(inputs.describe(config, base, train), speech_folder)
    inputs.require_unchanged(inputs.describe(config, base, train), speech_folder)
    act, message = CHANGES[change]
    act(speech_folder)
    with pytest.raises(UsageError, match=message):
        inputs.require_unchanged(inputs.describe(config, base, train), speech_folder)


def test_fewer_usable_utterances_are_found_out(random_model: Path, speech_folder: Path) -> None:
    """With --skip-bad, audio that has gone missing would give every row another number."""
    config = quick_run(speech_folder, random_model)
    base, train = ModelFolder.open(config.model), read(config.train)
    inputs.write(inputs.describe(config, base, train), speech_folder)
    with pytest.raises(UsageError, match="the usable utterances of --train have become 7 instead of 8"):
        inputs.require_unchanged(inputs.describe(config, base, train[1:]), speech_folder)
