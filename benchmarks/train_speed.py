"""How much faster is fine-tuning on contexts of the clips' own length than the usual recipe, and is the model as good?

Both sides train the same LoRA on the same whisper-base with the same number of steps, learning rate and precision: the recipe with
transformers and peft on windows padded to 30 s, 8 utterances a step (`padded_recipe.py`), ours with `finewhisper finetune` and its
defaults, up to 16 utterances a step, its share of 30 s windows included. Seconds are for each utterance, so this does not flatter them.
Then both are decoded by one engine: padded to 30 s, as other tools do, and ours trimmed too.

Seconds are measured apart from the long trainings, in short runs of both sides one right after the other, because a shared machine changes
its speed within the half hour that the recipe takes. Each part is a process of its own, for its peak of memory. Parts that are done
are kept in --work and not repeated, so an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finewhisper import manifest
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import run as convert
from finewhisper.engines import load_engine
from finewhisper.errors import FinewhisperError, UsageError
from finewhisper.files import atomic_file
from finewhisper.manifest import Utterance
from finewhisper.model import ModelFolder
from finewhisper.scoring.rates import ErrorRate, Interval, difference, interval, total, utterance_rates
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import DecodeOptions
from finewhisper.transcription.transcriber import Plan, Transcriber

#: Every fifth AISHELL sentence is for testing.
TEST_EVERY = 5


@dataclass(frozen=True)
class Settings:
    """What both sides share; part of the name of every kept result."""

    base: Path
    work: Path
    steps: int
    timed_steps: int
    timing_rounds: int
    batch_size: int
    rank: int
    learning_rate: float
    precision: str
    threads: int
    test_limit: int


def aishell(data: Path, target: Path) -> None:
    """Split the sample's sentences; none of the test set is said in the training set."""
    rows = sorted(manifest.read(data / "aishell_sample_zh" / "manifest.jsonl"), key=lambda row: row.path.name)
    test = [row for place, row in enumerate(rows) if place % TEST_EVERY == TEST_EVERY - 1]
    said = {row.sentence for row in test}
    train = [row for place, row in enumerate(rows) if place % TEST_EVERY != TEST_EVERY - 1 and row.sentence not in said]
    manifest.write(target / "train.jsonl", train)
    manifest.write(target / "test.jsonl", test)


def train(side: str, name: str, settings: Settings, steps: int, output: Path) -> None:
    """One side's training, in this process; leaves a merged model and ``measured.json`` in ``output``."""
    import torch

    torch.set_num_threads(settings.threads)
    path = settings.work / name / "train.jsonl"
    if side == "recipe":
        import padded_recipe

        padded_recipe.train(
            padded_recipe.Recipe(
                settings.base,
                path,
                output,
                steps,
                settings.batch_size,
                settings.rank,
                alpha=2.0 * settings.rank,
                learning_rate=settings.learning_rate,
                precision=settings.precision,
            )
        )
    else:
        ours(path, settings, steps, output)


def ours(path: Path, settings: Settings, steps: int, output: Path) -> None:
    """`finewhisper finetune` and `merge` with their defaults but for what both sides share."""
    import resident
    from step_clock import StepClock

    from finewhisper.merging import MergeConfig
    from finewhisper.merging import run as merge
    from finewhisper.training.config import FinetuneConfig
    from finewhisper.training.run import run

    adapter = output.with_name(f"{output.name}-adapter")
    most = FinetuneConfig.model_fields["batch_size"].default
    config = FinetuneConfig.model_validate(
        {
            "model": settings.base,
            "train": path,
            "output": adapter,
            "overwrite": True,
            "epochs": steps * most / len(manifest.read(path)) * 2 + 1,  # never fewer than the steps
            "max_steps": steps,
            "lora": {"rank": settings.rank, "alpha": 2.0 * settings.rank},
            "learning_rate": settings.learning_rate,
            "precision": settings.precision,
            "tracker": "none",
        }
    )
    heard = utterances_of_steps(config)
    clock = StepClock(lambda: next(heard))
    run(config, [clock])
    peak = resident.peak_bytes()
    merge(MergeConfig(models=(adapter,), output=output, overwrite=True))
    (output / "measured.json").write_text(json.dumps(clock.measured() | {"peak_memory_bytes": peak}, indent=1) + "\n")


def utterances_of_steps(config: Any) -> Iterator[int]:
    """How many utterances each step of a run hears, from the plan that it follows."""
    from finewhisper.training.batches import BatchPlan, LengthBatches
    from finewhisper.training.corpus import clips_of
    from finewhisper.training.labels import Labeller
    from finewhisper.vocabulary import Vocabulary

    labeller = Labeller(Vocabulary.load(config.model), timestamps=config.timestamps)
    batches = LengthBatches(clips_of(manifest.read(config.train), labeller), BatchPlan.of(config))
    for epoch in itertools.count():
        batches.set_epoch(epoch)
        for batch in batches:
            yield sum(len(window.rows) for window in batch)


