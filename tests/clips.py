"""Sound for mechanics, made on the spot."""

from __future__ import annotations

from pathlib import Path


def generated_speech(folder: Path) -> Path:
    """Eight clips of 0.5 to 2.5 s with sentences, as train.jsonl and dev.jsonl: sound without speech."""
    import numpy as np
    import soundfile

    from finewhisper.manifest import Utterance, write

    rng = np.random.default_rng(0)
    utterances = []
    for index in range(8):
        seconds = 0.5 + 2.0 * index / 7
        time_s = np.arange(round(seconds * 16_000)) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * (200 + 60 * index) * time_s) + 0.01 * rng.standard_normal(len(time_s))
        path = folder / "audio" / f"clip{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone.astype("float32"), 16_000)
        utterances.append(Utterance(path, f"the tone number {index}", "en", seconds))
    write(folder / "train.jsonl", utterances)
    write(folder / "dev.jsonl", utterances[:3])
    return folder
