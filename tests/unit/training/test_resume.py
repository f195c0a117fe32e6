"""A run that is killed at any moment goes on as if nothing had happened: the same losses, the same weights to the last bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from children import PROCESSES
from finetuning import quick_run
from finewhisper.errors import UsageError
from finewhisper.model import ModelFolder
from finewhisper.outputs import RECORD
from finewhisper.training.batches import Window
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.training.dataset import SpeechDataset
from finewhisper.training.run import run


@pytest.fixture
def restless_model(random_model: Path, tmp_path: Path) -> Path:
    """The random model with dropout, so that a run repeats only where the random numbers go on as they were."""
    folder = tmp_path / "restless"
    shutil.copytree(random_model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"dropout": 0.1}))
    return folder


def config(folder: Path, model: Path, **options: Any) -> FinetuneConfig:
    """Twenty steps in five epochs, with a checkpoint after every third."""
    lora = LoraOptions(rank=4, alpha=8, dropout=0.1)
    own = {"epochs": 5, "batch_size": 2, "save_steps": 3, "lora": lora, "learning_rate": 1e-3}
    return quick_run(folder, model, **{**own, **options})


def die(*_: Any, **__: Any) -> None:
    """What kill -9 does, at a moment of our choice."""
    os.kill(os.getpid(), signal.SIGKILL)


def run_until(options: FinetuneConfig, moment: str, step: int) -> None:
    """Fine-tune in a process that dies at ``moment`` of optimizer step ``step``."""
    import transformers
    from transformers import TrainerState

    from finewhisper.training import results
    from finewhisper.training.trainer import SpeechTrainer

    def dying(trainer: SpeechTrainer, *arguments: Any, **named: Any) -> Any:
        if trainer.state.global_step == step:
            die()
        return original(trainer, *arguments, **named)

    def write_half(state: TrainerState, path: str) -> None:
        whole_file(state, path)
        if state.global_step == step:
            text = Path(path).read_text(encoding="utf-8")
            Path(path).write_text(text[: len(text) // 2], encoding="utf-8")
            die()

    def delete_half(output_dir: str, **_: Any) -> None:
        oldest = min(Path(output_dir).iterdir(), key=lambda path: int(path.name.rpartition("-")[2]))
        (oldest / "optimizer.pt").unlink(missing_ok=True)
        if (Path(output_dir) / f"checkpoint-{step}").exists():
            die()

    whole_file = TrainerState.save_to_json
    if moment == "the state is written":
        TrainerState.save_to_json = write_half
    elif moment == "old checkpoints are deleted":
        transformers.trainer.rotate_checkpoints = delete_half
    elif moment == "the result is written":
        results.plot_training = die
    else:
        original = getattr(SpeechTrainer, moment)
        setattr(SpeechTrainer, moment, dying)
    run(options)


#: Where a run is killed, one after another, each time resumed from what the last death left.
MOMENTS = [
    ("training_step", 1),  # before there is any checkpoint
    ("_save_optimizer_and_scheduler", 8),  # the weights are there, the optimizer's state is not; 8 is the end of an epoch
    ("_save_rng_state", 9),
    ("the state is written", 12),
    ("old checkpoints are deleted", 15),
    ("training_step", 16),  # at the beginning of an epoch
    ("the result is written", 20),
]


def killed(options: FinetuneConfig, moment: str, step: int) -> FinetuneConfig:
    """Kill a run and return the options to resume it with."""
    child = PROCESSES.Process(target=run_until, args=(options, moment, step))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, f"it was to die when {moment} at step {step}"
    return options.model_copy(update={"resume": True})


def assert_equal(one: Path, two: Path) -> None:
    """The same log and the same weights in two result folders."""
    assert json.loads((one / "training.json").read_text()) == json.loads((two / "training.json").read_text())
    name = "model.safetensors" if (one / "model.safetensors").exists() else "adapter_model.safetensors"
    first, second = load_file(one / name), load_file(two / name)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("method", "moments"), [("lora", MOMENTS), ("full", MOMENTS[4:5]), ("adalora", MOMENTS[2:3])])
def test_twenty_steps_with_many_deaths_equal_twenty_steps(
    method: str, moments: list[tuple[str, int]], restless_model: Path, speech_folder: Path
) -> None:
    """Upstream restored the optimizer of a full fine-tuning, but not the weights."""
    whole = run(config(speech_folder, restless_model, method=method, output=speech_folder / "whole"))
    options = config(speech_folder, restless_model, method=method)
    for moment, step in moments:
        options = killed(options, moment, step)
    resumed = run(options)
    assert whole.steps == resumed.steps == 20
    assert_equal(whole.output, resumed.output)
    assert [path.name for path in resumed.output.glob(".*")] == [RECORD], "nothing half-written is left"
    assert not yaml.safe_load((resumed.output / "config.yaml").read_text())["resume"], "config.yaml still repeats the whole run"


def test_a_resumed_run_reads_only_the_audio_that_is_left(random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' Trainer takes a step too many when it resumes after the last one in mid-epoch."""
    fetched: list[Window] = []
    fetch = SpeechDataset.__getitem__
    monkeypatch.setattr(SpeechDataset, "__getitem__", lambda dataset, item: fetched.append(item) or fetch(dataset, item))
    whole = run(config(speech_folder, random_model, max_steps=10, output=speech_folder / "whole"))
    everything = list(fetched)
    options = killed(config(speech_folder, random_model, max_steps=10), "training_step", 7)
    options = killed(options, "the result is written", 10)
    fetched.clear()
    resumed = run(options)
    assert (resumed.steps, fetched) == (10, [])
    assert_equal(whole.output, resumed.output)
    shutil.rmtree(resumed.output / "checkpoints" / "checkpoint-10")
    run(options)
    assert fetched
    assert fetched == everything[-len(fetched) :]
    assert len(fetched) < 4 * options.batch_size
    assert_equal(whole.output, resumed.output)


