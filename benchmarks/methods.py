"""What does each way of fine-tuning need, and how well does its model hear afterwards?

Every method trains whisper-base on AISHELL's sample in the same number of steps and on the same batches, with finewhisper's defaults but
for what it is named after; so each has its own default learning rate. Each is a process of its own, for its peak of memory. Then all are
decoded by one engine, in contexts of the clips' own length and in windows of 30 s.

Seconds are the processor's, so that a process that has to wait is not slower for it. `--only-times` measures them again, in short runs
for an idle machine, and leaves memory and errors as they were. Parts that are done are kept in --work and not repeated, so an interrupted
run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import machine
import torch
import train_speed
from step_clock import StepClock
from transformers import TrainerControl, TrainerState, TrainingArguments

from finewhisper.errors import FinewhisperError
from finewhisper.files import atomic_file
from finewhisper.merging import MergeConfig
from finewhisper.merging import run as merge
from finewhisper.scoring.rates import difference, interval
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.run import run

#: What each method is, beside the defaults. With the same alpha rsLoRA's scale, alpha / √rank, would be six times LoRA's.
METHODS: dict[str, dict[str, Any]] = {
    "LoRA": {},
    "rsLoRA, alpha 16": {"lora": {"rslora": True, "alpha": 16.0}},
    "DoRA": {"lora": {"dora": True}},
    "AdaLoRA": {"method": "adalora"},
    "LoRA, base in 8 bits": {"quantize": "8bit"},
    "LoRA, base in 4 bits": {"quantize": "4bit"},
    "LoRA, gradient checkpointing": {"gradient_checkpointing": True},
    "full": {"method": "full"},
    "full, frozen encoder": {"method": "full", "freeze": ["encoder"]},
    "full, 8-bit Adam": {"method": "full", "optimizer": "adamw-8bit"},
}
#: The one that times and errors are compared with.
REFERENCE = "LoRA"
CORPUS = "aishell"
CPU = torch.device("cpu")

Row = dict[str, Any]


class Watch(StepClock):
    """Times the steps, and notes how much learns at what rate."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any) -> None:
        self.learning_rate = args.learning_rate
        self.learning = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        super().on_train_begin(args, state, control)


def train(method: str, settings: train_speed.Settings, batch_seconds: float, output: Path) -> Row:
    """Fine-tune in this process; leaves a model that needs no other in ``output``, and answers what that took."""
    torch.set_num_threads(settings.threads)
    tuned = output.with_name(f"{output.name}-tuned")
    options = METHODS[method]
    own = {"rank": settings.rank, **options.get("lora", {})}
    config = FinetuneConfig.model_validate(
        {
            "model": settings.base,
            "train": settings.work / CORPUS / "train.jsonl",
            "output": tuned,
            "overwrite": True,
            "epochs": settings.steps,  # the steps end it before
            "max_steps": settings.steps,
            "batch_size": settings.batch_size,
            "batch_seconds": batch_seconds,
            "precision": settings.precision,
            "tracker": "none",
            **options,
            "lora": own,
        }
    )
    heard = train_speed.utterances_of_steps(config)
    watch = Watch(lambda: next(heard))
    run(config, [watch])
    measured = {
        "learning_rate": watch.learning_rate,
        "learning": watch.learning,
        "peak_memory_bytes": machine.peak_bytes(CPU),
        "kept_bytes": sum(path.stat().st_size for path in tuned.glob("*.safetensors")),
        "step_s": sum(processor for _, processor, _ in watch.steps[1:]) / len(watch.steps[1:]),
    }
    shutil.rmtree(tuned / "checkpoints")
    shutil.rmtree(output, ignore_errors=True)
    if config.trains_adapter:
        merge(MergeConfig(models=(tuned,), output=output))
        shutil.rmtree(tuned)
    else:
        tuned.replace(output)
    return measured


def part(method: str, name: str, arguments: argparse.Namespace) -> Row:
    """Run :func:`train` in a process of its own, unless its result is there."""
    result = arguments.work.absolute() / CORPUS / f"{name}.json"
    if not result.is_file():
        print(f"training: {name}", file=sys.stderr, flush=True)
        steps = arguments.timed_steps if name.startswith("time-") else arguments.steps
        own = ["--part", method, "--part-output", str(result), "--steps", str(steps)]
        environment = os.environ | {"OMP_NUM_THREADS": str(arguments.threads)}
        subprocess.run([sys.executable, *sys.argv, *own], check=True, env=environment)
    return dict(json.loads(result.read_text(encoding="utf-8")))


def measure(method: str, arguments: argparse.Namespace) -> Row:
    """A row of the table but for the errors: of the long run, with the times of the short one where there is one."""
    name = slug(method)
    row = part(method, name, arguments)
    timing = arguments.work / CORPUS / f"time-{name}.json"
    if arguments.only_times or timing.is_file():
        row["step_s"] = part(method, f"time-{name}", arguments)["step_s"]
    return row


