"""How fast is speech turned into text on a CPU, beside the tools that people use, and is the text as good?

Four sets: `captions` (Tux Paint's, 1.4 s on average) and `aishell` (sentences of 4.4 s) with models that finewhisper tuned on them, as
`train_speed.py` leaves them; `long` (recordings of minutes) with whisper-base, and `long_tiny` (the English ones) with tiny.en. Any other:
`--set NAME=MODEL:MANIFEST`, such as speech of readers that the model never met. Beside each rate stands the 95 % interval of its
difference from ours on the same clips (paired bootstrap): where it holds 0, nobody knows who makes fewer errors. Every side decodes the
same clips with the same weights and threads, greedily, in a process of its own:

- ours: CTranslate2 int8 through finewhisper's Transcriber, in the context that the model has learnt;
- faster-whisper on the same folder, one clip after the other and in batches: the faster one counts;
- whisper.cpp through pywhispercpp on q8_0, with and without a shortened `audio_ctx`, which is for clips: the faster one counts;
- transformers' pipeline on the float32 weights, in batches.

Sides take turns, --rounds times, and the fastest round counts. `cold start` is the time of a whole process for one clip of about 8 s.
All copies are made by `finewhisper convert` and kept in --work. A tool that is not installed is left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peers
import soundfile
import train_speed

from finewhisper import manifest
from finewhisper.audio import SAMPLE_RATE
from finewhisper.config import build
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import run as convert
from finewhisper.errors import FinewhisperError, UsageError
from finewhisper.files import atomic_file
from finewhisper.manifest import Utterance
from finewhisper.model import ModelFolder, versions
from finewhisper.progress import note
from finewhisper.scoring.rates import compare as compare_texts
from finewhisper.scoring.scores import Score
from finewhisper.scoring.sets import SpeechSet
from finewhisper.scoring.text import Normalizer
from finewhisper.vocabulary import Vocabulary

#: Which library a side needs, and which copy it reads: a kind and its precision; none: the model itself.
NEEDS = {
    "ours": ("ctranslate2", ("ctranslate2", "int8")),
    "faster_whisper": ("faster_whisper", ("ctranslate2", "int8")),
    "faster_whisper_batched": ("faster_whisper", ("ctranslate2", "int8")),
    "whispercpp": ("pywhispercpp", ("ggml", "q8_0")),
    "whispercpp_audio_ctx": ("pywhispercpp", ("ggml", "q8_0")),
    "transformers": ("transformers", None),
}
#: What our seconds are compared with: the fastest of these sides.
PEERS = {
    "faster_whisper": ("faster_whisper", "faster_whisper_batched"),
    "whispercpp": ("whispercpp", "whispercpp_audio_ctx"),
    "transformers": ("transformers",),
}
SETS = ("captions", "aishell", "long", "long_tiny")
COLD_START_S = 8.0


@dataclass(frozen=True)
class Speech:
    """One set: a model and what it is to hear."""

    name: str
    model: Path
    utterances: list[Utterance]

    @property
    def long(self) -> bool:
        return self.name.startswith("long")

    @property
    def audio_s(self) -> float:
        return sum(utterance.length_s() for utterance in self.utterances)


@dataclass(frozen=True)
class Side:
    """What one side took in its fastest round, and its errors."""

    seconds: float
    error: float  #: percent; words, or characters where a language has none
    peak_memory_bytes: int
    more_than_ours: tuple[float, float] | None = None  #: points of error rate, the 95 % interval; None: of ours, or ours is not there


def speech(name: str, arguments: argparse.Namespace) -> Speech:
    """A set with its model, at most --limit clips spread over it. Raises: FinewhisperError."""
    if name in arguments.set:
        model, rows = arguments.set[name]
        return Speech(name, ModelFolder.open(model, "transformers").path, train_speed.test_set(rows, arguments.limit))
    model = ModelFolder.open(vars(arguments)[f"{name}_model"], "transformers").path
    if name.startswith("long"):
        rows = manifest.read(arguments.data / "longform" / "manifest.jsonl")
        multilingual = Vocabulary.load(model).multilingual
        rows = sorted((row for row in rows if multilingual or row.language == "en"), key=Utterance.length_s)
        return Speech(name, model, rows[: arguments.limit])
    if name == "aishell":
        folder = arguments.work / name
        folder.mkdir(parents=True, exist_ok=True)
        train_speed.aishell(arguments.data, folder)
        return Speech(name, model, train_speed.test_set(folder / "test.jsonl", arguments.limit))
    return Speech(name, model, train_speed.test_set(arguments.captions / "test.jsonl", arguments.limit))


def copy_of(model: Path, kind: str, precision: str, work: Path) -> Path:
    """A copy in another format, made once for each state of the model's weights.

    Raises:
        FinewhisperError: this version cannot make it.
    """
    target = work / "copies" / f"{model.name}-{ModelFolder.open(model).fingerprint()[:8]}" / f"{kind}-{precision}"
    if not target.is_dir():
        wanted = {"source": model, "target": target, "to": kind, "quantization": precision, "verify": False}
        convert(build(ConvertConfig, wanted, name=lambda _: f"convert --to {kind}"))
    ModelFolder.open(model).card.write(target)  # the margin may have been measured since
    return target


def weights(side: str, model: Path, work: Path) -> Path:
    """What a side loads: whisper.cpp a file, the others a folder. Raises: FinewhisperError."""
    library, copy = NEEDS[side]
    if find_spec(library) is None:
        raise UsageError(f"{library} is not installed; benchmarks/README.md says how to install what is compared")
    folder = model if copy is None else copy_of(model, *copy, work)
    return folder / "ggml-model.bin" if copy is not None and copy[0] == "ggml" else folder


def measured(side: str, path: Path, spoken: Speech, arguments: argparse.Namespace) -> dict[str, Any]:
    """One round of one side, in a process of its own. Raises: UsageError: it failed."""
    margin_s = ModelFolder.open(spoken.model).card.context.margin_s
    with tempfile.TemporaryDirectory() as scratch:
        job, answer, clips = (Path(scratch) / name for name in ("job.json", "answer.json", "clips.jsonl"))
        manifest.write(clips, spoken.utterances)
        wanted = peers.Job(side, str(path), str(clips), arguments.threads, spoken.long, margin_s)
        job.write_text(json.dumps(asdict(wanted)), encoding="utf-8")
        command = [sys.executable, peers.__file__, str(job), str(answer)]
        done = subprocess.run(command, env=environment(arguments.threads), capture_output=True, text=True, check=False)
        if done.returncode or not answer.is_file():
            raise UsageError(f"{side}: stopped with {done.returncode}: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
        found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return found


def environment(threads: int) -> dict[str, str]:
    """Every library gets the same number of threads, and nothing from the network."""
    return os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def scored(spoken: Speech, texts: Sequence[str]) -> Score:
    """The rates of each clip, of words, or of characters where a language is written without spaces."""
    wanted = SpeechSet(spoken.name, tuple(spoken.utterances))
    said = [utterance.sentence for utterance in wanted.utterances]
    return Score.of(compare_texts(list(zip(said, texts, strict=True)), wanted.languages, Normalizer.for_language), wanted.unit())


def compare(spoken: Speech, sides: Sequence[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """One set through every side, as in --json."""
    found: dict[str, Side] = {}
    cells: dict[str, Score] = {}
    skipped: dict[str, str] = {}
    for turn in range(arguments.rounds):
        for side in sides:
            if side in skipped:
                continue
            try:
                answer = measured(side, weights(side, spoken.model, arguments.work), spoken, arguments)
            except FinewhisperError as problem:
                skipped[side] = str(problem)
                note(f"{spoken.name}: {side} left out: {problem}")
                continue
            seconds = min(answer["seconds"], found[side].seconds if side in found else answer["seconds"])
            cells[side] = scored(spoken, answer["texts"])
            found[side] = Side(seconds, cells[side].rate.percent, answer["peak_memory_bytes"])
            note(f"{spoken.name}: {side}, round {turn + 1}: {answer['seconds']:.1f} s")
    for side in found.keys() & cells.keys() - {"ours"} if "ours" in cells else ():
        apart = cells[side].since(cells["ours"])
        found[side] = replace(found[side], more_than_ours=None if apart is None else (apart.low, apart.high))
    return result(spoken, found, skipped)


def result(spoken: Speech, found: Mapping[str, Side], skipped: Mapping[str, str]) -> dict[str, Any]:
    """The figures of a set; a ratio is None where one of its sides is missing."""
    content: dict[str, Any] = {
        "clips": len(spoken.utterances),
        "mean_seconds": spoken.audio_s / len(spoken.utterances),
        "model": str(spoken.model),
        "score": "CER" if SpeechSet(spoken.name, tuple(spoken.utterances)).unit() == "character" else "WER",
        "trimmed": ModelFolder.open(spoken.model).card.context.trimmed,
        "error": found["ours"].error if "ours" in found else None,
    }
    for peer, names in PEERS.items():
        best = min((found[name] for name in names if name in found), key=lambda side: side.seconds, default=None)
        content[f"speedup_vs_{peer}"] = best.seconds / found["ours"].seconds if best and "ours" in found else None
        content[f"{peer}_error"] = best.error if best else None
    return content | {"sides": {name: asdict(side) for name, side in found.items()}, "skipped": dict(skipped)}


def cold_start(spoken: Speech, arguments: argparse.Namespace) -> dict[str, Any]:
    """Whole processes, from the start of Python to the printed text, on one clip of about 8 s: seconds, the fastest of three."""
    clip = min(spoken.utterances, key=lambda row: abs(row.length_s() - COLD_START_S))
    times: dict[str, Any] = {"clip_seconds": clip.length_s(), "model": str(spoken.model)}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "clip.wav"
        soundfile.write(path, clip.waveform(), SAMPLE_RATE)
        for side in ("ours", "faster_whisper", "whispercpp"):
            try:
                command = cold_command(side, weights(side, spoken.model, arguments.work), path, clip.language or "en", arguments.threads)
                times[side] = min(whole_process(command, arguments.threads) for _ in range(3))
            except FinewhisperError as problem:
                times[side] = None
                note(f"cold start: {side} left out: {problem}")
    return times


def cold_command(side: str, model: Path, clip: Path, language: str, threads: int) -> list[str]:
    """The shortest way to text of each tool."""
    if side == "ours":
        options = ["--device", "cpu", "--threads", str(threads), "--language", language]
        return [sys.executable, "-m", "finewhisper", "transcribe", str(clip), "-m", str(model), *options]
    script = {
        "faster_whisper": "from faster_whisper import WhisperModel\n"
        "model = WhisperModel({model!r}, device='cpu', cpu_threads={threads})\n"
        "print(*(one.text for one in model.transcribe({clip!r}, language={language!r}, beam_size=1)[0]))",
        "whispercpp": "from pywhispercpp.model import Model\n"
        "model = Model({model!r}, n_threads={threads}, redirect_whispercpp_logs_to=None)\n"
        "print(*(one.text for one in model.transcribe({clip!r}, language={language!r}, greedy={{'best_of': 1}})))",
    }[side]
    return [sys.executable, "-c", script.format(model=str(model), clip=str(clip), language=language, threads=threads)]


def whole_process(command: Sequence[str], threads: int) -> float:
    """Seconds that a command takes. Raises: UsageError: it failed or printed nothing."""
    began = time.perf_counter()
    done = subprocess.run(command, env=environment(threads), capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode or not done.stdout.strip():
        raise UsageError(f"stopped with {done.returncode}: {(done.stderr.strip().splitlines() or ['it printed nothing'])[-1]}")
    return seconds


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures for reading."""
    lines = [
        "| set | clips | side | seconds | × real time | ours is faster | error % | points more than ours | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in (name for name, row in results.items() if "sides" in row):
        row = results[name]
        audio_s = row["clips"] * row["mean_seconds"]
        ours = row["sides"].get("ours")
        for side, figures in row["sides"].items():
            times = f"{figures['seconds'] / ours['seconds']:.1f}×" if ours and side != "ours" else ""
            speed = f"{figures['seconds']:.1f} | {audio_s / figures['seconds']:.1f} | {times}"
            apart = figures["more_than_ours"]
            tie = "" if apart is None else f"{apart[0]:+.1f} … {apart[1]:+.1f}"
            rest = f"{row['score']} {figures['error']:.1f} | {tie} | {figures['peak_memory_bytes'] / 1e9:.1f} GB"
            lines.append(f"| {name} | {row['clips']} of {row['mean_seconds']:.1f} s | {side} | {speed} | {rest} |")
        lines += [f"| {name} | | {side} | left out | | | | | |" for side in row["skipped"]]
    cold = results.get("cold_start", {})
    lines += [
        f"| cold start | 1 of {cold['clip_seconds']:.1f} s | {side} | {cold[side]:.2f} | | | | | |"
        for side in ("ours", "faster_whisper", "whispercpp")
        if cold.get(side)
    ]
    return "\n".join(lines)


def main() -> int:
    arguments = parse()
    names = [name for name in (*SETS, *arguments.set) if arguments.only in (None, name)]
    try:
        sets = [speech(name, arguments) for name in names]
        results: dict[str, Any] = {}
        for spoken in sets:
            sides = [side for side in arguments.sides or peers.SIDES if not (spoken.long and side == "whispercpp_audio_ctx")]
            results[spoken.name] = compare(spoken, sides, arguments)
        if arguments.cold_start:
            results["cold_start"] = cold_start(next((one for one in sets if one.name == "aishell"), sets[0]), arguments)
    except FinewhisperError as problem:
        print(problem, file=sys.stderr)
        return 2
    print(table(results))
    print(f"\n{platform.machine()}, {arguments.threads} threads, greedy; all copies hold the same weights.")
    if arguments.json:
        about = {"threads": arguments.threads, "rounds": arguments.rounds, "limit": arguments.limit}
        packages = versions("ctranslate2", "faster-whisper", "pywhispercpp", "transformers", "torch")
        with atomic_file(arguments.json) as temporary:
            content = measured_before(arguments.json) | results | {"settings": about, "versions": packages}
            temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return 0


def measured_before(path: Path) -> dict[str, Any]:
    """What a file of results has already: other sets, of runs with --only."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tuned = Path("runs/train_speed")
    parser.add_argument("--captions-model", type=Path, default=tuned / "captions" / "ours-80", help="a Hugging Face folder tuned on them")
    parser.add_argument("--aishell-model", type=Path, default=tuned / "aishell" / "ours-80", help="a Hugging Face folder tuned on it")
    parser.add_argument("--long-model", type=Path, default=Path("models/whisper-base"))
    parser.add_argument("--long-tiny-model", type=Path, default=Path("models/whisper-tiny.en"))
    parser.add_argument("--captions", type=Path, default=Path("runs/demo/data"), help="folder of captions, as make demo makes it")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with aishell_sample_zh and longform")
    parser.add_argument("--work", type=Path, default=Path("runs/transcribe_speed"), help="folder for the copies")
    parser.add_argument("--set", type=own_set, action="append", default=[], metavar="NAME=MODEL:MANIFEST", help="a set of your own")
    parser.add_argument("--only", metavar="NAME", help=f"one set: {', '.join(SETS)} or one of your own")
    parser.add_argument("--sides", nargs="+", choices=list(peers.SIDES), help="default: all")
    parser.add_argument("--limit", type=int, default=60, help="most clips of a set, spread over it; the shortest recordings of long")
    parser.add_argument("--rounds", type=int, default=2, help="rounds in which the sides take turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-cold-start", dest="cold_start", action="store_false", help="leave out the whole processes")
    parser.add_argument("--json", type=Path, help="file for the results; those of other sets stay in it")
    arguments = parser.parse_args()
    arguments.set = dict(arguments.set)
    if arguments.only not in (None, *SETS, *arguments.set):
        parser.error(f"--only {arguments.only}: is none of {', '.join((*SETS, *arguments.set))}")
    return arguments


def own_set(text: str) -> tuple[str, tuple[Path, Path]]:
    """A name with its model and manifest."""
    name, _, rest = text.partition("=")
    model, _, rows = rest.rpartition(":")
    if not (name and model and rows) or name in SETS:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=MODEL:MANIFEST, with a name of its own")
    return name, (Path(model), Path(rows))


if __name__ == "__main__":
    raise SystemExit(main())
