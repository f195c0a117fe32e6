"""How often does the check for speech, which runs before a clip is decoded, miss speech, and how often does it take noise for it?

Every manifest that is given is gone through clip by clip; clips with an empty `sentence` hold no speech. With --model, what the model
writes for those is counted with and without the check.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from finewhisper import manifest
from finewhisper.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform
from finewhisper.engines import KINDS, load_engine
from finewhisper.files import atomic_file
from finewhisper.model import ModelFolder
from finewhisper.transcription.transcriber import Plan, Transcriber
from finewhisper.transcription.vad import anybody_speaks


@dataclass(frozen=True)
class Counted:
    """One manifest."""

    name: str
    speech: int  #: clips in which somebody speaks
    missed: int  #: those of them that would not be decoded
    silent: int  #: clips in which nobody does
    heard: int  #: those of them that would be decoded
    processor_ms_per_s: float  #: of audio


def count(path: Path) -> tuple[Counted, list[Waveform]]:
    """What the check says of the clips of up to 30 s; and those without speech."""
    found = {True: [0, 0], False: [0, 0]}  # speech: clips, those that would be decoded
    silence, spent_s, audio_s = [], 0.0, 0.0
    for utterance in manifest.read(path):
        waveform = utterance.waveform()
        if len(waveform) > WINDOW_SAMPLES:
            continue
        began = time.process_time()
        decoded = anybody_speaks(waveform)
        spent_s += time.process_time() - began
        audio_s += len(waveform) / SAMPLE_RATE
        counts = found[bool(utterance.sentence.strip())]
        counts[0] += 1
        counts[1] += decoded
        if not utterance.sentence.strip():
            silence.append(waveform)
    speech, silent = found[True], found[False]
    name = f"{path.parent.name}/{path.stem}"
    return Counted(name, speech[0], speech[0] - speech[1], silent[0], silent[1], 1000 * spent_s / max(audio_s, 1e-9)), silence


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, help="what it writes for clips without speech is counted")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    counted = [count(path) for path in arguments.manifest]
    print("| clips | with speech | missed | without | taken for speech | ms of processor a second of audio |\n|---|---|---|---|---|---|")
    for one, _ in counted:
        print(f"| {one.name} | {one.speech} | {one.missed} | {one.silent} | {one.heard} | {one.processor_ms_per_s:.1f} |")
    content: dict[str, object] = {"sets": [asdict(one) for one, _ in counted]}
    silence = [waveform for _, waveforms in counted for waveform in waveforms]
    if arguments.model is not None and silence:
        engine = load_engine(ModelFolder.open(arguments.model, *KINDS), device="cpu", threads=1)
        for name, vad in (("without", False), ("with", None)):
            texts = [heard.text for heard in Transcriber(engine, plan=Plan(vad=vad)).transcribe_clips(silence)]
            invented = sum(bool(text.strip()) for text in texts)
            content[f"invented_{name}"] = invented
            print(f"\n{name} the check {arguments.model.name} writes text for {invented} of {len(silence)} clips without speech")
    if arguments.json:
        with atomic_file(arguments.json) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
