"""Two processes train as one does: the same losses, weights and scores from the same batches, and they end together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from children import together
from finetuning import quick_run
from finewhisper.cli import main
from finewhisper.errors import UsageError
from finewhisper.training.config import FinetuneConfig, LoraOptions
from finewhisper.training.processes import require_whole_weights
from finewhisper.training.run import run

BIN = Path(sys.executable).parent


def config(folder: Path, model: Path, **options: Any) -> FinetuneConfig:
    """Eight clips in batches of seven and one, so that in every other step one of two processes has nothing to hear."""
    own = {"output": folder / "one", "epochs": 3, "batch_size": 7, "learning_rate": 1e-3}
    return quick_run(folder, model, **{**own, **options})


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(next(output.glob("*model.safetensors")))


def assert_as_one(one: Path, two: Path, *, tolerance: float = 1e-5) -> None:
    """The same losses, scores and weights in two result folders."""
    logs = [json.loads((output / "training.json").read_text()) for output in (one, two)]
    assert len(logs[0]) == len(logs[1]) > 0
    for first, second in zip(*logs, strict=True):
        assert first.pop("grad_norm", 0.0) == pytest.approx(second.pop("grad_norm", 0.0), rel=1e-3)
        assert first == pytest.approx(second, abs=tolerance)
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], atol=10 * tolerance, rtol=0)


def launch(launcher: list[str], options: FinetuneConfig) -> subprocess.CompletedProcess[str]:
    """Run ``finewhisper finetune`` by a launcher, with the options read from a recipe."""
    recipe = options.output.with_suffix(".json")
    recipe.write_text(options.model_dump_json())
    command = [*launcher, "-m", "finewhisper", "finetune", "--config", str(recipe)]
    alone = {key: value for key, value in os.environ.items() if key not in {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"}}
    return subprocess.run(command, capture_output=True, text=True, env=alone | {"OMP_NUM_THREADS": "1"}, timeout=300, check=False)


def test_torchrun_gives_the_losses_and_scores_of_one_process(random_model: Path, speech_folder: Path) -> None:
    options = config(speech_folder, random_model, dev=speech_folder / "dev.jsonl")
    one = run(options)
    launched = launch(
        [str(BIN / "torchrun"), "--standalone", "--nproc_per_node=2"], options.model_copy(update={"output": speech_folder / "two"})
    )
    assert launched.returncode == 0, launched.stderr
    assert launched.stdout.count("6 steps") == 1, "one of the two speaks"
    assert launched.stderr.count("epoch 3.0") == 1
    assert_as_one(one.output, speech_folder / "two")


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_all_processes_with_one_message(random_model: Path, speech_folder: Path) -> None:
    options = config(speech_folder, random_model, method="full", batch_size=8, learning_rate=1e30, warmup_share=0)
    launched = launch([str(BIN / "torchrun"), "--standalone", "--nproc_per_node=2"], options)
    assert launched.returncode != 0
    assert launched.stderr.count("the loss is nan") == 1
    named = {line for line in range(1, 9) if f"train.jsonl:{line}: " in launched.stderr}
    assert named == set(range(1, 9)), "the utterances of both processes"
    assert "the checkpoint of step 1 is kept" in launched.stderr


@pytest.mark.slow
def test_accelerate_launch_gives_the_losses_of_one_process(random_model: Path, speech_folder: Path) -> None:
    options = config(speech_folder, random_model, method="full")
    one = run(options)
    accelerate = [str(BIN / "accelerate"), "launch", "--multi_gpu", "--num_processes=2", "--num_machines=1", "--main_process_port=0"]
    accelerate += ["--mixed_precision=no", "--dynamo_backend=no"]
    launched = launch(accelerate, options.model_copy(update={"output": speech_folder / "two"}))
    assert launched.returncode == 0, launched.stderr
    assert_as_one(one.output, speech_folder / "two")


IN_BFLOAT16 = {"precision": "bfloat16", "epochs": 1, "full_window_share": 0.5}


@pytest.mark.parametrize("options", [{"method": "adalora"}, {"accumulate": 2, "full_window_share": 0.5}, IN_BFLOAT16])
def test_two_processes_are_as_one(options: dict[str, Any], random_model: Path, speech_folder: Path) -> None:
    alone = config(speech_folder, random_model, **options)
    one = run(alone)
    assert together(2, run, alone.model_copy(update={"output": speech_folder / "two"})) == [0, 0]
    assert_as_one(one.output, speech_folder / "two", tolerance=1e-3 if "precision" in options else 1e-5)


def die_at_five(options: FinetuneConfig, ranks: tuple[str, ...]) -> None:
    """Fine-tune in a process that dies at the fifth step if it is one of ``ranks``."""
    from finewhisper.training.trainer import SpeechTrainer

    def training_step(trainer: SpeechTrainer, *arguments: Any, **named: Any) -> Any:
        if trainer.state.global_step == 5 and os.environ["RANK"] in ranks:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(trainer, *arguments, **named)

    original = SpeechTrainer.training_step
    SpeechTrainer.training_step = training_step
    run(options)


def test_when_one_process_dies_all_end_and_can_be_resumed(random_model: Path, speech_folder: Path) -> None:
    """With dropout, so that the random numbers of both processes matter."""
    options = config(speech_folder, random_model, save_steps=3, lora=LoraOptions(rank=4, dropout=0.2))
    assert together(2, run, options) == [0, 0]
    interrupted = options.model_copy(update={"output": speech_folder / "two"})
    codes = together(2, die_at_five, interrupted, ("1",))
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, None)
    assert together(2, run, interrupted.model_copy(update={"resume": True})) == [0, 0]
    assert_as_one(options.output, interrupted.output, tolerance=0)


def command(options: FinetuneConfig, messages: Path) -> None:
    """The command line in one of several processes, which writes its messages to a file of its own."""
    recipe = options.output.with_name(f"recipe{os.environ['RANK']}.json")
    recipe.write_text(options.model_dump_json())
    with (messages / os.environ["RANK"]).open("w") as sys.stderr:
        sys.exit(main(["finetune", "--config", str(recipe)]))


def test_a_mistake_is_told_once_and_ends_all(random_model: Path, speech_folder: Path) -> None:
    (speech_folder / "audio" / "clip1.wav").unlink()
    options = config(speech_folder, random_model)
    assert together(2, command, options, speech_folder) == [2, 2]
    assert "train.jsonl:2:" in (speech_folder / "0").read_text()
    assert (speech_folder / "1").read_text() == ""
    assert not options.output.exists()


#: What ``accelerate launch --use_fsdp --fsdp_version 2`` tells the processes.
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "WhisperEncoderLayer,WhisperDecoderLayer",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}


def on_cpus(function: Callable[..., None], *arguments: Any) -> None:
    """Make accelerate, which has FSDP for GPUs only, take processes on CPUs for such; torch does not mind."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    def initialise(state: AcceleratorState, *values: Any, fsdp_plugin: Any = None, **named: Any) -> None:
        original(state, *values, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None:
            state.fsdp_plugin = fsdp_plugin
            state.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    original = AcceleratorState.__init__
    AcceleratorState.__init__ = initialise
    function(*arguments)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_weights_that_fsdp_shares_out_are_gathered(method: str, random_model: Path, speech_folder: Path) -> None:
    alone = config(speech_folder, random_model, method=method, epochs=2)
    one = run(alone)
    shared = alone.model_copy(update={"output": speech_folder / "two"})
    assert together(2, on_cpus, run, shared, **FSDP) == [0, 0]
    assert (shared.output / "checkpoints" / "checkpoint-4" / "pytorch_model_fsdp.bin").is_file(), "they were shared out"
    assert_as_one(one.output, shared.output)


def test_shared_out_weights_cannot_be_scored(random_model: Path, speech_folder: Path) -> None:
    options = config(speech_folder, random_model, dev=speech_folder / "dev.jsonl")
    assert together(2, on_cpus, command, options, speech_folder, **FSDP) == [2, 2]
    assert "leave --dev out" in (speech_folder / "0").read_text()


def test_ranks_cannot_be_shared_out_with_deepspeed(tmp_path: Path) -> None:
    """Its steps are taken within the backward pass, so that gradients are gone when the ranks' importance is read from them."""
    trainer: Any = SimpleNamespace(is_fsdp_enabled=False, is_deepspeed_enabled=True)
    with pytest.raises(UsageError, match="--method adalora: DeepSpeed"):
        require_whole_weights(trainer, config(tmp_path, tmp_path / "model", method="adalora"))
    require_whole_weights(
        trainer, config(tmp_path, tmp_path / "model", dev=tmp_path / "dev.jsonl")
    )  # below ZeRO-3 each process has all weights
