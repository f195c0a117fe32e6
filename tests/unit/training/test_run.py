"""Fine-tuning by its effects: what is learnt, what is written, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from finetuning import quick_run
from finewhisper.errors import ManifestError, ModelError, StorageError, UsageError
from finewhisper.model import ModelFolder
from finewhisper.training.batches import Window
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.training.dataset import Example, SpeechDataset
from finewhisper.training.labels import Labels
from finewhisper.training.run import run


def config(folder: Path, model: Path, **options: object) -> FinetuneConfig:
    """A run of a few steps on generated clips."""
    return quick_run(folder, model, **{"epochs": 2, **options})


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((output / "training.json").read_text()) if "loss" in entry]


def test_lora_leaves_a_complete_adapter(random_model: Path, speech_folder: Path) -> None:
    dev = speech_folder / "dev.jsonl"
    result = run(config(speech_folder, random_model, dev=dev, tracker="tensorboard", margin_s=(0.2, 0.7), full_window_share=0.1))
    output = speech_folder / "result"
    folder = ModelFolder.open(output, "adapter")
    names = {path.name for path in output.iterdir()}
    assert {"adapter_model.safetensors", "config.yaml", "finewhisper.json", "training.json", "training.png", "README.md"} <= names
    context = folder.card.context
    assert (context.trimmed, context.margin_s, context.trained_margin_s, context.full_window_share) == (True, 0.7, (0.2, 0.7), 0.1)
    assert folder.card.languages == ("en",)
    assert folder.card.base is not None
    assert folder.card.base["fingerprint"] == ModelFolder.open(random_model).fingerprint()
    assert set(result.best) == {name + bound for name in ("macro", "wer", "cer") for bound in ("", "_low", "_high")}
    assert result.steps == 4
    assert (output / "training.png").read_bytes().startswith(b"\x89PNG")
    assert list((output / "tensorboard").iterdir())
    assert not list(output.glob("*.tmp"))


def test_the_saved_configuration_repeats_the_run(random_model: Path, speech_folder: Path) -> None:
    from finewhisper.cli import main

    first = run(config(speech_folder, random_model))
    recipe = speech_folder / "again.yaml"
    recipe.write_text((first.output / "config.yaml").read_text())
    assert main(["finetune", "--config", str(recipe), "-o", str(speech_folder / "again")]) == 0
    one, two = load_file(first.output / "adapter_model.safetensors"), load_file(speech_folder / "again" / "adapter_model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one), "the same seed and data give the same weights"


def test_the_loss_falls_when_the_same_clips_are_heard_again(random_model: Path, speech_folder: Path) -> None:
    result = run(config(speech_folder, random_model, method="full", epochs=30, learning_rate=3e-3))
    measured = losses(result.output)
    assert measured[-1] < measured[0] / 2


def test_workers_change_no_weight(random_model: Path, speech_folder: Path) -> None:
    """The seed of a window decides all that is random in it, whichever process reads it."""
    options = {"max_steps": 2, "full_window_share": 0.5, "stitched_share": 0.0, "no_speech": 0.3}
    alone, helped = (
        run(config(speech_folder, random_model, output=speech_folder / str(workers), workers=workers, **options)) for workers in (0, 2)
    )
    one, two = (load_file(result.output / "adapter_model.safetensors") for result in (alone, helped))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert ModelFolder.open(alone.output).card.timestamps is False, "no line has times, and no window holds several clips"


def test_large_v3_is_taught_in_its_own_ids_language_and_task(
    make_random: Callable[..., Path], speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ids after the languages are one higher, its spectrogram has 128 bins; --task and --language win over the lines' own."""
    rows = [json.loads(line) for line in (speech_folder / "train.jsonl").read_text().splitlines()]
    timed = [row | {"sentences": [{"start": 0.1, "end": 0.5, "text": row["sentence"]}]} for row in rows]
    (speech_folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in timed))
    taught: list[Labels] = []
    fetch = SpeechDataset.__getitem__

    def listen(dataset: SpeechDataset, window: Window) -> Example:
        taught.append((example := fetch(dataset, window)).labels)
        return example

    monkeypatch.setattr(SpeechDataset, "__getitem__", listen)
    model = make_random("v3", num_mel_bins=128)
    result = run(config(speech_folder, model, method="full", max_steps=2, task="translate", language="yue", timestamps=1.0))
    start, cantonese, translate, zero, end = 50258, 50358, 50359, 50365, 50257
    assert taught
    for labels in taught:
        assert labels.inputs[:4] == (start, cantonese, translate, zero + 5)
        assert labels.targets[-2:] == (zero + 25, end)
    assert ModelFolder.open(result.output).card.timestamps is True
    before, after = (load_file(folder / "model.safetensors") for folder in (model, result.output))
    assert after["model.encoder.conv1.weight"].shape[1] == 128
    assert not torch.equal(before["model.encoder.conv1.weight"], after["model.encoder.conv1.weight"])


