"""An exported folder in Transformers.js itself, under node and offline: the layout, the names and the cache are right or it fails.

The package (with onnxruntime for every platform: 470 MB) is installed once into ``.cache`` by npm.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from finewhisper import audio
from finewhisper.conversion import to_onnx
from finewhisper.engines import load_engine
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions

pytestmark = [pytest.mark.real, pytest.mark.slow]  # 10 s a type, and 15 s once for npm

PACKAGE = "@huggingface/transformers@4.3.1"
SCRIPT = Path(__file__).with_name("transformers_js.mjs")


@pytest.fixture(scope="module")
def packages(cache: Path) -> Path:
    """A folder whose ``node_modules`` has Transformers.js."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    folder = cache / "transformers.js"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            scratch = cache / "transformers.js.tmp"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            command = ["npm", "install", "--prefix", str(scratch), "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
            if done.returncode:
                pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr[-500:]}")
            scratch.rename(folder)
    return folder


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8"])
def test_transformers_js_loads_the_folder_and_hears_what_we_hear(
    packages: Path, tiny_en_model: Path, data: Path, tmp_path: Path, quantization: Any
) -> None:
    """Nothing but the folder is given: which type the files are in says its ``config.json``."""
    folder = tmp_path / "model"
    folder.mkdir()
    to_onnx.write(ModelFolder.open(tiny_en_model), folder, quantization)
    waveform = audio.read(data / "en_misc" / "audio" / "jfk.opus")
    waveform.tofile(tmp_path / "samples")
    command = ["node", str(SCRIPT), str(packages), str(folder), str(tmp_path / "samples"), json.dumps({"return_timestamps": True})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "ask what you can do for your country" in found["text"]
    (expected,) = load_engine(ModelFolder.open(folder), device="cpu").transcribe([waveform], DecodeOptions())
    if quantization == "float32":
        assert [chunk["timestamp"] for chunk in found["chunks"]] == [[segment.start_s, segment.end_s] for segment in expected.segments]
        assert found["text"].strip() == expected.text
