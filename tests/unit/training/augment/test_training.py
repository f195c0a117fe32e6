"""Fine-tuning with augmentation: it reaches the model, repeats, resumes, and is checked before anything else is done."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetuning import quick_run
from finewhisper import manifest
from finewhisper.audio import SAMPLE_RATE
from finewhisper.errors import UsageError
from finewhisper.training.augment import Augmentation, Effects
from finewhisper.training.augment.effects import Shift, Speed
from finewhisper.training.batches import BatchPlan, LengthBatches
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.corpus import clips_of
from finewhisper.training.dataset import SpeechDataset
from finewhisper.training.labels import Labeller
from finewhisper.training.run import run
from finewhisper.vocabulary import Vocabulary

SOUND = "speed: {probability: 1, factor: [0.8, 0.9]}\nvolume: {probability: 1}\n"
MASKS = "spec_augment: {probability: 1, time_masks: 3}\n"


def config(folder: Path, model: Path, text: str | None, output: str, **options: object) -> FinetuneConfig:
    if text is not None:
        (folder / "augment.yaml").write_text(text)
    augment = None if text is None else folder / "augment.yaml"
    return quick_run(folder, model, **{"output": folder / output, "augment": augment, "epochs": 2, **options})


def weights(output: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(output / "adapter_model.safetensors"))


def alike(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_hidden_spectrograms_reach_the_model(random_model: Path, speech_folder: Path) -> None:
    plain = run(config(speech_folder, random_model, None, "plain", epochs=1))
    hidden = run(config(speech_folder, random_model, MASKS, "hidden", epochs=1))
    assert not alike(weights(plain.output), weights(hidden.output))


def test_a_resumed_run_hears_what_the_whole_one_did(random_model: Path, speech_folder: Path) -> None:
    whole = run(config(speech_folder, random_model, SOUND + MASKS, "whole", save_steps=1))
    half = speech_folder / "half"
    half.mkdir()
    checkpoint = min((whole.output / "checkpoints").iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
    assert checkpoint.name == "checkpoint-3", "in the middle of the second epoch"
    shutil.copytree(checkpoint, half / "checkpoints" / checkpoint.name)
    (half / "config.yaml").write_text((whole.output / "config.yaml").read_text().replace(str(whole.output), str(half)))
    resumed = run(config(speech_folder, random_model, SOUND + MASKS, "half", save_steps=1, resume=True))
    assert alike(weights(whole.output), weights(resumed.output))
    assert whole.hours == pytest.approx(12 / 3600, rel=0.01), "of the recordings, not of what they may become"
    training = json.loads((whole.output / "finewhisper.json").read_text())["training"]
    assert training["augment"] == "augment.yaml"
    assert len(training["augment_sha256"]) == 64


def test_windows_are_planned_for_the_longest_that_a_clip_can_become(random_model: Path, speech_folder: Path) -> None:
    """Upstream cut off the end of slowed clips; here the context holds it, with no margin too, alone and joined to others."""
    utterances = [replace(one, extra={"speaker": "one"}) for one in manifest.read(speech_folder / "train.jsonl")]
    labeller = Labeller(Vocabulary.load(random_model))
    slow = Augmentation(Effects(speed=Speed(probability=1, factor=(0.5, 0.5)), shift=Shift(probability=1, seconds=(0.4, 0.4))))
    dataset = SpeechDataset(utterances, labeller, slow)
    for share in (0.0, 1.0):
        batches = LengthBatches(clips_of(utterances, labeller, slow), BatchPlan(4, 60.0, (0.0, 0.0), share, 0, 1, stitched_share=share))
        windows = [window for batch in batches for window in batch]
        assert sorted(row for window in windows for row in window.rows) == list(range(8))
        assert share == 0.0 or any(len(window.rows) > 1 for window in windows)
        for window in windows:
            sound = sum(0.4 + 2 * utterances[row].length_s() for row in window.rows)
            loud = torch.nonzero(dataset[window].waveform.abs() > 1e-6)
            assert len(loud) / SAMPLE_RATE > 0.9 * (sound - 0.4 * len(window.rows)), "all of it is there"
            assert sound <= window.frames / 100


def test_a_mistake_in_the_file_stops_before_training(random_model: Path, speech_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"augment\.yaml: speed\.probability: must be 1 or less, not 2"):
        run(config(speech_folder, random_model, "speed: {probability: 2}\n", "refused"))
    assert not (speech_folder / "refused").exists()
