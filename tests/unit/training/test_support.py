"""Type and threads are chosen by what the machine can do, and told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from finetuning import quick_run
from finewhisper import machine
from finewhisper.cli import main
from finewhisper.errors import UnsupportedError, UsageError
from finewhisper.training import support
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.run import run

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def auto(**options: object) -> FinetuneConfig:
    return FinetuneConfig.model_validate({"model": "m", "train": "t", "output": "o", **options})


def processor(monkeypatch: pytest.MonkeyPatch, *features: str) -> None:
    """A CPU with these of the features that torch can be asked for."""
    for feature, question in support._BFLOAT16.items():
        monkeypatch.setattr(torch.cpu, question, lambda has=feature in features: has, raising=False)


@pytest.fixture(autouse=True)
def same_threads_afterwards() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("features", "precision"), [(["avx512_bf16"], "bfloat16"), (["amx"], "bfloat16"), (["avx512_bf16", "amx"], "bfloat16"), ([], "float32")]
)
def test_a_cpu_computes_in_bfloat16_where_it_can_multiply_it(
    features: list[str], precision: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    processor(monkeypatch, *features)
    assert support.settled(auto(), CPU).precision == precision
    printed = capfd.readouterr().err
    assert f"--precision auto: {precision}, for this processor has {', '.join(features) or 'neither avx512_bf16 nor amx'}" in printed


def test_a_torch_that_cannot_be_asked_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one built for other processors, or a later one with other names."""
    for question in support._BFLOAT16.values():
        monkeypatch.delattr(torch.cpu, question, raising=False)
    assert support.settled(auto(), CPU).precision == "float32"


@pytest.mark.parametrize(
    ("bfloat16", "capability", "precision"),
    [
        (True, (8, 0), "bfloat16"),
        (True, (9, 0), "bfloat16"),
        (False, (7, 5), "float16"),
        (False, (7, 0), "float16"),
        (False, (6, 1), "float32"),
    ],
)
def test_a_gpu_computes_in_what_is_fast_on_it(
    bfloat16: bool, capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16 and not including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert support.settled(auto(), GPU).precision == precision


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_precision_that_is_asked_for_is_taken(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, "avx512_bf16")
    assert support.settled(auto(precision=precision), CPU).precision == precision


def test_what_was_found_is_recorded_and_a_resumption_keeps_it(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, "avx512_bf16")
    options = quick_run(speech_folder, random_model, precision="auto", max_steps=2, save_steps=1)
    output = run(options).output
    assert yaml.safe_load((output / "config.yaml").read_text())["precision"] == "bfloat16"
    assert json.loads((output / "finewhisper.json").read_text())["training"]["precision"] == "bfloat16"
    assert "| computed in | bfloat16 |" in (output / "README.md").read_text()
    processor(monkeypatch)
    (output / "adapter_model.safetensors").unlink()
    run(options.model_copy(update={"resume": True}))
    assert yaml.safe_load((output / "config.yaml").read_text())["precision"] == "bfloat16", "another machine does not make it another run"
    assert json.loads((output / "finewhisper.json").read_text())["training"]["precision"] == "bfloat16"


def test_auto_is_the_default_and_the_same_as_what_it_finds(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch)
    assert FinetuneConfig.model_fields["precision"].default == "auto"
    found = run(quick_run(speech_folder, random_model, precision="auto", max_steps=2)).output
    asked = run(quick_run(speech_folder, random_model, precision="float32", max_steps=2, output=speech_folder / "asked")).output
    assert (found / "adapter_model.safetensors").read_bytes() == (asked / "adapter_model.safetensors").read_bytes()


def test_threads_are_as_asked_for_and_told(random_model: Path, speech_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["--train", str(speech_folder / "train.jsonl"), "-o", str(speech_folder / "result"), "--max-steps", "1"]
    assert (
        main(["finetune", str(random_model), *command, "--tracker", "none", "--threads", "1", "--precision", "float32", "--device", "cpu"])
        == 0
    )
    assert torch.get_num_threads() == 1
    assert "computing on cpu in float32; CPU threads: 1" in capfd.readouterr().err


def threads_with(monkeypatch: pytest.MonkeyPatch, cores: int, torch_threads: int, **environment: str) -> int:
    """The threads that are chosen on a machine of so many cores where torch by itself would take so many threads."""
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "busy_cores", lambda: 0.0)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    taken = [torch_threads]
    monkeypatch.setattr(torch, "get_num_threads", lambda: taken[-1])
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    support.use_threads(auto(precision="float32"), CPU)
    return taken[-1]


def test_threads_are_no_more_than_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads_with(monkeypatch, cores=8, torch_threads=4) == 4, "torch counts hyperthreads once"
    assert threads_with(monkeypatch, cores=2, torch_threads=64) == 2, "a container is given two of 64 cores"
    assert threads_with(monkeypatch, cores=8, torch_threads=8, LOCAL_WORLD_SIZE="4") == 2, "processes share a machine"
    assert threads_with(monkeypatch, cores=2, torch_threads=3, OMP_NUM_THREADS="3") == 3, "the user has said so"


@pytest.mark.parametrize(
    ("busy", "cores", "threads", "advice"),
    [
        (1.0, 2, 2, "--threads 1"),
        (2.0, 2, 2, "--threads 1"),
        (0.2, 2, 2, ""),
        (10.0, 64, 64, ""),
        (20.5, 64, 64, "--threads 43"),
        (20.5, 64, 32, ""),
        (2.0, 2, 1, ""),
        (None, 2, 2, ""),
    ],
)
def test_a_busy_machine_is_noticed(
    busy: float | None, cores: int, threads: int, advice: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(support, "machine", SimpleNamespace(cores=lambda: cores, busy_cores=lambda: busy))
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", str(threads))
    support.use_threads(auto(precision="float32"), CPU)
    printed = capfd.readouterr().err
    assert f"CPU threads: {threads}" in printed
    assert ("threads wait for each other" in printed) == bool(advice)
    assert advice in printed


def test_a_gpu_that_trainer_would_not_take_is_refused_with_the_way_to_it() -> None:
    """transformers' Trainer computes on the first GPU that a process sees, whatever it is told."""
    with pytest.raises(UnsupportedError, match=r"--device cuda:1: .*CUDA_VISIBLE_DEVICES=1 and --device cuda"):
        support.require_supported(auto(device="cuda:1", precision="float32"), torch.device("cuda", 1))


def test_trackers_are_those_of_the_trainer(random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = quick_run(speech_folder, random_model, tracker="mlflow")
    with pytest.raises(UsageError, match=r"--tracker papyrus: must be none, azure_ml, .*wandb"):
        support.require_supported(given.model_copy(update={"tracker": "papyrus"}), torch.device("cpu"))
    monkeypatch.setattr(support, "get_available_reporting_integrations", lambda: ["tensorboard"])
    with pytest.raises(UnsupportedError, match="--tracker mlflow: is not installed here; install it"):
        support.require_supported(given, torch.device("cpu"))
    monkeypatch.setattr(support, "get_available_reporting_integrations", lambda: ["mlflow"])
    support.require_supported(given, torch.device("cpu"))
