"""SpecAugment: parts of the spectrogram are hidden while the model trains.

transformers' own is not used: its masks all have the full width, so that one of the published 0.5 s hides a word of 0.5 s whole and
one of the published 1 s stops a short batch with an error, and it draws from numpy's global state, which resuming does not restore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from pydantic import Field

from finewhisper.audio import FRAMES_PER_SECOND, HOP_LENGTH, WINDOW_S
from finewhisper.training.augment.effects import Effect
from finewhisper.training.augment.sounds import Random

if TYPE_CHECKING:
    import torch


class Masks(NamedTuple):
    """What SpecAugment hides of one clip's spectrogram: (first, width) each."""

    frames: list[tuple[int, int]]
    bins: list[tuple[int, int]]


class SpecAugment(Effect):
    """Parts of the spectrogram hidden behind its mean (Park et al. 2019, arXiv 1904.08779), in training only."""

    time_masks: int = Field(2, ge=0)
    """How many stretches of time are hidden of each utterance."""
    time_s: float = Field(0.5, ge=0, le=WINDOW_S)
    """Longest of them, seconds; each is between nothing and this."""
    time_share: float = Field(0.2, gt=0, le=1)
    """Longest of them as a share of the clip, so that a short word is never hidden whole."""
    mel_masks: int = Field(2, ge=0)
    """How many bands of frequencies are hidden."""
    mel_bins: int = Field(10, ge=0, le=80)
    """Widest of them, of the spectrogram's 80 or 128 bins."""

    def draw(self, frames: int, bins: int, rng: Random, utterances: int = 1) -> Masks:
        """Masks for sound of ``frames`` frames that holds so many utterances; none, with the probability that is left."""
        if rng.random() >= self.probability:
            return Masks([], [])
        longest = min(round(self.time_s * FRAMES_PER_SECOND), int(self.time_share * frames))
        return Masks(
            [_span(longest, frames, rng) for _ in range(self.time_masks * utterances)],
            [_span(self.mel_bins, bins, rng) for _ in range(self.mel_masks)],
        )


@dataclass(frozen=True)
class Masking:
    """SpecAugment for the batches of a run. An epoch hides the same of a window at whatever step, on whatever process, resumed or not."""

    options: Sequence[SpecAugment]  #: by the row of the utterance
    seed: int

    def hide(self, features: torch.Tensor, waveforms: torch.Tensor, windows: Sequence[Sequence[int]], epoch: int) -> None:
        """Hide parts of each row of features (batch, n_mels, frames), in place.

        Args:
            waveforms: what the features were made from, (batch, samples).
            windows: the rows of the utterances in each; a window without speech has none and stays whole.
        """
        for spectrogram, frames, rows in zip(features, sounding_frames(waveforms), windows, strict=True):
            if rows:
                rng = np.random.default_rng((self.seed, epoch, *rows))
                hide(spectrogram, frames, self.options[rows[0]].draw(frames, len(spectrogram), rng, len(rows)))


def hide(spectrogram: torch.Tensor, frames: int, masks: Masks) -> None:
    """Put the mean of the first ``frames`` frames of (n_mels, frames) in the place of what is masked there, in place.

    The mean is what Park et al. hide behind: their spectrograms have a mean of zero. What follows the sound stays silent.
    """
    sound = spectrogram[:, :frames]
    mean = sound.mean()
    for first, width in masks.frames:
        sound[:, first : first + width] = mean
    for first, width in masks.bins:
        sound[first : first + width] = mean


def sounding_frames(waveforms: torch.Tensor) -> list[int]:
    """How many frames of each row of (batch, samples) there are up to its last sample that is not zero, which padding is."""
    samples = waveforms.shape[1] - (waveforms != 0).flip(1).int().argmax(1)  # a silent row counts as full, and hiding in it does no harm
    return [-(-count // HOP_LENGTH) for count in samples.tolist()]


def _span(longest: int, whole: int, rng: Random) -> tuple[int, int]:
    width = int(rng.integers(longest + 1))
    return int(rng.integers(whole - width + 1)), width
