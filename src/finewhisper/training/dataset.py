"""From a planned window to what the model reads: sound is decoded, changed and put together when it is asked for, and never stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from finewhisper import manifest
from finewhisper.audio import HOP_LENGTH, SAMPLE_RATE, Waveform
from finewhisper.errors import AudioError
from finewhisper.features import pad_samples
from finewhisper.manifest import Utterance
from finewhisper.training.batches import LONGEST_PAUSE_S, QUIET_S, Window
from finewhisper.training.labels import Labeller, Labels, Placed
from finewhisper.vocabulary import IGNORED

#: The loudness of sound in which nobody speaks, dB of full scale, from inaudible to a loud room.
_NOISE_DB = (-90.0, -20.0)


class Alters(Protocol):
    """What augmentation does to a clip: its sound, and the times that belong to it."""

    def apply(self, utterance: Utterance, waveform: Waveform, rng: np.random.Generator) -> tuple[Utterance, Waveform]:
        """The same utterance sounding otherwise."""


class Example(NamedTuple):
    """What the dataset answers."""

    waveform: torch.Tensor  # (frames * 160,)
    labels: Labels
    rows: tuple[int, ...] = ()  #: the utterances in it
    faults: tuple[tuple[int, str], ...] = ()  #: those that cannot be used and are not heard in it, each with what is wrong
    silence: tuple[int, ...] = ()  #: widths of the blocks of condensed silence after it, positions


class SpeechDataset(Dataset[Example]):
    """Reads the utterances of a window, one after the other, and labels them."""

    def __init__(self, utterances: Sequence[Utterance], labeller: Labeller, augmentation: Alters | None = None) -> None:
        self.utterances, self.labeller, self.augmentation = utterances, labeller, augmentation

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, window: Window) -> Example:
        rng = np.random.default_rng(window.seed)
        pieces, placed, faults = self._read(window, rng)
        if not placed:
            quiet_s = QUIET_S if window.silence else 0.0
            pieces.append(_noise(window.frames * HOP_LENGTH - round(quiet_s * SAMPLE_RATE), rng))
        waveform = pad_samples(np.concatenate(pieces), window.frames)
        labels = self.labeller(placed, rng, previous=self._previous(window.rows))
        return Example(torch.from_numpy(waveform), labels, window.rows, tuple(faults), window.silence)

    def _read(self, window: Window, rng: np.random.Generator) -> tuple[list[Waveform], list[Placed], list[tuple[int, str]]]:
        """The sounds of a window with the pauses between them, where in it each utterance begins, and those that cannot be used."""
        pieces: list[Waveform] = []
        placed: list[Placed] = []
        faults: list[tuple[int, str]] = []
        samples = 0
        for row in window.rows:
            utterance = self.utterances[row]
            try:
                waveform = utterance.waveform()
                fault = manifest.unheard(utterance, waveform)
            except AudioError as error:
                fault = str(error)
            if fault is not None:  # the whole corpus may have been too large to be decoded before
                faults.append((row, fault))
                continue
            if self.augmentation is not None:
                utterance, waveform = self.augmentation.apply(utterance, waveform, rng)
            if pieces:
                pieces.append(np.zeros(int(rng.uniform(0.0, LONGEST_PAUSE_S) * SAMPLE_RATE), dtype=np.float32))
                samples += len(pieces[-1])
            placed.append(Placed(replace(utterance, duration_s=len(waveform) / SAMPLE_RATE), samples / SAMPLE_RATE))
            pieces.append(waveform)
            samples += len(waveform)
        return pieces, placed, faults

    def _previous(self, rows: tuple[int, ...]) -> Utterance | None:
        """The utterance before a window's first: the line above in the manifest, where the same voice or file goes on."""
        if not rows or rows[0] == 0:
            return None
        before, first = self.utterances[rows[0] - 1], self.utterances[rows[0]]
        return before if speaker(before) == speaker(first) and speaker(first) is not None else None


def speaker(utterance: Utterance) -> object:
    """Whose voice it is: the manifest's ``speaker``, else the file that slices are cut from, else None."""
    name = utterance.extra.get("speaker")
    if name is not None:
        return str(name)
    return utterance.path if utterance.end_s is not None else None


def _noise(samples: int, rng: np.random.Generator) -> Waveform:
    """Sound in which nobody speaks: white or pink noise of random loudness, the lowest of them as good as silence."""
    white = rng.standard_normal(samples)
    if rng.random() < 0.5:
        spectrum = np.fft.rfft(white)
        white = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)  # pink: power falls with 1/f
    level = 10 ** (rng.uniform(*_NOISE_DB) / 20) / max(float(np.sqrt(np.mean(white**2))), 1e-12)
    return np.clip(white * level, -1.0, 1.0).astype(np.float32)


def collate(examples: list[Example]) -> dict[str, Any]:
    """Stack examples of one context: waveforms (batch, samples), decoder_input_ids and labels (batch, tokens).

    ``rows`` and ``faults`` are those of the examples, in order.

    Full windows have ``silence`` too, (batch, blocks): see :class:`finewhisper.whisper.LengthAwareEncoder`.
    """
    longest = max(len(example.labels.inputs) for example in examples)
    inputs = torch.zeros(len(examples), longest, dtype=torch.long)  # the padding is never attended to by a position with a label
    targets = torch.full((len(examples), longest), IGNORED, dtype=torch.long)
    for row, example in enumerate(examples):
        inputs[row, : len(example.labels.inputs)] = torch.tensor(example.labels.inputs)
        targets[row, : len(example.labels.targets)] = torch.tensor(example.labels.targets)
    silence = {"silence": torch.tensor([example.silence for example in examples])} if examples[0].silence else {}
    return silence | {
        "waveforms": torch.stack([example.waveform for example in examples]),
        "decoder_input_ids": inputs,
        "labels": targets,
        "rows": [example.rows for example in examples],
        "faults": [fault for example in examples for fault in example.faults],
    }
