"""Which utterances are heard together, and in what context: decided before any audio is read.

Padding is the price of batching: AISHELL's clips last 4.5 s and cost 30 s when padded. Here a batch holds neighbours in length, and its
context is the longest clip and a random margin. A share of the batches are full 30 s windows, because a model that never sees one
becomes weaker in tools that pad. Every other such window holds several clips of one speaker, one after the other, up to a random length,
so that not all of its 30 s are wasted; the others hold a single clip and silence, which is what those tools show a model most.
"""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch.utils.data import Sampler

from finewhisper.audio import FRAMES_PER_SECOND, WINDOW_FRAMES, WINDOW_S, Seconds
from finewhisper.features import context_frames
from finewhisper.finetune.config import FinetuneConfig
from finewhisper.vocabulary import MAX_TOKENS

#: The pause before each further clip of a window is at most this long, seconds.
LONGEST_PAUSE_S = 0.5
#: Tokens of a window's text and times; the rest of the decoder's 448 are for the prompt and the end.
_TEXT_TOKENS = MAX_TOKENS - 8


class Clip(NamedTuple):
    """What planning knows of an utterance."""

    duration_s: Seconds
    tokens: int = 0  #: of its text and times
    speaker: Hashable = None  #: only clips of one speaker share a window


class Window(NamedTuple):
    """What the sampler asks the dataset for: utterances one after the other in a context of so many frames."""

    rows: tuple[int, ...]  #: of the manifest; empty for a window in which nobody speaks
    frames: int
    seed: int  #: of all that is random in it, so that it is the same in every process and after a resumption


@dataclass(frozen=True)
class BatchPlan:
    """How batches are formed; see the options of the same names."""

    batch_size: int
    batch_seconds: Seconds
    margin_s: tuple[Seconds, Seconds]
    full_window_share: float
    seed: int
    epochs: int
    stitch: bool = True
    no_speech_share: float = 0.0

    @classmethod
    def of(cls, config: FinetuneConfig) -> BatchPlan:
        """The plan that a run's options ask for."""
        return cls(
            config.batch_size,
            config.batch_seconds,
            config.margin_s,
            config.full_window_share,
            config.seed,
            math.ceil(config.epochs),
            config.stitch,
            config.no_speech,
        )


