"""The demo: teach whisper-base a language it cannot hear, with nothing but the public command.

Every command is printed before it runs, so the output is a tutorial. What is there already is not made again: an interrupted demo
goes on where it stopped, a finished one only shows its result. Options of a verb can be changed in the environment, as everywhere:
``FINEWHISPER_FINETUNE_EPOCHS=8 make demo``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finewhisper import manifest
from finewhisper.files import atomic_file
from finewhisper.vocabulary import LANGUAGES, language_code

BASE = Path("models/whisper-base")
CACHE = Path(".cache")  # keeps the captions' package, whatever the language
RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "tuxpaint.yaml"
STAMPS_HINT = """\
The captions come from Debian's package tuxpaint-stamps-default. Elsewhere, install or unpack Tux Paint's stamps and say where they are:
  make demo STAMPS=/usr/share/tuxpaint/stamps"""


@dataclass
class Demo:
    """A run of the demo in one folder; ``demo.json`` in it remembers the language, the seconds of each step and the peak of memory."""

    language: str
    folder: Path
    stamps: Path | None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0

    def run(self) -> None:
        """All steps, in the order of the pipeline."""
        self._recall()
        data, base, adapter, model, int8 = (self.folder / name for name in ("data", "evaluation-base", "adapter", "model", "model-int8"))
        result = self.folder / "evaluation"
        stamps = [] if self.stamps is None else [self.stamps]

        self.step("Get the base model", BASE / "finewhisper.json", ["download", "base", "-o", BASE])
        self.step(
            f"Make manifests of spoken {self.name} captions; no sentence of the test set is in the training set",
            data / "test.jsonl",
            ["prepare", "tuxpaint", *stamps, "--language", self.language, "-o", data, "--cache", CACHE],
            on_failure=STAMPS_HINT,
        )
        test = data / "test.jsonl"
        self.step("How well does the base model hear it?", base, ["evaluate", BASE, "--manifest", test, "-o", base])
        training: list[str | Path] = ["finetune", BASE, "--config", relative(RECIPE), "--train", data / "train.jsonl"]
        training += ["--dev", data / "dev.jsonl", "-o", adapter, *continuation(adapter)]
        self.step("Fine-tune: train a LoRA adapter", adapter / "adapter_config.json", training)
        self.step("Merge the adapter into the base model", model, ["merge", adapter, "-o", model])
        self.step(
            "How well does the tuned model hear it?",
            result,
            ["evaluate", model, "--manifest", test, "-o", result, "--baseline", base, "--title", f"whisper-base taught {self.name}"],
        )
        self.step(
            "Convert it for CTranslate2, the fast engine, with 8-bit weights",
            int8,
            ["convert", model, int8, "--to", "ctranslate2", "--quantization", "int8", "--manifest", test],
        )
        clips = three_of(test)
        heard = [self.folder / "transcripts" / f"{clip.path.stem}.txt" for clip in clips]
        self.step(
            "Transcribe three clips that it has never heard",
            heard[-1],
            ["transcribe", *(relative(clip.path) for clip in clips), "-m", int8, "--language", self.language, "-o", heard[0].parent],
        )
        for clip, path in zip(clips, heard, strict=True):
            print(f"  said:  {clip.sentence}\n  heard: {path.read_text(encoding='utf-8').strip()}")
        self._finish(result)

    @property
    def name(self) -> str:
        return LANGUAGES[self.language]

    def step(self, title: str, made: Path, arguments: Sequence[str | Path], *, on_failure: str = "") -> None:
        """Show and run one command, unless what it makes is there."""
        words = [str(argument) for argument in arguments]
        print(f"\n# {title}\n$ finewhisper {shlex.join(words)}", flush=True)
        if made.exists():
            print(f"{made} is there already")
            return
        began = time.monotonic()
        code = subprocess.run([sys.executable, "-m", "finewhisper", *words], check=False).returncode
        if code:
            print(f"\n{on_failure or 'This step failed.'}\nWhat was made so far stays; the next make demo goes on here.", file=sys.stderr)
            raise SystemExit(code)
        self.seconds[words[0] if words[0] not in self.seconds else f"{words[0]} again"] = round(time.monotonic() - began, 1)
        self.peak_bytes = max(self.peak_bytes, peak_of_children())
        self._remember()

    def _recall(self) -> None:
        """Go on with this folder's demo, or clear the folder where it taught another language."""
        memory = self.folder / "demo.json"
        if memory.is_file():
            past = json.loads(memory.read_text(encoding="utf-8"))
            if past["language"] == self.language:
                self.seconds, self.peak_bytes = past["seconds"], past["peak_bytes"]
                return
            print(f"{self.folder} holds a demo in another language ({past['language']}); starting over. The base model is kept.")
            shutil.rmtree(self.folder)
        self._remember()

    def _remember(self) -> None:
        content = {"language": self.language, "seconds": self.seconds, "peak_bytes": self.peak_bytes}
        write_json(self.folder / "demo.json", content)

    def _finish(self, evaluation: Path) -> None:
        """Write the report and the summary where they are easy to find, and show the summary."""
        scores = json.loads((evaluation / "result.json").read_text(encoding="utf-8"))
        tuned = {name: scores[name]["percent"] for name in ("wer", "cer")}
        base = {name: scores[name]["baseline"]["percent"] for name in ("wer", "cer")}
        seconds = round(sum(self.seconds.values()), 1)
        with atomic_file(self.folder / "report.html") as temporary:
            shutil.copyfile(evaluation / "report.html", temporary)
        summary = {"language": self.language, "base": base, "tuned": tuned, "seconds": seconds, "steps": self.seconds}
        write_json(self.folder / "summary.json", summary | {"peak_memory_bytes": self.peak_bytes})
        train = manifest.read(self.folder / "data" / "train.jsonl")
        minutes = sum(utterance.length_s() for utterance in train) / 60
        lower = {name: 100 * (1 - tuned[name] / base[name]) for name in tuned}
        print(f"""
whisper-base was taught {self.name} with {len(train)} captions, {minutes:.0f} minutes of speech.
On {scores["utterances"]} captions that it had never met, it now makes:
           word errors   character errors
  before   {base["wer"]:9.1f} %   {base["cer"]:14.1f} %
  after    {tuned["wer"]:9.1f} %   {tuned["cer"]:14.1f} %
  change   {-lower["wer"]:+9.0f} %   {-lower["cer"]:+14.0f} %
All steps took {seconds / 60:.1f} minutes; the largest process used {self.peak_bytes / 1e9:.1f} GB of memory.
Every caption, worst first, with its sound: {self.folder / "report.html"}
The tuned model: {self.folder / "model"} (Hugging Face), {self.folder / "model-int8"} (CTranslate2, 8 bits)
Try it: finewhisper transcribe YOUR-FILE -m {self.folder / "model-int8"} --language {self.language}""")