def test_full_training_writes_a_whole_model(random_model: Path, speech_folder: Path) -> None:
    result = run(config(speech_folder, random_model, method="full", learning_rate=1e-3))
    folder = ModelFolder.open(result.output, "transformers")
    before, after = load_file(random_model / "model.safetensors"), load_file(result.output / "model.safetensors")
    assert before.keys() == after.keys()
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert unchanged <= {"model.encoder.embed_positions.weight"}, "all weights but the sinusoids have learnt"
    assert folder.config["architectures"] == ["WhisperForConditionalGeneration"]
    assert (result.output / "preprocessor_config.json").is_file()


def test_resuming_with_other_options_is_refused(random_model: Path, speech_folder: Path) -> None:
    run(config(speech_folder, random_model))
    with pytest.raises(UsageError, match="--batch-size was 4, now 2"):
        run(config(speech_folder, random_model, batch_size=2, resume=True))


def test_resuming_nothing_is_refused(random_model: Path, speech_folder: Path) -> None:
    with pytest.raises(UsageError, match="no earlier run"):
        run(config(speech_folder, random_model, resume=True))


def test_an_existing_output_is_kept_unless_told_otherwise(random_model: Path, speech_folder: Path) -> None:
    run(config(speech_folder, random_model))
    with pytest.raises(StorageError, match="exists already"):
        run(config(speech_folder, random_model))
    run(config(speech_folder, random_model, overwrite=True))
    mine = speech_folder / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(StorageError, match="cannot be told what of it finewhisper wrote"):
        run(config(speech_folder, random_model, output=mine, overwrite=True))
    assert (mine / "thesis.txt").is_file()


def test_no_speech_lines_reach_the_loss(random_model: Path, speech_folder: Path) -> None:
    """Upstream dropped every line whose sentence is empty, so its advertised no-speech training trained on none."""
    rows = [json.loads(line) for line in (speech_folder / "train.jsonl").read_text().splitlines()]
    silent = [row | {"sentence": "", "sentences": []} for row in rows]
    (speech_folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in silent))
    result = run(config(speech_folder, random_model, method="full", epochs=20, learning_rate=3e-3))
    measured = losses(result.output)
    assert measured[-1] < measured[0] / 3, "it learns to say that nobody speaks"


def test_every_bad_line_is_named_and_nothing_is_written(random_model: Path, speech_folder: Path) -> None:
    lines = (speech_folder / "train.jsonl").read_text().splitlines()
    (speech_folder / "audio" / "clip1.wav").unlink()
    (speech_folder / "audio" / "clip2.wav").write_text("this is not sound")
    long = json.loads(lines[3]) | {"sentence": "word " * 500}
    (speech_folder / "train.jsonl").write_text("\n".join([*lines[:3], json.dumps(long), *lines[4:]]))
    with pytest.raises(ManifestError) as caught:
        run(config(speech_folder, random_model))
    text = str(caught.value)
    assert "train.jsonl:2:" in text
    assert "train.jsonl:3:" in text
    assert "train.jsonl:4:" in text
    assert "tokens" in text
    assert not (speech_folder / "result").exists()


def test_bad_lines_can_be_left_out_but_are_listed(random_model: Path, speech_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (speech_folder / "audio" / "clip1.wav").unlink()
    run(config(speech_folder, random_model, skip_bad=True))
    assert "train.jsonl:2:" in capfd.readouterr().err
    card = json.loads((speech_folder / "result" / "finewhisper.json").read_text())
    assert card["training"]["utterances"] == 7


def test_a_line_without_a_language_is_named(random_model: Path, speech_folder: Path) -> None:
    rows = [json.loads(line) for line in (speech_folder / "train.jsonl").read_text().splitlines()]
    del rows[2]["language"]
    (speech_folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ManifestError, match=r"train\.jsonl:3: has no 'language'"):
        run(config(speech_folder, random_model))


def test_an_adapter_is_not_a_base(random_model: Path, speech_folder: Path) -> None:
    result = run(config(speech_folder, random_model))
    with pytest.raises(ModelError, match="finewhisper merge"):
        run(config(speech_folder, result.output, output=speech_folder / "second"))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: int, random_model: Path, speech_folder: Path) -> None:
    with pytest.raises(ValidationError, match="seed"):
        config(speech_folder, random_model, seed=seed)


def test_layers_that_do_not_exist_are_refused(random_model: Path, speech_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"--lora\.targets nonsense"):
        run(config(speech_folder, random_model, lora=LoraOptions(targets=("nonsense",))))
    assert not (speech_folder / "result").exists()
