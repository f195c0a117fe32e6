"""Sound for mechanics, made on the spot."""

from __future__ import annotations

from pathlib import Path


def generated_speech(folder: Path) -> Path:
    """Eight clips of 0.5 to 2.5 s with sentences, as train.jsonl and dev.jsonl: a made-up voice, which the
    voice activity check takes for one, and no words."""
    import soundfile

    from finewhisper.conversion.verify import generated_clip
    from finewhisper.manifest import Utterance, write

    voice = generated_clip().waveform
    utterances = []
    for index in range(8):
        seconds = 0.5 + 2.0 * index / 7
        first = 1_000 * index
        clip = voice[first : first + round(seconds * 16_000)]
        path = folder / "audio" / f"clip{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, clip, 16_000)
        utterances.append(Utterance(path, f"the tone number {index}", "en", seconds))
    write(folder / "train.jsonl", utterances)
    write(folder / "dev.jsonl", utterances[:3])
    return folder