def test_a_run_killed_at_random_moments_ends_the_same(restless_model: Path, speech_folder: Path) -> None:
    whole = run(config(speech_folder, restless_model, output=speech_folder / "whole"))
    options = config(speech_folder, restless_model)
    chance = random.Random(0)
    for _ in range(4):
        child = PROCESSES.Process(target=run, args=(options,))
        child.start()
        while child.is_alive() and not options.output.exists():
            time.sleep(0.01)
        child.join(chance.uniform(0, whole.seconds))
        child.kill()
        child.join()
        options = options.model_copy(update={"resume": True})
    assert_equal(whole.output, run(options).output)


def test_the_best_checkpoint_is_found_after_the_folder_moved(random_model: Path, speech_folder: Path) -> None:
    learns_nothing = {"learning_rate": 1e-9, "epochs": 2, "save_steps": None}
    scored = config(speech_folder, random_model, dev=speech_folder / "dev.jsonl", **learns_nothing)
    whole = run(scored.model_copy(update={"output": speech_folder / "whole"}))
    options = killed(scored, "the result is written", 8)
    options = options.model_copy(update={"output": options.output.rename(speech_folder / "moved")})
    resumed = run(options)
    card = json.loads((resumed.output / "finewhisper.json").read_text())
    assert card["training"]["kept_step"] == 4, "the second epoch is not better than the first"
    assert resumed.best == whole.best
    assert_equal(whole.output, resumed.output)


def test_a_run_that_never_began_can_be_started_again(random_model: Path, speech_folder: Path) -> None:
    options = killed(config(speech_folder, random_model, epochs=1), "training_step", 0)
    with pytest.raises(UsageError, match="repeat the command with --resume"):
        run(options.model_copy(update={"resume": False}))
    assert run(options).steps == 4


def test_a_finished_model_outlives_whatever_happens_to_its_resumption(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoints may be deleted. The run then began again, and the first error deleted the model too."""
    options = config(speech_folder, random_model, max_steps=1)
    result = run(options).output
    resumed = options.model_copy(update={"resume": True})

    def interrupt(*_: Any) -> None:
        shutil.rmtree(result / "checkpoints")
        raise KeyboardInterrupt

    monkeypatch.setattr("finewhisper.training.results.publish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(resumed)
    with pytest.raises(UsageError, match="is finished and has no checkpoints left"):
        run(resumed)
    ModelFolder.open(result)


def test_a_manifest_that_changed_since_the_run_began_is_refused(random_model: Path, speech_folder: Path) -> None:
    options = killed(config(speech_folder, random_model, max_steps=3, save_steps=1), "training_step", 1)
    manifest = speech_folder / "train.jsonl"
    manifest.write_text("".join(reversed(manifest.read_text().splitlines(keepends=True))))
    with pytest.raises(UsageError, match="--resume: --train has other content since the run"):
        run(options)
    assert list((options.output / "checkpoints").iterdir())
