"""What fits is said before the first step, and found for ``--batch-seconds auto`` without a trace in weights or random numbers."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import WhisperConfig

from children import together
from finetuning import exhaust_memory, long_clips, quick_run
from finewhisper import whisper
from finewhisper.cli import main
from finewhisper.errors import TrainingError, UnsupportedError
from finewhisper.training import fitting
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.training.fitting import Room
from finewhisper.training.memory import Footprint, Load
from finewhisper.training.run import run

GB = 10**9


def config(folder: Path, model: Path, **options: Any) -> FinetuneConfig:
    """One step of four clips of 25 s, if they fit into a batch; with dropout, so that random numbers matter."""
    own = {"train": long_clips(folder, 4, 25.0) / "train.jsonl", "epochs": 1, "batch_seconds": "auto"}
    return quick_run(folder, model, **{**own, "lora": LoraOptions(rank=4, dropout=0.2), **options})


def adapter(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "adapter_model.safetensors")


def assert_same_run(one: Path, two: Path) -> None:
    first, second = adapter(one), adapter(two)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    assert json.loads((one / "training.json").read_text()) == json.loads((two / "training.json").read_text())


def free(monkeypatch: pytest.MonkeyPatch, bytes_: int) -> None:
    monkeypatch.setattr(fitting, "room", lambda device: Room(bytes_, 100 * GB))


def test_what_is_needed_and_what_is_free_is_said_in_one_line(
    random_model: Path, speech_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(config(speech_folder, random_model, batch_seconds=120, max_steps=1))
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("memory:")]
    assert "of the largest batch, 4 windows of 25.5 s" in line
    assert line.endswith("GB free on cpu")


def test_a_run_that_may_not_fit_is_warned_of(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    free(monkeypatch, GB // 20)
    assert run(config(speech_folder, random_model, batch_seconds=120, max_steps=1)).steps == 1
    assert "this may not be enough: lower --batch-seconds (now 120.0; auto finds what fits)" in capfd.readouterr().err


@pytest.mark.parametrize(("method", "advice"), [("full", "--method lora or --optimizer adamw-8bit"), ("lora", "--quantize 4bit")])
def test_a_run_that_cannot_fit_is_refused_before_anything_is_loaded(
    method: str, advice: str, random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "room", lambda device: Room(GB // 1000, GB // 500))
    monkeypatch.setattr(whisper, "load", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(UnsupportedError, match=rf"--method {method}: .* take 0\.\d+ GB .* cpu has 0\.002 GB free\. .*{advice}"):
        run(config(speech_folder, random_model, method=method, batch_seconds=120))
    assert not (speech_folder / "result").exists()


def test_batches_found_by_estimate_are_recorded_and_resumed(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = config(speech_folder, random_model, max_steps=2, save_steps=1)
    footprint = Footprint.of(options, WhisperConfig.from_pretrained(random_model))
    two, four = (footprint.demand(Load(windows, frames=2550, tokens=12, labels=12 * windows)).total for windows in (2, 4))
    free(monkeypatch, round(fitting.SPARE * (two + four) / 2))
    found = run(options).output
    assert yaml.safe_load((found / "config.yaml").read_text())["batch_seconds"] == 60.0
    assert json.loads((found / "finewhisper.json").read_text())["training"]["batch_seconds"] == 60.0
    explicit = run(options.model_copy(update={"output": speech_folder / "explicit", "batch_seconds": 60.0}))
    assert_same_run(found, explicit.output)
    free(monkeypatch, 100 * GB)
    torch.manual_seed(5)
    (found / "adapter_model.safetensors").unlink()
    shutil.rmtree(found / "checkpoints" / "checkpoint-2")
    run(options.model_copy(update={"resume": True}))
    assert_same_run(found, explicit.output)


def test_batches_found_by_trial_leave_no_trace(random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, as it is done on a GPU: 120 s are too much, 60 s are not."""
    monkeypatch.setattr(fitting, "TRIED_ON", {"cpu"})
    exhaust_memory(monkeypatch, at_frames=6000)
    found = run(config(speech_folder, random_model)).output
    assert yaml.safe_load((found / "config.yaml").read_text())["batch_seconds"] == 60.0
    explicit = run(config(speech_folder, random_model, output=speech_folder / "explicit", batch_seconds=60))
    assert_same_run(found, explicit.output)


def test_where_not_even_single_windows_fit_the_flags_are_named(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "TRIED_ON", {"cpu"})
    exhaust_memory(monkeypatch)
    with pytest.raises(TrainingError, match=r"not even 1 windows of 25\.5 s fit .* --quantize 4bit or pass --gradient-checkpointing"):
        run(config(speech_folder, random_model))
    assert not (speech_folder / "result").exists()


def in_a_narrow_place(options: FinetuneConfig) -> None:
    """Fine-tune in one of two processes, of which the second has little memory."""
    fitting.room = lambda device: Room((100 if os.environ["RANK"] == "0" else 0) * GB + GB // 7, 200 * GB)
    run(options)


def test_several_processes_take_what_fits_in_all(random_model: Path, speech_folder: Path) -> None:
    options = config(speech_folder, random_model, batch_size=8)
    long_clips(speech_folder, 8, 25.0)
    assert together(2, in_a_narrow_place, options) == [0, 0]
    found = yaml.safe_load((options.output / "config.yaml").read_text())["batch_seconds"]
    assert found in (60.0, 120.0), "less than the 240 s that the first has room for"
    explicit = options.model_copy(update={"output": speech_folder / "explicit", "batch_seconds": found})
    assert together(2, run, explicit) == [0, 0]
    assert_same_run(options.output, explicit.output)


def test_batches_cannot_be_tried_where_weights_are_shared_out(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UnsupportedError, match="--batch-seconds auto: FSDP"):
        run(config(speech_folder, random_model))


def test_a_batch_shorter_than_a_window_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["finetune", "m", "--train", "t.jsonl", "-o", "o", "--batch-seconds", "10"]) == 2
    assert "--batch-seconds: must be 30 or more or must be 'auto', not '10'" in capsys.readouterr().err


def test_a_system_that_does_not_say_how_much_memory_is_free_trains(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("finewhisper.machine.memory", lambda: None)
    assert run(config(speech_folder, random_model, batch_seconds=120, max_steps=1)).steps == 1
    assert "how much is free on cpu is not known here" in capfd.readouterr().err
    with pytest.raises(UnsupportedError, match="--batch-seconds auto: this system does not say how much memory is free; give a number"):
        run(config(speech_folder, random_model, output=speech_folder / "auto"))
