"""Opens and runs one damaged model after the other; prints what became of each."""

from __future__ import annotations

import json
import random
import shutil
import sys
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from finewhisper.engines import load_engine
from finewhisper.errors import FinewhisperError
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions
from fuzzing import damaged, damaged_json

CLIP = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)


def use(kind: str, folder: Path) -> None:
    """What every user of a model does with it."""
    made = folder.parent / "made"
    shutil.rmtree(made, ignore_errors=True)
    if kind == "openai":
        from finewhisper.conversion import from_openai

        made.mkdir()
        from_openai.write(ModelFolder.open(folder / "model.pt"), made, "float32")
        return
    if kind == "adapter":
        from finewhisper.merging import MergeConfig, run

        run(MergeConfig(models=(folder,), output=made))
        return
    engine = load_engine(ModelFolder.open(folder), device="cpu", threads=1)
    times = kind in ("transformers", "ctranslate2")
    engine.transcribe([CLIP], DecodeOptions(language="en", word_timestamps=times, timestamps=times, max_tokens_per_second=5.0))


def damage(name: str, whole: bytes, random: random.Random) -> bytes:
    """Faults in the bytes, or in the values of JSON, which stays JSON: one that is damaged as text is refused before it is understood."""
    if name.endswith(".json") and random.random() < 0.7:
        return damaged_json(whole, random)
    if name.endswith(".safetensors") and random.random() < 0.7:
        length = int.from_bytes(whole[:8], "little")
        header = damaged_json(whole[8 : 8 + length], random)
        return len(header).to_bytes(8, "little") + header + whole[8 + length :]
    return damaged(whole, random)


def report(outcome: str, text: str = "") -> None:
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage's peak counts the parent's before the child began
    peak = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
    print(json.dumps({"outcome": outcome, "text": text, "peak_bytes": 1024 * peak}), flush=True)


def main() -> int:
    job = json.loads(sys.stdin.read())
    folder = Path(job["folder"])
    use(job["kind"], folder)
    report("undamaged")
    for name, seed in job["cases"]:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(damage(name, whole, random.Random(f"{name}{seed}")))
        try:
            use(job["kind"], folder)
            report("worked")
        except FinewhisperError:
            report("refused")
        except BaseException:  # a panic of a Rust library is no Exception
            report("traceback", traceback.format_exc()[-3000:])
        finally:
            (folder / name).write_bytes(whole)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
