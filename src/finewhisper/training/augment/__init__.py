"""Augmentation: every clip sounds a little different each time it is heard, and its times stay true.

::

    speed: {probability: 0.5, factor: [0.9, 1.1]}
    noise: {probability: 0.5, folder: noise/, snr_db: [5, 30]}
    sources:                      # for utterances whose `data_source` is "telephone"; what is not said here is as above
      telephone:
        noise: {probability: 0.8}

The order is that of the world: the speaker's speed, the room, when the speech begins, noise, the line, and how loud it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

from pydantic import Field

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, Seconds, Waveform
from finewhisper.config import Config, FieldPath, build, read_recipe
from finewhisper.errors import CorpusError, UsageError
from finewhisper.manifest import Utterance
from finewhisper.progress import note
from finewhisper.training.augment import dsp, sounds
from finewhisper.training.augment.effects import Clip, FolderEffect, Noise, Resample, Reverb, Shift, SoundEffect, Speed, Volume
from finewhisper.training.augment.masks import Masking, SpecAugment
from finewhisper.training.augment.sounds import Random

#: The key that an augmented utterance carries: which effects with which values, as text.
APPLIED = "augmented"
#: The key of a manifest that chooses among ``sources``.
DATA_SOURCE = "data_source"


class Effects(Config):
    """The effects and how often they happen; all are off unless the file says otherwise."""

    speed: Speed = Speed()
    reverb: Reverb = Reverb()
    shift: Shift = Shift()
    noise: Noise = Noise()
    resample: Resample = Resample()
    volume: Volume = Volume()
    spec_augment: SpecAugment = SpecAugment()

    def chain(self) -> tuple[SoundEffect, ...]:
        """Those on the waveform, in the order of the world."""
        return self.speed, self.reverb, self.shift, self.noise, self.resample, self.volume


class AugmentationFile(Effects):
    """What stands in a YAML file."""

    sources: dict[str, dict[str, Any]] = Field({})
    """What differs for the utterances with a ``data_source``: the same keys below the name of the source."""


class Augmentation:
    """The effects of a YAML file, ready to be applied.

    Args:
        general: for utterances whose ``data_source`` is not among ``sources``.
        sources: by ``data_source``.
    """

    def __init__(self, general: Effects, sources: Mapping[str, Effects] | None = None) -> None:
        self.general, self.sources = general, dict(sources or {})

    @classmethod
    def load(cls, path: Path, utterances: Sequence[Utterance] = ()) -> Augmentation:
        """Read a YAML file and look at the recordings that it names.

        Args:
            utterances: what it is for; a source that none of them comes from is told of.

        Raises:
            UsageError: keys or values that cannot be, each named.
            CorpusError: a folder that is missing, holds no recordings, or some that cannot be used.
        """
        if not path.is_file():
            raise UsageError(f"--augment: no such file: {path}")
        values = read_recipe(path)
        overrides = build(AugmentationFile, values, name=_key(path)).sources
        sources = {
            name: _placed(build(Effects, _merged(values, override), name=_key(path, "sources", name)), path)
            for name, override in overrides.items()
        }
        augmentation = cls(_placed(build(Effects, _merged(values, {})), path), sources)
        _require_sounds(path, augmentation)
        unused = sources.keys() - {str(utterance.extra.get(DATA_SOURCE)) for utterance in utterances}
        if utterances and unused:
            note(f"{path}: sources: no utterance has the {DATA_SOURCE} {', '.join(sorted(unused))}")
        return augmentation

    def effects_for(self, utterance: Utterance) -> Effects:
        """The effects for where an utterance comes from."""
        return self.sources.get(str(utterance.extra.get(DATA_SOURCE)), self.general)

    def apply(self, utterance: Utterance, waveform: Waveform, rng: Random) -> tuple[Utterance, Waveform]:
        """A clip as it is heard this time: the same for the same state of ``rng``.

        Nothing is cut off, nothing grows past 30 s, and times move with the sound. The utterance's path and slice still name the
        recording as it was; its key ``augmented`` tells what was done.

        Raises:
            AudioError: a recording that is mixed in can no longer be read.
        """
        clip = Clip(utterance, waveform)
        for effect in self.effects_for(utterance).chain():
            if rng.random() < effect.probability:
                clip = effect.apply(clip, rng)
        if not clip.applied:
            return utterance, waveform
        extra = {**utterance.extra, APPLIED: ", ".join(clip.applied)}
        return replace(clip.utterance, extra=extra), _within_full_scale(clip.waveform)

    def masking(self, utterances: Sequence[Utterance], seed: int) -> Masking:
        """SpecAugment for the batches of a run."""
        return Masking([self.effects_for(utterance).spec_augment for utterance in utterances], seed)

    def longest_s(self, utterance: Utterance, duration_s: Seconds) -> Seconds:
        """How long a clip of ``duration_s`` can become at most, for planning batches."""
        possible = self.effects_for(utterance)
        slowest = min(possible.speed.factor[0], 1.0) if possible.speed.probability else 1.0
        shift_s = possible.shift.seconds[1] if possible.shift.probability else 0.0
        return min(duration_s / slowest + shift_s + 1 / SAMPLE_RATE, WINDOW_S)  # each rounds to a whole sample


def _within_full_scale(waveform: Waveform) -> Waveform:
    loudest = dsp.peak(waveform)
    return waveform if loudest <= 1 else dsp.amplify(waveform, -20 * log10(loudest))


def _key(path: Path, *above: str) -> Callable[[FieldPath], str]:
    """What a field is called in an error."""
    return lambda field: f"{path}: {'.'.join((*above, *field))}"


def _merged(values: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """A source's effects: what it says of an effect, over what is said in general."""
    merged = {name: value for name, value in values.items() if name != "sources"}
    for name, effect in override.items():
        both = isinstance(effect, dict) and isinstance(merged.get(name), dict)
        merged[name] = {**merged[name], **effect} if both else effect
    return merged


def _placed(options: Effects, path: Path) -> Effects:
    """Folders as seen from where we are."""
    placed = {
        name: effect.model_copy(update={"folder": path.parent / effect.folder})
        for name, effect in options
        if isinstance(effect, FolderEffect) and effect.folder is not None
    }
    return options.model_copy(update=placed)


def _require_sounds(path: Path, augmentation: Augmentation) -> None:
    sounds.forget()
    problems = dict[str, None]()  # a set in order: a source shares the folders that it does not change
    for options in (augmentation.general, *augmentation.sources.values()):
        for name, effect in options:
            if isinstance(effect, FolderEffect) and effect.probability:
                problems |= dict.fromkeys(f"{name}.folder: {problem}" for problem in effect.files().problems)
    if problems:
        raise CorpusError(
            f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}; correct the folder or remove the files", list(problems)
        )
