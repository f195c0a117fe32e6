"""``finewhisper augment``: a few clips as they are and as fine-tuning would hear them, to listen to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import soundfile
from pydantic import Field

from finewhisper import manifest
from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.config import Config, Flag, save
from finewhisper.manifest import Utterance
from finewhisper.outputs import atomic_folder, require_absent
from finewhisper.training.augment import APPLIED, Augmentation

NOTHING = "nothing"  # what an example is called that chance has left alone


class AugmentExamplesConfig(Config):
    """Writes a few clips of a manifest twice, as they are and augmented, and augmented.jsonl with the times and what was done.

    SpecAugment, which hides parts of the spectrogram, cannot be listened to.
    """

    manifest: Annotated[Path, Flag(positional=True)]
    """Manifest to take clips from."""
    augment: Path
    """YAML file that describes the augmentation."""
    output: Annotated[Path, Flag(alias="-o", role="output")]
    """Folder for the WAV files and their manifest."""
    count: int = Field(5, ge=1)
    """How many clips."""
    seed: int = Field(0, ge=0)
    """Another number gives other clips and other effects."""
    overwrite: bool = False
    """Replace the folder if it is there."""


@dataclass(frozen=True)
class Examples:
    """What was written."""

    manifest: Path
    augmented: tuple[Utterance, ...]

    def __str__(self) -> str:
        lines = [f"{example.path.name}: {example.extra[APPLIED]}" for example in self.augmented]
        return "\n".join([*lines, f"{self.manifest}: {len(lines)} clips, each beside its original"])


def run(config: AugmentExamplesConfig) -> Examples:
    """Write the examples.

    Raises:
        ManifestError: the manifest cannot be used.
        UsageError: the augmentation's file is wrong.
        CorpusError: a folder of noise or impulse responses cannot be used.
        AudioError: a clip cannot be decoded.
        StorageError: something else is in the folder, or the disk is full.
    """
    require_absent(config.output, replace=config.overwrite)
    utterances = manifest.read(config.manifest)
    augmentation = Augmentation.load(config.augment, utterances)
    rows = np.random.default_rng(config.seed).permutation(len(utterances))[: config.count]
    with atomic_folder(config.output, replace=config.overwrite) as folder:
        save(config, folder / "config.yaml")
        written = list(_written([(int(row), utterances[row]) for row in sorted(rows)], augmentation, folder, config.seed))
        manifest.write(folder / "augmented.jsonl", written)
    kept = tuple(replace(example, path=config.output / example.path.name) for example in written)
    return Examples(config.output / "augmented.jsonl", kept)


def _written(chosen: Sequence[tuple[int, Utterance]], augmentation: Augmentation, folder: Path, seed: int) -> Iterator[Utterance]:
    """Write each clip twice and yield its augmented form."""
    for number, (row, original) in enumerate(chosen, start=1):
        waveform = original.waveform()
        augmented, changed = augmentation.apply(original, waveform, np.random.default_rng((seed, row)))
        _write_wav(folder / f"{number:03}-original.wav", waveform)
        path = folder / f"{number:03}-augmented.wav"
        _write_wav(path, changed)
        extra = {APPLIED: NOTHING, **augmented.extra}
        yield replace(augmented, path=path, start_s=0.0, end_s=None, duration_s=len(changed) / SAMPLE_RATE, extra=extra)


def _write_wav(path: Path, waveform: Waveform) -> None:
    soundfile.write(path, waveform, SAMPLE_RATE, subtype="PCM_16")