def child(side: str, name: str, settings: Settings, steps: int, output: Path) -> dict[str, float]:
    """Run :func:`train` in a process of its own, unless its result is there."""
    result = output / "measured.json"
    if not result.is_file():
        print(f"{name}: training, {side}, {steps} steps", file=sys.stderr, flush=True)
        part = ["--part", side, "--only", name, "--part-steps", str(steps), "--part-output", str(output)]
        environment = os.environ | {"OMP_NUM_THREADS": str(settings.threads)}
        subprocess.run([sys.executable, *sys.argv, *part], check=True, env=environment)
    return dict(json.loads(result.read_text()))


def timing(name: str, settings: Settings) -> dict[str, dict[str, float]]:
    """Seconds per utterance of both sides in short runs that take turns: the faster run of each side."""
    sides: dict[str, list[dict[str, float]]] = {"recipe": [], "ours": []}
    for number in range(settings.timing_rounds):
        for side, runs in sides.items():
            # ours needs more steps to meet all its lengths, and its 30 s windows in their share
            steps = settings.timed_steps if side == "recipe" else 10 * settings.timed_steps
            runs.append(child(side, name, settings, steps, settings.work / name / f"timing-{side}-{number}"))
    return {side: min(runs, key=lambda run: run["seconds_per_utterance"]) for side, runs in sides.items()}


def heard_by(model: Path, utterances: Sequence[Utterance], settings: Settings, *, trimmed: bool) -> list[str]:
    """Greedy transcripts by CTranslate2 in float32."""
    copy = settings.work / "copies" / "-".join(model.parts[-2:])
    if not copy.is_dir():
        convert(ConvertConfig(source=model, target=copy, to="ctranslate2", verify=False))
    engine = load_engine(ModelFolder.open(copy), threads=settings.threads)
    if not trimmed:
        engine = engine.within(engine.context.full())
    transcriber = Transcriber(engine, DecodeOptions(timestamps=False), Plan(fallback=()))
    clips = (utterance.waveform() for utterance in utterances)
    return [heard.text for heard in transcriber.transcribe_clips(clips, languages=[utterance.language for utterance in utterances])]


def rates(model: Path, name: str, settings: Settings, *, trimmed: bool = False) -> list[ErrorRate]:
    """Character errors of each test utterance, decoded in trimmed or in padded contexts; the texts are kept."""
    context = "trimmed" if trimmed else "padded"
    kept = settings.work / name / "heard" / f"{model.name}-{context}-{settings.test_limit}.json"
    utterances = test_set(settings.work / name / "test.jsonl", settings.test_limit)
    if not kept.is_file():
        print(f"{name}: decoding with {model.name}, {context}", file=sys.stderr, flush=True)
        texts = heard_by(model, utterances, settings, trimmed=trimmed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, texts)
    normalizer = Normalizer.for_language(utterances[0].language)
    references = [normalizer(utterance.sentence) for utterance in utterances]
    return utterance_rates(references, [normalizer(text) for text in json.loads(kept.read_text(encoding="utf-8"))], "character")


