"""What a model forgets of other languages when it learns one, and how much of that a step back towards the base gives back.

The tuned model is merged at several scales, each copy is converted to CTranslate2 and decodes every manifest: on contexts of the clips'
own length, as finewhisper uses it, and with --padded on 30 s windows too, as other tools do. The base always gets 30 s windows, for it
knows no others. Tux Paint's captions are parallel in nine languages, so what is said is the same in all of its sets.

    finewhisper prepare tuxpaint --language bg -o data/bg     # and ru, es, fr
    finewhisper finetune models/whisper-base --config recipes/tuxpaint.yaml --train data/bg/train.jsonl --dev data/bg/dev.jsonl \
        --sweep.scales 1 -o runs/bg
    python benchmarks/forgetting.py --base models/whisper-base --tuned runs/bg -o runs/forgetting \
        --manifest bg=data/bg/test.jsonl ru=data/ru/test.jsonl es=data/es/test.jsonl fr=data/fr/test.jsonl zh=zh.jsonl

What has been measured is kept below -o, so that an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finewhisper import merging
from finewhisper.conversion import run as convert
from finewhisper.conversion.config import ConvertConfig
from finewhisper.engines import load_engine
from finewhisper.errors import FinewhisperError
from finewhisper.model import Context, ModelFolder, versions
from finewhisper.progress import note
from finewhisper.scoring.matrix import Matrix, ModelScores
from finewhisper.scoring.plot import plot
from finewhisper.scoring.rates import ErrorRate
from finewhisper.scoring.scores import Score
from finewhisper.scoring.sets import SpeechSet, read_sets
from finewhisper.transcript import DecodeOptions
from finewhisper.transcription.sets import hear, setting


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, required=True, help="the base model, a Hugging Face folder")
    parser.add_argument("--tuned", type=Path, required=True, help="what finewhisper finetune wrote: an adapter or a full model")
    parser.add_argument("--manifest", nargs="+", required=True, metavar="NAME=FILE", help="the tuned language first")
    parser.add_argument("--scales", nargs="+", type=float, default=[0.2, 0.4, 0.6, 0.8, 1.0])
    parser.add_argument("--padded", nargs="*", type=float, default=[1.0], help="scales to decode on 30 s windows too")
    parser.add_argument("--limit", type=int, default=100, help="utterances of each manifest")
    parser.add_argument("--quantization", default="int8", help="of the CTranslate2 copies")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/forgetting"))
    arguments = parser.parse_args()
    try:
        print(report(arguments))
    except FinewhisperError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def report(arguments: argparse.Namespace) -> str:
    """Measure what is not measured yet; write forgetting.md, .json and .png; return the table."""
    names, paths = zip(*(text.partition("=")[::2] for text in arguments.manifest), strict=True)
    read = read_sets([Path(path) for path in paths], arguments.limit)
    sets = tuple(SpeechSet(name, speech.utterances) for name, speech in zip(names, read, strict=True))
    learnt = ModelFolder.open(arguments.tuned).card.context
    rows = [_row("base", _converted(arguments, None), sets, arguments, Context().full())]
    for scale in arguments.scales:
        copy = _converted(arguments, scale)
        rows.append(_row(f"{scale:g}", copy, sets, arguments, learnt))
        if scale in arguments.padded:
            rows.append(_row(f"{scale:g}, 30 s windows", copy, sets, arguments, Context().full()))
    matrix = Matrix(sets, tuple(rows))
    facts = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {arguments.threads} thread(s)",
        "decoding": f"CTranslate2 {arguments.quantization}, greedy",
        "base": (ModelFolder.open(arguments.base).card.source or {}).get("name", arguments.base.name),
        "tuned": {key: (ModelFolder.open(arguments.tuned).card.training or {})[key] for key in ("method", "hours", "kept_step")},
        "versions": versions("ctranslate2", "torch", "transformers", "peft"),
    }
    (arguments.output / "forgetting.json").write_text(json.dumps(matrix.json() | facts, ensure_ascii=False, indent=1) + "\n", "utf-8")
    page = _page(matrix, facts)
    (arguments.output / "forgetting.md").write_text(page, "utf-8")
    plot(matrix, arguments.output / "forgetting.png")
    return page


def _page(matrix: Matrix, facts: dict[str, Any]) -> str:
    """The table with all that a reader must know of how it was made."""
    base, tuned = facts["base"], facts["tuned"]
    counts = ", ".join(f"{speech.name} {len(speech.utterances)}" for speech in matrix.sets)
    packages = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return (
        f"# What whisper-{base} forgets when it learns from {tuned['hours'] * 60:.0f} minutes of {matrix.sets[0].name}\n\n"
        f"Rows: the base on 30 s windows, then so much of what was learnt (method {tuned['method']}, step {tuned['kept_step']}) added to "
        f"it, on contexts of the clips' own length where nothing else is said. Utterances: {counts}. {facts['decoding']}. Made by "
        f"`benchmarks/forgetting.py`, whose head shows the commands.\n\n{matrix.markdown()}\n\n"
        f"Machine: {facts['machine']}. Versions: {packages}.\n"
    )


def _converted(arguments: argparse.Namespace, scale: float | None) -> Path:
    """The CTranslate2 copy of the base, or of the tuned model at a scale."""
    copy: Path = arguments.output / ("base" if scale is None else f"scale-{scale:g}")
    if copy.is_dir():
        return copy
    source = arguments.base
    if scale is not None:
        source = arguments.output / f"merged-{scale:g}"
        options = merging.MergeConfig(models=(arguments.tuned,), output=source, scale=scale, base=arguments.base, overwrite=True)
        merging.run(options)
    convert.run(ConvertConfig(source=source, target=copy, to="ctranslate2", quantization=arguments.quantization, verify=False))
    return copy


def _row(name: str, model: Path, sets: Sequence[SpeechSet], arguments: argparse.Namespace, context: Context) -> ModelScores:
    kept: Path = arguments.output / f"{name.replace(' ', '-')}.json"
    if kept.is_file():
        content = json.loads(kept.read_text("utf-8"))
        if [len(cell["rates"]) for cell in content["cells"]] == [len(speech.utterances) for speech in sets]:
            cells = [Score("character", tuple(ErrorRate("character", *counts) for counts in cell["rates"])) for cell in content["cells"]]
            return ModelScores(name, content["setting"], tuple(cells))
    note(f"{name}:")
    engine = load_engine(ModelFolder.open(model), threads=arguments.threads).within(
        context
    )  # also where merge would write a model for full windows
    cells = [Score.of(hear(engine, speech, DecodeOptions(timestamps=False)), "character") for speech in sets]
    counts = [[(rate.substitutions, rate.deletions, rate.insertions, rate.reference_units) for rate in cell.rates] for cell in cells]
    kept.write_text(json.dumps({"setting": setting(engine), "cells": [{"rates": rates} for rates in counts]}), "utf-8")
    return ModelScores(name, setting(engine), tuple(cells))


if __name__ == "__main__":
    raise SystemExit(main())
