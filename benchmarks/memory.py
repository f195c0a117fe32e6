"""How much memory do fine-tuning and merging take, and how near is what finewhisper says before the first step?

Each run is a process of its own, of a few steps on clips of noise that all have one length, so that every batch is the largest. What is
measured is the most resident memory (Linux's VmHWM) beyond what Python, torch and the libraries take, which a step of a tiny model has read
before; what is compared is the sum that the run announces. ``base`` is the folder of ``--base``; the other models have its tokenizer and
random weights in float16, as they are published. Merging is measured whole: Python and all.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import resident

from finewhisper.files import atomic_file

Row = dict[str, Any]

#: Model, batch size, seconds of a clip, and the options of the run.
RUNS: list[tuple[str, int, float, dict[str, Any]]] = [
    ("base", 4, 10.0, {"precision": "float32"}),
    ("base", 16, 4.0, {"precision": "float32"}),
    ("base", 4, 10.0, {"precision": "bfloat16"}),
    ("base", 16, 4.0, {"precision": "bfloat16"}),
    ("base", 4, 10.0, {"method": "full", "precision": "float32"}),
    ("base", 16, 4.0, {"method": "full", "precision": "float32"}),
    ("base", 16, 4.0, {"method": "full", "precision": "bfloat16"}),
    ("base", 8, 5.0, {"method": "adalora", "precision": "float32"}),
    ("base", 8, 5.0, {"method": "adalora", "precision": "bfloat16"}),
    ("small", 4, 8.0, {"precision": "bfloat16"}),
    ("small", 4, 8.0, {"method": "full", "precision": "float32"}),
    ("medium", 2, 5.0, {"precision": "bfloat16"}),
]
MERGED = ("base", "turbo")
STEPS = 3


def finetune_part(base: Path, model: str, clips: int, seconds: float, options: dict[str, Any], work: Path) -> Row:
    """Fine-tune in this process: what was announced of its memory, and by how much that grew at most."""
    from finewhisper.training import fitting
    from finewhisper.training.run import run

    announced: list[Row] = []

    def tell(fit: fitting.Fit, load: Any) -> None:
        demand = fit.demand(load)
        announced.append({"expected": max(demand.total, fit.reading), "parts": demand.__dict__})

    fitting.Fit.tell = tell  # type: ignore[method-assign]
    warm = run_options(model_folder(base, "tiny", work), noise(work / "warm", 2, 1.0), 2, options)
    run(warm.model_copy(update={"output": work / "first"}))
    source = model_folder(base, model, work)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before = resident.held_bytes()
    resident.reset_peak()
    run(run_options(source, noise(work / "clips", clips, seconds), clips, options))
    return announced[-1] | {"measured": resident.peak_bytes() - before}


def run_options(model: Path, clips: Path, count: int, options: dict[str, Any]) -> Any:
    from finewhisper.training.config import FinetuneConfig

    steps = 10 if options.get("method") == "adalora" else STEPS  # its ranks move in phases, which fewer steps have no room for
    fixed = {"full_window_share": 0.0, "device": "cpu", "tracker": "none", "epochs": steps, "max_steps": steps, "batch_seconds": 1000.0}
    named = {"model": model, "train": clips / "train.jsonl", "output": clips / "tuned", "batch_size": count}
    return FinetuneConfig.model_validate(fixed | named | options)


def noise(folder: Path, count: int, seconds: float) -> Path:
    """Clips of one length with as much text as is said in it."""
    import numpy as np
    import soundfile

    from finewhisper import manifest
    from finewhisper.audio import SAMPLE_RATE

    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for index in range(count):
        path = folder / f"{index}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE)), SAMPLE_RATE)
        rows.append(manifest.Utterance(path, "one two three four five"[: round(4 * seconds)], "en", seconds))
    manifest.write(folder / "train.jsonl", rows)
    return folder


def model_folder(base: Path, name: str, work: Path) -> Path:
    """A folder of the model: base itself, or random weights in float16 beside base's small files."""
    if name == "base":
        return base
    import shapes
    import torch

    from finewhisper import whisper

    folder = work / name
    whisper.save(shapes.build(shapes.SHAPES[name], torch.device("cpu"), torch.float16), base, folder)
    return folder


