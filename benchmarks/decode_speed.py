"""How much faster a tuned model decodes when its context is trimmed to the clips, against the same model on 30 s windows.

Both runs use one engine in one process, on the same clips, one right after the other, and only their ratio means anything: the
seconds depend on the machine. Error rates stand beside them because a fast wrong answer is worth nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

from finewhisper import manifest
from finewhisper.engines import Engine, load_engine
from finewhisper.errors import FinewhisperError
from finewhisper.manifest import Utterance
from finewhisper.model import ModelFolder
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import DecodeOptions
from finewhisper.transcription.transcriber import Plan, Transcriber


def measure(engine: Engine, utterances: list[Utterance]) -> tuple[float, float, float]:
    """Seconds, WER and CER (percent) of decoding the clips, which are in memory before the clock starts."""
    clips = [utterance.waveform() for utterance in utterances]
    transcriber = Transcriber(engine, DecodeOptions(timestamps=False))
    began = time.perf_counter()
    transcripts = list(transcriber.transcribe_clips(clips, languages=[utterance.language for utterance in utterances]))
    seconds = time.perf_counter() - began
    normalizer = Normalizer.for_language(utterances[0].language)
    references, heard = [utterance.sentence for utterance in utterances], [transcript.text for transcript in transcripts]
    return (
        seconds,
        error_rate(references, heard, "word", normalizer).percent,
        error_rate(references, heard, "character", normalizer).percent,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("runs/demo/model-int8"), help="a model that has learnt short contexts")
    parser.add_argument("--manifest", type=Path, default=Path("runs/demo/data/test.jsonl"))
    parser.add_argument("--limit", type=int, default=40, help="clips to decode; padded decoding is slow")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if not arguments.model.is_dir():
        print(f"{arguments.model}: no such model; run make demo first, or name a tuned one with --model", file=sys.stderr)
        return 2
    try:
        return compare(arguments.model, arguments.manifest, arguments.limit, arguments.threads)
    except FinewhisperError as error:
        print(error, file=sys.stderr)
        return 2


def compare(model: Path, path: Path, limit: int, threads: int) -> int:
    engine = load_engine(ModelFolder.open(model), threads=threads)
    if not engine.context.trimmed:
        print(f"{model}: has not learnt short contexts, so there is nothing to compare", file=sys.stderr)
        return 2
    utterances = manifest.read(path)[:limit]
    measure(engine, utterances[:2])  # the first call pays for memory and threads
    trimmed = measure(engine, utterances)
    engine = engine.within(engine.context.full())
    padded = measure(engine, utterances)
    audio_s = sum(utterance.length_s() for utterance in utterances)
    print(f"{model} ({engine.name} {engine.precision}), {path}: {len(utterances)} clips, mean {audio_s / len(utterances):.1f} s")
    print(f"{platform.machine()}, {threads} threads, greedy, batches of {Plan().batch_size}\n")
    print("context    seconds   x real time   WER %   CER %")
    for name, (seconds, wer, cer) in {"trimmed": trimmed, "30 s": padded}.items():
        print(f"{name:<8} {seconds:9.1f} {audio_s / seconds:13.1f} {wer:7.1f} {cer:7.1f}")
    print(f"\n30 s windows take {padded[0] / trimmed[0]:.1f} times as long.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