class LengthBatches(Sampler[list[Window]]):
    """Batches of similar length in random order, the same for the same seed and epoch.

    Every utterance occurs exactly once an epoch, and every epoch has the same number of batches, which Trainer's schedule and
    resumption rely on.
    """

    def __init__(self, clips: Sequence[Clip], plan: BatchPlan) -> None:
        self.clips, self.plan, self.epoch = clips, plan, 0
        rows = list(range(len(clips)))
        self._per_trimmed = len(rows) / max(len(self._trimmed(rows, random.Random(plan.seed))), 1)  # noqa: S311 - utterances in a batch
        self._steps = max(len(self._epoch(epoch)) for epoch in range(max(plan.epochs, 1)))

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[list[Window]]:
        batches = self._epoch(self.epoch)
        while len(batches) < self._steps:  # another epoch's random lengths made more batches: halve the largest
            batches.sort(key=_utterances)
            batches += _halves(batches.pop())
        random.Random(f"order {self.plan.seed} {self.epoch}").shuffle(batches)  # noqa: S311 - not for secrets
        return iter(batches[: self._steps])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def _epoch(self, epoch: int) -> list[list[Window]]:
        rng = random.Random(f"batches {self.plan.seed} {epoch}")  # noqa: S311
        full, rest = self._full(rng)
        return full + self._trimmed(rest, rng)

    def _full(self, rng: random.Random) -> tuple[list[list[Window]], list[int]]:
        """Batches of 30 s windows until they have their share; also the rows that are left."""
        share = self.plan.full_window_share
        most_windows = max(1, int(self.plan.batch_seconds / WINDOW_S))
        queues = _neighbours(self.clips, rng)
        turns = self._turns(queues, rng)
        stitched = itertools.cycle([False, self.plan.stitch])
        left, batches = len(self.clips), list[list[Window]]()
        while left and len(batches) < share * (len(batches) + left / self._per_trimmed):
            batch = list[Window]()
            room = self.plan.batch_size  # utterances
            windows = min(most_windows, self._windows_for(room)) if self.plan.stitch else min(most_windows, room)
            while left and room > 0 and len(batch) < windows:
                fill_s = rng.uniform(0.0, WINDOW_S) if next(stitched) else 0.0
                members = self._fill(next(turns), room, fill_s)
                room, left = room - len(members), left - len(members)
                batch.append(Window(members, WINDOW_FRAMES, rng.getrandbits(32)))
            batches.append(batch)
        rest = [row for queue in queues.values() for row in queue]
        rng.shuffle(rest)
        return batches, rest

    def _windows_for(self, utterances: int) -> int:
        """How many 30 s windows so many clips of average length fill, but one of each kind at least."""
        mean_s = sum(clip.duration_s for clip in self.clips) / len(self.clips)
        return max(2, round(utterances * (mean_s + LONGEST_PAUSE_S / 2) / WINDOW_S))

    def _turns(self, queues: dict[Hashable, list[int]], rng: random.Random) -> Iterator[list[int]]:
        """Whose window comes next: speakers by lot, as often as they have clips, until all are taken."""
        rows = list(range(len(self.clips)))
        rng.shuffle(rows)
        return (queue for row in rows if (queue := queues[self.clips[row].speaker]))

    def _fill(self, queue: list[int], most: int, fill_s: Seconds) -> tuple[int, ...]:
        """Take the clips of one window: one, and more while they fit into ``fill_s``."""
        members = [queue.pop()]
        length_s, tokens = self.clips[members[0]].duration_s, self.clips[members[0]].tokens
        while queue and len(members) < most:
            following = self.clips[queue[-1]]
            length_s += LONGEST_PAUSE_S + following.duration_s
            tokens += following.tokens
            if length_s > fill_s or tokens > _TEXT_TOKENS:
                break
            members.append(queue.pop())
        return tuple(members)

    def _trimmed(self, rows: list[int], rng: random.Random) -> list[list[Window]]:
        """Cut the utterances, sorted by length with a little noise, into batches within both limits."""
        lengths_s = {row: self.clips[row].duration_s * rng.uniform(0.9, 1.1) for row in rows}
        rows.sort(key=lengths_s.__getitem__)
        batches, members, longest_s = list[list[Window]](), list[int](), 0.0
        for row in rows:
            reaching_s = max(longest_s, self.clips[row].duration_s)
            frames = context_frames(reaching_s, self.plan.margin_s[1])
            too_long = (len(members) + 1) * frames > self.plan.batch_seconds * FRAMES_PER_SECOND
            if members and (too_long or len(members) == self.plan.batch_size):
                batches.append(self._batch(members, rng))
                members, reaching_s = [], self.clips[row].duration_s
            members.append(row)
            longest_s = reaching_s
        return [*batches, self._batch(members, rng)] if members else batches

    def _batch(self, members: list[int], rng: random.Random) -> list[Window]:
        """One trimmed batch; a share of further windows, chosen by lot, holds no speech."""
        frames = context_frames(max(self.clips[row].duration_s for row in members), rng.uniform(*self.plan.margin_s))
        windows = [Window((row,), frames, rng.getrandbits(32)) for row in members]
        share = self.plan.no_speech_share
        silent = math.floor(len(members) * share / (1 - share) + rng.random()) if share else 0
        return windows + [Window((), frames, rng.getrandbits(32)) for _ in range(silent)]


def _neighbours(clips: Sequence[Clip], rng: random.Random) -> dict[Hashable, list[int]]:
    """The rows of each speaker, to be taken from the end: in the manifest's order, from a random place on."""
    queues: dict[Hashable, list[int]] = defaultdict(list)
    for row in reversed(range(len(clips))):
        queues[clips[row].speaker].append(row)
    for queue in queues.values():
        place = rng.randrange(len(queue))
        queue[:] = queue[place:] + queue[:place]
    return queues


def _utterances(batch: Sequence[Window]) -> int:
    return sum(len(window.rows) for window in batch)


def _halves(batch: list[Window]) -> list[list[Window]]:
    """A batch as two; that of a single window becomes two windows."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[:middle], batch[middle:]]
    rows, frames, seed = batch[0]
    return [[Window(rows[: len(rows) // 2], frames, seed)], [Window(rows[len(rows) // 2 :], frames, seed)]]