def adapter_folder(model: Path, folder: Path) -> Path:
    """A LoRA of rank 32 on all attention matrices, as peft writes it, of random numbers."""
    import numpy as np
    from safetensors.numpy import save_file

    from finewhisper.model import ModelFolder

    width = int(ModelFolder.open(model).config["d_model"])
    layers = [name.removesuffix(".weight") for name in tensor_names(model) if name.endswith(("_proj.weight",))]
    rng = np.random.default_rng(0)
    weights = {
        f"base_model.model.{layer}.lora_{part}.weight": rng.normal(0, 0.01, shape).astype(np.float32)
        for layer in layers
        for part, shape in (("A", (32, width)), ("B", (width, 32)))
    }
    folder.mkdir()
    save_file(weights, folder / "adapter_model.safetensors")
    targets = ["q_proj", "k_proj", "v_proj", "out_proj"]
    settings = {"peft_type": "LORA", "r": 32, "lora_alpha": 64, "target_modules": targets, "base_model_name_or_path": str(model)}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def tensor_names(model: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(model / "model.safetensors", "numpy") as tensors:
        return [name for name in tensors.keys() if ".layers." in name]  # noqa: SIM118 - not a mapping


def merge_part(model: Path, adapter: Path, output: Path) -> Row:
    """Merge in this process, which has imported nothing else."""
    from finewhisper.merging import MergeConfig, run

    result = run(MergeConfig(models=(adapter,), base=model, output=output))
    return {"matrices": result.matrices, "measured": resident.peak_bytes()}


def in_a_process(part: str, *arguments: Any) -> Row:
    command = [sys.executable, __file__, "--part", part, "--arguments", json.dumps(arguments, default=str)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def part(name: str, arguments: list[Any]) -> Row:
    if name == "finetune":
        base, model, clips, seconds, options, work = arguments
        return finetune_part(Path(base), model, clips, seconds, options, Path(work))
    if name == "prepare":
        base, model, work = arguments
        source = model_folder(Path(base), model, Path(work))
        return {"model": str(source), "adapter": str(adapter_folder(source, Path(work) / "adapter"))}
    model, adapter, output = map(Path, arguments)
    return merge_part(model, adapter, output)


def table(rows: list[Row], merges: list[Row]) -> str:
    lines = ["| model | method | precision | batch | announced | measured | announced / measured |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row['model']} | {row['method']} | {row['precision']} | {row['clips']} × {row['seconds']:g} s | {gb(row['expected'])} | "
        f"{gb(row['measured'])} | {row['expected'] / row['measured']:.2f} |"
        for row in rows
    ]
    lines += ["", "| merge | matrices | most memory of the process |", "|---|---|---|"]
    lines += [f"| {row['model']}, one adapter of rank 32 | {row['matrices']} | {gb(row['measured'])} |" for row in merges]
    return "\n".join(lines)


def keep(path: Path | None, rows: list[Row], merges: list[Row]) -> None:
    """Write what is measured so far."""
    import machine
    import torch

    if path is not None:
        content = {"machine": machine.description(torch.device("cpu")), "finetune": rows, "merge": merges}
        with atomic_file(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def gb(count: int) -> str:
    return f"{count / 1e9:.2f} GB"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("models/base"), help="whisper-base as `finewhisper download base` writes it")
    parser.add_argument("--only", help="runs of this model or method alone")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--arguments", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(part(arguments.part, arguments.arguments)))
        return 0
    base, rows, merges = arguments.base.absolute(), list[Row](), list[Row]()
    for model, clips, seconds, options in RUNS:
        if arguments.only in (None, model, options.get("method", "lora")):
            with tempfile.TemporaryDirectory() as work:
                found = in_a_process("finetune", base, model, clips, seconds, options, work)
            rows.append({"model": model, "method": "lora", "clips": clips, "seconds": seconds} | options | found)
            print(rows[-1], file=sys.stderr, flush=True)
            keep(arguments.json, rows, merges)
    for model in MERGED:
        if arguments.only in (None, model):
            with tempfile.TemporaryDirectory() as work:
                made = in_a_process("prepare", base, model, work)
                merges.append({"model": model} | in_a_process("merge", made["model"], made["adapter"], Path(work) / "merged"))
            print(merges[-1], file=sys.stderr, flush=True)
            keep(arguments.json, rows, merges)
    print(table(rows, merges))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