def slug(method: str) -> str:
    return method.lower().replace(",", "").replace(" ", "-")


def compare(arguments: argparse.Namespace, settings: train_speed.Settings) -> dict[str, Any]:
    """Everything, as in ``--json``: rates in percent, memory in bytes, processor seconds."""
    if arguments.only_times:
        for old in (settings.work / CORPUS).glob("time-*.json"):
            old.unlink()
    rows = {method: measure(method, arguments) for method in METHODS}
    contexts = ("padded", "trimmed")
    heard = {
        (method, context): train_speed.rates(settings.work / CORPUS / slug(method), CORPUS, settings, trimmed=context == "trimmed")
        for method in METHODS
        for context in contexts
    }
    for method, row in rows.items():
        for context in contexts:
            row[context] = train_speed.percent(heard[method, context])
            row[f"{context}_interval"] = train_speed.bounds(interval(heard[method, context]))
            row[f"{context}_difference"] = train_speed.bounds(difference(heard[REFERENCE, context], heard[method, context]))
        row["relative_step"] = row["step_s"] / rows[REFERENCE]["step_s"]
    before = train_speed.rates(settings.base, CORPUS, settings)
    return {
        "settings": train_speed.described(settings) | {"batch_seconds": arguments.batch_seconds},
        "machine": machine.description(CPU),
        "test_utterances": len(before),
        "base_padded": train_speed.percent(before),
        "methods": rows,
    }


def table(found: dict[str, Any]) -> str:
    """The results for reading."""
    lines = [
        "| method | learning rate | weights that learn | peak memory | time of a step, LoRA = 1 | "
        "CER % trimmed (95 % interval) | CER % padded | kept |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, row in found["methods"].items():
        low, high = row["trimmed_interval"]
        lines.append(
            f"| {method} | {row['learning_rate']:.2g} | {row['learning'] / 1e6:.1f} M | {row['peak_memory_bytes'] / 1e9:.1f} GB | "
            f"{row['relative_step']:.2f} | {row['trimmed']:.1f} ({low:.1f} … {high:.1f}) | {row['padded']:.1f} | "
            f"{row['kept_bytes'] / 1e6:.0f} MB |"
        )
    settings, step_s = found["settings"], found["methods"][REFERENCE]["step_s"]
    described = (
        f"whisper-base on AISHELL's sample, rank {settings['rank']}, {settings['steps']} steps of at most {settings['batch_seconds']:g} s, "
        f"{settings['precision']}, {settings['threads']} thread; {found['test_utterances']} test utterances, of which the base gets "
        f"{found['base_padded']:.1f} % wrong in full windows. A step of {REFERENCE} takes {step_s:.2f} s of the processor. Memory is that "
        "of the whole process, Python and torch included."
    )
    return "\n".join([*lines, "", described])


def main() -> int:
    arguments = parse()
    settings = train_speed.Settings(
        base=arguments.base.absolute(),
        work=arguments.work.absolute(),
        steps=arguments.steps,
        timed_steps=0,
        timing_rounds=0,
        batch_size=arguments.batch_size,
        rank=arguments.rank,
        learning_rate=0.0,
        precision=arguments.precision,
        threads=arguments.threads,
        test_limit=arguments.test_limit,
    )
    if arguments.part:
        measured = train(arguments.part, settings, arguments.batch_seconds, arguments.part_output.with_suffix(""))
        train_speed.write_json(arguments.part_output, measured)
        return 0
    try:
        train_speed.require_same_settings(settings)
        train_speed.prepare([CORPUS], arguments.data, Path(), settings)
        found = compare(arguments, settings)
    except FinewhisperError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(found))
    if arguments.json:
        train_speed.write_json(arguments.json, found)
        with atomic_file(arguments.json.with_suffix(".md")) as temporary:
            temporary.write_text(f"# Methods of fine-tuning\n\n{table(found)}\n", encoding="utf-8")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("models/whisper-base"), help="as `finewhisper download base` makes it")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with aishell_sample_zh/manifest.jsonl")
    parser.add_argument("--work", type=Path, default=Path("runs/methods"), help="folder for models and parts that are done")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--timed-steps", type=int, default=12, help="steps of the short runs of --only-times")
    parser.add_argument("--batch-seconds", type=float, default=60.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--test-limit", type=int, default=60, help="most test utterances")
    parser.add_argument("--only-times", action="store_true", help="measure the seconds again, and nothing else")
    parser.add_argument("--json", type=Path, help="file for the results; the table is written beside it, as .md")
    for hidden, kind in (("--part", str), ("--part-output", Path)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