def test_set(path: Path, limit: int) -> list[Utterance]:
    """At most ``limit`` utterances, spread over the manifest."""
    utterances = manifest.read(path)
    count = min(limit, len(utterances))
    return [utterances[place * len(utterances) // count] for place in range(count)]


def write_json(path: Path, content: object) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def compare(name: str, settings: Settings) -> dict[str, Any]:
    """Everything about one corpus, as in ``--json``: rates in percent, memory in bytes, ratios of the recipe to ours but for memory's."""
    folder = settings.work / name
    recipe, tuned = (folder / f"{side}-{settings.steps}" for side in ("recipe", "ours"))
    trained = {side: child(side, name, settings, settings.steps, folder / f"{side}-{settings.steps}") for side in ("recipe", "ours")}
    before, padded_recipe = rates(settings.base, name, settings), rates(recipe, name, settings)
    padded, trimmed = rates(tuned, name, settings), rates(tuned, name, settings, trimmed=True)
    timed = timing(name, settings)
    lengths_s = [row.length_s() for row in manifest.read(folder / "train.jsonl")]
    return {
        "speedup": timed["recipe"]["seconds_per_utterance"] / timed["ours"]["seconds_per_utterance"],
        "mean_seconds": sum(lengths_s) / len(lengths_s),
        "base_error_padded": percent(before),
        "recipe_error_padded": percent(padded_recipe),
        "recipe_error_interval": bounds(interval(padded_recipe)),
        "ours_error_padded": percent(padded),
        "ours_error_trimmed": percent(trimmed),
        "difference_padded_interval": bounds(difference(padded_recipe, padded)),
        "difference_trimmed_interval": bounds(difference(padded_recipe, trimmed)),
        "peak_memory_ratio": trained["ours"]["peak_memory_bytes"] / trained["recipe"]["peak_memory_bytes"],
        "peak_memory_bytes": {side: trained[side]["peak_memory_bytes"] for side in trained},
        "seconds_per_utterance": {side: timed[side]["seconds_per_utterance"] for side in timed},
        "processor_speedup": timed["recipe"]["processor_seconds_per_utterance"] / timed["ours"]["processor_seconds_per_utterance"],
        "test_utterances": len(padded),
        "speakers": by_speaker(
            test_set(folder / "test.jsonl", settings.test_limit),
            {"base_padded": before, "recipe_padded": padded_recipe, "ours_padded": padded, "ours_trimmed": trimmed},
        ),
    }


def by_speaker(utterances: Sequence[Utterance], columns: dict[str, list[ErrorRate]]) -> dict[str, dict[str, float]]:
    """The rates of each speaker, percent; empty where the manifest does not tell speakers apart."""
    names = sorted({str(row.extra["speaker"]) for row in utterances if "speaker" in row.extra})
    return (
        {
            name: {
                column: percent([rate for rate, row in zip(rates, utterances, strict=True) if str(row.extra.get("speaker")) == name])
                for column, rates in columns.items()
            }
            for name in names
        }
        if len(names) > 1
        else {}
    )


def percent(rows: Sequence[ErrorRate]) -> float:
    return total(rows, "character").percent


def bounds(found: Interval | None) -> list[float]:
    return [] if found is None else [found.low, found.high]


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results for reading; the character error rates in percent."""
    lines = [
        "| corpus | mean clip | base | recipe, padded (95 % interval) | ours, padded | ours, trimmed | "
        "s per utterance: recipe, ours | times as fast | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in results.items():
        low, high = row["recipe_error_interval"]
        speeds = f"{row['seconds_per_utterance']['recipe']:.2f}, {row['seconds_per_utterance']['ours']:.3f} | {row['speedup']:.1f}"
        lines.append(
            f"| {name} | {row['mean_seconds']:.1f} s | {row['base_error_padded']:.1f} | "
            f"{row['recipe_error_padded']:.1f} ({low:.1f} … {high:.1f}) | {row['ours_error_padded']:.1f} | "
            f"{row['ours_error_trimmed']:.1f} | {speeds} | {row['peak_memory_ratio']:.0%} |"
        )
    for name, row in results.items():
        for speaker, errors in row["speakers"].items():
            listed = ", ".join(f"{column.replace('_', ', ')} {error:.1f}" for column, error in errors.items())
            lines.append(f"\n{name}, speaker {speaker}: {listed}.")
    return "\n".join(lines)


def main() -> int:
    arguments = parse()
    settings = Settings(
        arguments.base.absolute(),
        arguments.work.absolute(),
        arguments.steps,
        arguments.timed_steps,
        arguments.timing_rounds,
        arguments.batch_size,
        arguments.rank,
        arguments.learning_rate,
        arguments.precision,
        arguments.threads,
        arguments.test_limit,
    )
    if arguments.part:
        train(arguments.part, arguments.only, settings, arguments.part_steps, arguments.part_output)
        return 0
    names = [arguments.only] if arguments.only else ["aishell", "captions"]
    try:
        require_same_settings(settings)
        prepare(names, arguments.data, arguments.captions, settings)
        results = {name: compare(name, settings) for name in names}
    except FinewhisperError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(results))
    print(
        f"\nwhisper-base, LoRA rank {settings.rank}, {settings.steps} steps, {settings.precision}, ",
        end="",
    )
    print(f"{settings.threads} threads, {platform.machine()}; character error rates in percent.")
    if arguments.json:
        write_json(arguments.json, results | {"settings": described(settings)})
    return 0


def described(settings: Settings) -> dict[str, Any]:
    return {key: value for key, value in asdict(settings).items() if key not in {"base", "work"}}


def require_same_settings(settings: Settings) -> None:
    """Keep results of other settings from being taken for these."""
    path = settings.work / "settings.json"
    if path.is_file() and json.loads(path.read_text()) != described(settings):
        raise UsageError(f"--work {settings.work}: holds results of other settings ({path.name}); give another folder or delete it")
    settings.work.mkdir(parents=True, exist_ok=True)
    write_json(path, described(settings))


def prepare(names: Sequence[str], data: Path, captions: Path, settings: Settings) -> None:
    """Put train.jsonl and test.jsonl of each corpus where its results go."""
    for name in names:
        folder = settings.work / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "aishell":
            aishell(data, folder)
        else:
            for split in ("train", "test"):
                manifest.write(folder / f"{split}.jsonl", manifest.read(captions / f"{split}.jsonl"))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("models/whisper-base"), help="as `finewhisper download base` makes it")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with aishell_sample_zh/manifest.jsonl")
    parser.add_argument(
        "--captions", type=Path, default=Path("runs/demo/data"), help="folder of Tux Paint's captions, as make demo makes it"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/train_speed"), help="folder for models and parts that are done")
    parser.add_argument("--only", choices=["aishell", "captions"], help="one corpus")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument(
        "--timed-steps", type=int, default=4, help="steps of the recipe in each short timing run; ours takes ten times as many"
    )
    parser.add_argument("--timing-rounds", type=int, default=2, help="timing runs of each side, taking turns; the fastest counts")
    parser.add_argument("--batch-size", type=int, default=8, help="utterances in a step of the recipe")
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--test-limit", type=int, default=200, help="most test utterances")
    parser.add_argument("--json", type=Path, help="file for the results")
    for hidden, kind in (("--part", str), ("--part-steps", int), ("--part-output", Path)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
