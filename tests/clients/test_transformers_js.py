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

import numpy as np
import pytest

from bare import MISSED, mandarin, of_languages, percent
from finewhisper import audio
from finewhisper.conversion import to_onnx
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import run as convert
from finewhisper.engines import load_engine
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions

pytestmark = pytest.mark.real

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


def heard(packages: Path, folder: Path, samples: Path, options: dict[str, Any]) -> dict[str, Any]:
    command = ["node", str(SCRIPT), str(packages), str(folder), str(samples), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


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
    found = heard(packages, folder, tmp_path / "samples", {"return_timestamps": True})
    assert "ask what you can do for your country" in found["text"]
    (expected,) = load_engine(ModelFolder.open(folder), device="cpu").transcribe([waveform], DecodeOptions())
    if quantization == "float32":
        assert [chunk["timestamp"] for chunk in found["chunks"]] == [[segment.start_s, segment.end_s] for segment in expected.segments]
        assert found["text"].strip() == expected.text


@pytest.mark.parametrize("languages", [(), ("zh",)], ids=["base", "one language"])
def test_a_model_of_one_language_is_decoded_in_it_and_else_in_english(
    packages: Path, base_model: Path, data: Path, tmp_path: Path, languages: tuple[str, ...]
) -> None:
    """Transformers.js detects no language."""
    source = of_languages(base_model, tmp_path / "base", languages)
    convert(ConvertConfig(source=source, target=tmp_path / "model", to="onnx", quantization="int8", verify=False))
    row = mandarin(data)[0]
    row.waveform().tofile(tmp_path / "samples")
    bare = heard(packages, tmp_path / "model", tmp_path / "samples", {})["text"]
    assert bare == heard(packages, tmp_path / "model", tmp_path / "samples", {"language": "zh" if languages else "en"})["text"]
    assert (percent([row], [bare]) < MISSED) == bool(languages)


def test_a_language_whose_code_has_three_letters_is_taken(packages: Path, random_model: Path, tmp_path: Path) -> None:
    """Not its token, of which Transformers.js takes those of two letters alone."""
    source = of_languages(random_model, tmp_path / "source", ("haw",))
    convert(ConvertConfig(source=source, target=tmp_path / "model", to="onnx", quantization="int8", verify=False))
    np.zeros(16_000, np.float32).tofile(tmp_path / "samples")
    heard(packages, tmp_path / "model", tmp_path / "samples", {"max_new_tokens": 2})
