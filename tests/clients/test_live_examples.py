"""The examples of live clients, run as a reader would run them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

import serving
from finewhisper import audio

pytestmark = pytest.mark.real

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


@pytest.fixture(scope="module")
def address(tiny_en_ct2_model: Path) -> Iterator[str]:
    with serving.running(tiny_en_ct2_model, "--precision", "int8") as running:
        yield f"ws{running.address.removeprefix('http')}"


@pytest.fixture(scope="module")
def wav(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "speech.wav"
    soundfile.write(path, audio.read(data / "en_misc" / "audio" / "jfk.opus", 0.0, 3.0), 16_000, subtype="PCM_16")
    return path


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.lower()


def test_python(address: str, wav: Path):
    assert "fellow americans" in run(sys.executable, EXAMPLES / "live_captions.py", address, wav)


def test_node(address: str, wav: Path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node")
    built_in = subprocess.run([node, "-p", "typeof WebSocket"], capture_output=True, text=True, check=True).stdout.strip()
    flags = [] if built_in == "function" else ["--experimental-websocket"]
    if flags and subprocess.run([node, *flags, "-e", ""], capture_output=True, check=False).returncode:
        pytest.skip("needs a node that has WebSocket built in")
    assert "fellow americans" in run(node, *flags, EXAMPLES / "live_captions.mjs", address, wav)
