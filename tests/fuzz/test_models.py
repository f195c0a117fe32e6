"""Damaged model folders: one sentence or a model that works, never a traceback, a dead process or gigabytes.

Each file is tried in a child process that goes through many of them, so that a crash in native code is seen and names its seed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from finewhisper.conversion import to_ctranslate2, to_ggml, to_onnx
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
    from finewhisper.conversion.openai import Dimensions, layout

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
    cases = [(name, seed) for name, count in FILES[kind].items() for seed in seeds(count, 4)]
    outcomes: Counter[str] = Counter()
    failures: list[str] = []
    most = 0
    while cases:
        folder = shutil.copytree(folders[kind], tmp_path / kind)  # a child that died leaves a damaged file
        tried = list(attempts(kind, folder, cases))
        shutil.rmtree(folder)
        for case, outcome, more_bytes in tried:
            word = outcome.partition("\n")[0]
            outcomes[word] += 1
            most = max(most, more_bytes)
            if word not in ("worked", "refused"):
                failures.append(f"{case}: {outcome}")
        cases = cases[len(tried) :]
    print(kind, dict(outcomes), f"at most {most / 1e6:.0f} MB more")
    assert not failures, f"{len(failures)} failures\n" + "\n".join(failures)
    assert most < MOST_MORE_BYTES


def attempts(kind: str, folder: Path, cases: list[tuple[str, int]]) -> Iterator[tuple[str, str, int]]:
    """What became of each case in one child process, and bytes above the undamaged model's; the last may be the one that ended it."""
    job = json.dumps({"kind": kind, "folder": str(folder), "cases": cases})
    child = [sys.executable, str(Path(__file__).with_name("model_child.py"))]
    done = subprocess.run(child, input=job, capture_output=True, text=True, timeout=7200, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"outcome"')]
    assert lines, f"the undamaged model does not work: {done.stderr[-3000:]}"
    for (name, seed), line in zip(cases, lines[1:], strict=False):
        yield f"{name}, seed {seed}", f"{line['outcome']}\n{line['text']}", line["peak_bytes"] - lines[0]["peak_bytes"]
    if done.returncode:
        name, seed = cases[len(lines) - 1]
        yield f"{name}, seed {seed}", f"ended with {done.returncode}\n{done.stderr[-2000:]}", 0
