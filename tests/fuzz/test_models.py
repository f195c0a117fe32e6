"""Damaged model folders: one sentence or a model that works, never a traceback, a dead process or gigabytes.

Each file is tried in a child process that goes through many of them, so that a crash in native code is seen and names its seed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finewhisper.convert import to_ctranslate2, to_ggml, to_onnx
from finewhisper.model import ModelCard, ModelFolder
from fuzzing import seeds

pytestmark = pytest.mark.real

SIZES = {"layers": 1, "attention_heads": 2, "ffn_dim": 128}
#: What a child may take above what it takes for an undamaged model.
MOST_MORE_BYTES = 1_000_000_000

FILES = {
    "transformers": {
        "model.safetensors": 500, "config.json": 500, "generation_config.json": 500, "tokenizer.json": 100, "preprocessor_config.json": 100,
        "finewhisper.json": 200,
    },
    "ctranslate2": {"model.bin": 500, "config.json": 500},
    "ggml": {"ggml-model.bin": 500, "generation_config.json": 100},
    "onnx": {"onnx/encoder_model.onnx": 250, "onnx/decoder_model_merged.onnx": 250, "config.json": 200},
    "openai": {"model.pt": 500},
    "adapter": {"adapter_model.safetensors": 500, "adapter_config.json": 500},
}  # fmt: skip


@pytest.fixture(scope="session")
def folders(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One tiny model in every kind."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import GenerationConfig, WhisperConfig

    from finewhisper import whisper
    from finewhisper.convert.openai import Dimensions, layout

    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in SIZES.items()}
    tiny = whisper.LengthAwareWhisper(WhisperConfig.from_pretrained(base_model, d_model=32, **sides))
    tiny.generation_config = GenerationConfig.from_pretrained(base_model)
    tiny.generation_config.alignment_heads = [[0, 0], [0, 1]]
    found = {"transformers": tmp_path_factory.mktemp("fuzz") / "transformers"}
    found["transformers"].mkdir()
    whisper.save(tiny, base_model, found["transformers"])
    ModelCard().write(found["transformers"])
    source = ModelFolder.open(found["transformers"])
    for kind, write in (("ctranslate2", to_ctranslate2.write), ("ggml", to_ggml.write), ("onnx", to_onnx.write)):
        found[kind] = tmp_path_factory.mktemp("fuzz") / kind
        found[kind].mkdir()
        write(source, found[kind], "f16" if kind == "ggml" else "float32")
        ModelCard().write(found[kind])
    model = whisper.load(source)
    found["adapter"] = tmp_path_factory.mktemp("fuzz") / "adapter"
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"])).save_pretrained(found["adapter"])
    base = {"path": str(source.path), "fingerprint": source.fingerprint()}
    ModelCard(base=base).write(found["adapter"])
    model = whisper.load(source)
    weights = model.state_dict()
    size = Dimensions.of_config(source.path, source.config)
    found["openai"] = tmp_path_factory.mktemp("fuzz")
    state = {tensor.original: weights[tensor.name].reshape(tensor.shape) for tensor in layout(size)}
    shutil.copyfile(source.path / "tokenizer.json", found["openai"] / "tokenizer.json")
    torch.save({"dims": vars(size), "model_state_dict": state}, found["openai"] / "model.pt")
    return found


@pytest.mark.parametrize("kind", FILES)
def test_damaged_files_are_refused_or_work(folders: dict[str, Path], tmp_path: Path, kind: str) -> None:
    folder = shutil.copytree(folders[kind], tmp_path / kind)
    counts = {name: len(seeds(count, 4)) for name, count in FILES[kind].items()}
    job = {"kind": kind, "folder": str(folder), "counts": counts}
    child = [sys.executable, str(Path(__file__).with_name("model_child.py")), json.dumps(job)]
    done = subprocess.run(child, capture_output=True, text=True, timeout=7200, check=False)
    last = (done.stdout.splitlines() or ["nothing"])[-1]
    assert done.returncode == 0, f"{kind} ended with {done.returncode} after: {last}\n{done.stderr[-3000:]}"
    result = json.loads(last)
    print(kind, result)
    assert result["refused"] + result["worked"] == sum(counts.values())
    assert result["peak_bytes"] - result["peak_bytes_undamaged"] < MOST_MORE_BYTES