def continuation(adapter: Path) -> list[str]:
    """How to go on with a fine-tuning that was interrupted."""
    if not adapter.is_dir() or (adapter / "adapter_config.json").exists():
        return []
    return ["--resume" if any(adapter.glob("checkpoints/checkpoint-*/trainer_state.json")) else "--overwrite"]


def three_of(path: Path) -> list[manifest.Utterance]:
    """A clip of middle length, a longer and a long one of a manifest."""
    ordered = sorted(manifest.read(path), key=lambda utterance: utterance.length_s())
    return [ordered[int(share * len(ordered))] for share in (0.5, 0.75, 0.9)]


def relative(path: Path) -> Path:
    """The path as one would type it here."""
    return Path(os.path.relpath(path))


def write_json(path: Path, content: object) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def peak_of_children() -> int:
    """Most memory that any finished child process had resident, bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--language", default="bg", help="one that Tux Paint's captions are spoken in, such as bg, ro, be, el, ca, da")
    parser.add_argument("--output", type=Path, default=Path("runs/demo"), help="folder for everything that is made")
    parser.add_argument("--stamps", type=Path, help="folder of Tux Paint's stamps, where Debian's package cannot be fetched")
    arguments = parser.parse_args()
    try:
        Demo(language_code(arguments.language), arguments.output, arguments.stamps).run()
    except KeyboardInterrupt:
        print("\nInterrupted. The next make demo goes on here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
