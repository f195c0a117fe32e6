"""Ctrl-C and a full disk in the middle of the work: one sentence, the right exit code, nothing half-written."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "finewhisper"]


def finetune(model: Path, folder: Path, *options: str) -> list[str]:
    return [
        *COMMAND, "finetune", str(model), "--train", str(folder / "train.jsonl"), "-o", str(folder / "result"), "--batch-size", "4",
        "--device", "cpu", "--tracker", "none", *options,
    ]  # fmt: skip


def interrupt_when(command: list[str], ready: Path, pattern: str) -> tuple[int, str]:
    """Start a command, press Ctrl-C once ``pattern`` exists below ``ready``, and return exit code and standard error."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(ready.glob(pattern)):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_ctrl_c_before_the_first_checkpoint_leaves_nothing(random_model: Path, speech_folder: Path) -> None:
    command = finetune(random_model, speech_folder, "--epochs", "100000", "--full-window-share", "1")
    code, errors = interrupt_when(command, speech_folder, "result/config.yaml")
    assert code == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert not list((speech_folder / "result").glob("*.safetensors"))
    assert not list(speech_folder.glob("**/*.tmp"))


def test_ctrl_c_later_keeps_a_checkpoint_that_can_be_resumed(random_model: Path, speech_folder: Path) -> None:
    command = finetune(random_model, speech_folder, "--epochs", "2000", "--max-steps", "400")
    code, errors = interrupt_when(command, speech_folder, "result/checkpoints/checkpoint-*/trainer_state.json")
    assert code == 130, errors
    assert "Traceback" not in errors
    assert "--resume" in errors
    assert not (speech_folder / "result" / "adapter_model.safetensors").exists()
    checkpoints = list((speech_folder / "result" / "checkpoints").iterdir())
    assert checkpoints
    assert all((checkpoint / "trainer_state.json").is_file() for checkpoint in checkpoints)
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    assert (speech_folder / "result" / "adapter_model.safetensors").is_file()


def test_a_full_disk_is_one_sentence(random_model: Path, speech_folder: Path) -> None:
    """The kernel's limit on a file's size fails a write in the middle, as a full disk does."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = finetune(random_model, speech_folder, "--epochs", "1", "--method", "full")
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, preexec_fn=limit)
    assert process.returncode == 2, process.stderr
    assert "no space left" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (speech_folder / "result").exists()
