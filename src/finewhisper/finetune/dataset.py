"""Utterances as batches of similar length, each with a context of its own length.

Padding is the price of batching: AISHELL's clips last 4.5 s and cost 30 s when padded. Here a batch holds neighbours in length, and its
context is the longest clip and a random margin. A share of the batches are full 30 s windows, because a model that never sees one
becomes weaker in tools that pad.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.utils.data import Dataset, Sampler

from finewhisper.audio import FRAMES_PER_SECOND, WINDOW_FRAMES, Seconds
from finewhisper.features import context_frames, pad_samples
from finewhisper.finetune.labels import Labels
from finewhisper.manifest import Utterance
from finewhisper.vocabulary import IGNORED


class Item(NamedTuple):
    """What the sampler asks the dataset for: an utterance in a context of so many frames."""

    row: int
    frames: int


class Example(NamedTuple):
    """What the dataset answers."""

    waveform: torch.Tensor  # (frames * 160,)
    labels: Labels


class SpeechDataset(Dataset[Example]):
    """Decodes an utterance's audio each time it is asked for; nothing padded is ever stored."""

    def __init__(self, utterances: Sequence[Utterance], labels: Sequence[Labels]) -> None:
        self.utterances, self.labels = utterances, labels

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, item: Item) -> Example:
        waveform = pad_samples(self.utterances[item.row].waveform(), item.frames)
        return Example(torch.from_numpy(waveform), self.labels[item.row])


@dataclass(frozen=True)
class BatchPlan:
    """How batches are formed; see the options of the same names."""

    batch_size: int
    batch_seconds: Seconds
    margin_s: tuple[Seconds, Seconds]
    full_window_share: float
    seed: int
    epochs: int


class LengthBatches(Sampler[list[Item]]):
    """Batches of similar length in random order, the same for the same seed and epoch.

    Every utterance occurs exactly once an epoch, and every epoch has the same number of batches, which Trainer's schedule and
    resumption rely on.
    """

    def __init__(self, durations_s: Sequence[Seconds], plan: BatchPlan) -> None:
        self.durations_s, self.plan, self.epoch = durations_s, plan, 0
        self._steps = max(len(self._epoch(epoch)) for epoch in range(max(plan.epochs, 1)))

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[Item]]:
        batches = self._epoch(self.epoch)
        while len(batches) < self._steps:  # another epoch's random lengths made more batches: halve the largest
            batches.sort(key=len)
            largest = batches.pop()
            if len(largest) == 1:
                break
            batches += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
        random.Random(f"order {self.plan.seed} {self.epoch}").shuffle(batches)  # noqa: S311 - not for secrets
        return iter(batches[: self._steps])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def _epoch(self, epoch: int) -> list[list[Item]]:
        rng = random.Random(f"batches {self.plan.seed} {epoch}")  # noqa: S311
        indices = list(range(len(self.durations_s)))
        rng.shuffle(indices)
        full_size = max(1, min(self.plan.batch_size, int(self.plan.batch_seconds / (WINDOW_FRAMES / FRAMES_PER_SECOND))))
        share = self.plan.full_window_share
        # share = full batches / all batches, where n utterances make full_count / full_size full batches and the rest fill batch_size
        per_batch = share * full_size + (1 - share) * self.plan.batch_size
        full_count = min(len(indices), round(share * len(indices) / per_batch) * full_size) if share < 1 else len(indices)
        full, trimmed = indices[:full_count], indices[full_count:]
        batches = [[Item(index, WINDOW_FRAMES) for index in full[first : first + full_size]] for first in range(0, len(full), full_size)]
        return batches + self._trimmed(trimmed, rng)

    def _trimmed(self, indices: list[int], rng: random.Random) -> list[list[Item]]:
        """Cut the utterances, sorted by length with a little noise, into batches within both limits."""
        indices.sort(key=lambda index: self.durations_s[index] * rng.uniform(0.9, 1.1))
        batches, members = [], list[int]()
        for index in indices:
            longest_s = max(self.durations_s[member] for member in [*members, index])
            frames = context_frames(longest_s, self.plan.margin_s[1])
            too_long = (len(members) + 1) * frames > self.plan.batch_seconds * FRAMES_PER_SECOND
            if members and (too_long or len(members) == self.plan.batch_size):
                batches.append(self._batch(members, rng))
                members = []
            members.append(index)
        return [*batches, self._batch(members, rng)] if members else batches

    def _batch(self, members: list[int], rng: random.Random) -> list[Item]:
        frames = context_frames(max(self.durations_s[index] for index in members), rng.uniform(*self.plan.margin_s))
        return [Item(index, frames) for index in members]


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """Stack examples of one context: waveforms (batch, samples), decoder_input_ids and labels (batch, tokens)."""
    longest = max(len(example.labels.inputs) for example in examples)
    inputs = torch.zeros(len(examples), longest, dtype=torch.long)  # the padding is never attended to by a position with a label
    targets = torch.full((len(examples), longest), IGNORED, dtype=torch.long)
    for row, example in enumerate(examples):
        inputs[row, : len(example.labels.inputs)] = torch.tensor(example.labels.inputs)
        targets[row, : len(example.labels.targets)] = torch.tensor(example.labels.targets)
    return {"waveforms": torch.stack([example.waveform for example in examples]), "decoder_input_ids": inputs, "labels": targets}
