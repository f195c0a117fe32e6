"""Opens and runs one damaged model after the other; prints each seed before it is tried, and at last the counts."""

from __future__ import annotations

import json
import random
import resource
import sys
import traceback
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from finewhisper.engines import load_engine
from finewhisper.errors import FinewhisperError
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions
from fuzzing import damaged

CLIP = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)


def use(kind: str, folder: Path) -> None:
    """What every user of a model does with it."""
    if kind == "openai":
        from finewhisper.convert import from_openai

        target = folder.parent / "converted"
        target.mkdir(exist_ok=True)
        from_openai.write(ModelFolder.open(folder / "model.pt"), target, "float32")
        return
    if kind == "adapter":
        from finewhisper.merge import MergeConfig, run

        run(MergeConfig(models=(folder,), output=folder.parent / f"merged-{np.random.default_rng().integers(1 << 60)}"))
        return
    engine = load_engine(ModelFolder.open(folder), device="cpu", threads=1)
    times = kind in ("transformers", "ctranslate2")
    engine.transcribe([CLIP], DecodeOptions(language="en", word_timestamps=times, timestamps=times, max_tokens_per_second=5.0))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    job = json.loads(sys.argv[1])
    folder = Path(job["folder"])
    use(job["kind"], folder)
    counts = {"refused": 0, "worked": 0, "peak_bytes_undamaged": peak_bytes()}
    for name, count in job["counts"].items():
        whole = (folder / name).read_bytes()
        for seed in range(count):
            print(f"{name}, seed {seed}", flush=True)
            (folder / name).write_bytes(damaged(whole, random.Random(f"{name}{seed}")))
            try:
                use(job["kind"], folder)
                counts["worked"] += 1
            except FinewhisperError:
                counts["refused"] += 1
            except BaseException:  # a panic of a Rust library is no Exception
                traceback.print_exc()
                return 3
        (folder / name).write_bytes(whole)
    print(json.dumps(counts | {"peak_bytes": peak_bytes()}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
