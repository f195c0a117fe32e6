"""Which utterances are heard together, and in what context: decided before any audio is read.

Padding is the price of batching: AISHELL's clips last 4.5 s and cost 30 s when padded. Here a batch holds neighbours in length, and its
context is the longest clip and a random margin. A share of the batches are full 30 s windows, because a model that never meets them
becomes weaker in tools that pad. Their silence is condensed (:mod:`finewhisper.whisper`) into about thirty positions, so that such a
window costs a clip's length and two thirds of a second more. Some full windows hold several clips of one speaker, one after the other, up
to a length that is drawn at random: they keep long windows, and the times in them, alive.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch.utils.data import Sampler

from finewhisper.audio import FRAMES_PER_SECOND, WINDOW_FRAMES, WINDOW_S, Seconds
from finewhisper.features import context_frames
from finewhisper.training.config import FinetuneConfig
from finewhisper.vocabulary import MAX_TOKENS

#: Positions of a full window in the encoder: one for two frames.
WINDOW_POSITIONS = WINDOW_FRAMES // 2
#: Silence that ends a batch's context where condensed silence follows, which continues it.
QUIET_S: Seconds = 0.1
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
    silence: tuple[int, ...] = ()  #: widths of the blocks of condensed silence after it, of a full window; positions


@dataclass(frozen=True)
class BatchPlan:
    """How batches are formed; see the options of the same names."""

    batch_size: int
    batch_seconds: Seconds
    margin_s: tuple[Seconds, Seconds]
    full_window_share: float
    seed: int
    epochs: int
    stitched_share: float = 0.0
    no_speech_share: float = 0.0

    @classmethod
    def of(cls, config: FinetuneConfig) -> BatchPlan:
        """The plan that a run's options ask for."""
        return cls(
            config.batch_size,
            float(config.batch_seconds),  # "auto" has been replaced by a number by then
            config.margin_s,
            config.full_window_share,
            config.seed,
            math.ceil(config.epochs),
            config.stitched_share,
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
        self._per_batch = len(rows) / max(len(self._alone(rows, random.Random(plan.seed))), 1)  # noqa: S311 - utterances, about
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

    def stitches(self) -> bool:
        """Whether any window holds several clips."""
        epochs = (self._epoch(epoch) for epoch in range(self.plan.epochs))
        return any(len(window.rows) > 1 for batches in epochs for batch in batches for window in batch)

    def _epoch(self, epoch: int) -> list[list[Window]]:
        rng = random.Random(f"batches {self.plan.seed} {epoch}")  # noqa: S311
        stitched, rest = self._stitched(rng)
        return stitched + self._alone(rest, rng)

    @property
    def _stitched_share(self) -> float:
        return min(self.plan.stitched_share, self.plan.full_window_share)

    def _stitched(self, rng: random.Random) -> tuple[list[list[Window]], list[int]]:
        """Batches of full windows that hold several clips, until they have their share; also the rows that are left."""
        most_windows = max(1, int(self.plan.batch_seconds / WINDOW_S))
        queues = _neighbours(self.clips, rng)
        turns = self._turns(queues, rng)
        left, batches = len(self.clips), list[list[Window]]()
        while left and len(batches) < self._stitched_share * (len(batches) + left / self._per_batch):
            fill_s = rng.uniform(0.0, WINDOW_S)  # of all windows of a batch, for they share a context
            members, room = list[tuple[int, ...]](), self.plan.batch_size
            while left and room > 0 and len(members) < most_windows:
                members.append(self._fill(next(turns), room, fill_s))
                room, left = room - len(members[-1]), left - len(members[-1])
            windows = self._batch(members, rng, full=True)
            batches.append(windows + self._silent(windows, rng))
        rest = [row for queue in queues.values() for row in queue]
        rng.shuffle(rest)
        return batches, rest

    def _turns(self, queues: dict[Hashable, list[int]], rng: random.Random) -> Iterator[list[int]]:
        """Whose window comes next: speakers at random, as often as they have clips, until all are taken."""
        rows = list(range(len(self.clips)))
        rng.shuffle(rows)
        return (queue for row in rows if (queue := queues[self.clips[row].speaker]))

    def _fill(self, queue: list[int], most: int, fill_s: Seconds) -> tuple[int, ...]:
        """Take the clips of one window: one, and more while they fit into ``fill_s``."""
        members = [queue.pop()]
        while queue and len(members) < most:
            extended = (*members, queue[-1])
            if self._length_s(extended) > fill_s or sum(self.clips[row].tokens for row in extended) > _TEXT_TOKENS:
                break
            members.append(queue.pop())
        return tuple(members)

    def _length_s(self, rows: Sequence[int]) -> Seconds:
        """The clips of a window with the longest pauses between them."""
        return sum(self.clips[row].duration_s for row in rows) + LONGEST_PAUSE_S * (len(rows) - 1)

    def _alone(self, rows: list[int], rng: random.Random) -> list[list[Window]]:
        """Batches of one clip a window; as many of them are full windows as the share still asks for, evenly from short to long."""
        groups = self._by_length(rows, rng)
        share = (self.plan.full_window_share - self._stitched_share) / (1 - self._stitched_share) if self._stitched_share < 1 else 1.0
        place = rng.random()
        batches = []
        for group in groups:
            before, place = place, place + share
            windows = self._batch([(row,) for row in group], rng, full=math.floor(place) > math.floor(before))
            batches.append(windows + self._silent(windows, rng))
        return batches

    def _by_length(self, rows: list[int], rng: random.Random) -> list[list[int]]:
        """Cut the utterances, sorted by length with a little noise, into groups within both limits."""
        lengths_s = {row: self.clips[row].duration_s * rng.uniform(0.9, 1.1) for row in rows}
        groups, members, longest_s = list[list[int]](), list[int](), 0.0
        for row in sorted(rows, key=lengths_s.__getitem__):
            longest_s = max(longest_s, self.clips[row].duration_s)
            frames = context_frames(longest_s, self.plan.margin_s[1])
            too_long = (len(members) + 1) * frames > self.plan.batch_seconds * FRAMES_PER_SECOND
            if members and (too_long or len(members) == self.plan.batch_size):
                groups.append(members)
                members, longest_s = [], self.clips[row].duration_s
            members.append(row)
        return [*groups, members] if members else groups

    def _batch(self, members: Sequence[tuple[int, ...]], rng: random.Random, *, full: bool) -> list[Window]:
        """Windows of one context: what the longest of them needs and a random margin."""
        margin_s = rng.uniform(*self.plan.margin_s)
        frames = context_frames(max(map(self._length_s, members)), max(margin_s, QUIET_S) if full else margin_s)
        silence = silence_blocks(frames // 2, rng) if full else ()
        return [Window(rows, frames, rng.getrandbits(32), silence) for rows in members]

    def _silent(self, windows: Sequence[Window], rng: random.Random) -> list[Window]:
        """Windows in which nobody speaks, of the context of these, chosen at random in their share."""
        share = self.plan.no_speech_share
        count = math.floor(len(windows) * share / (1 - share) + rng.random()) if share else 0
        return [windows[0]._replace(rows=(), seed=rng.getrandbits(32)) for _ in range(count)]


def silence_blocks(heard: int, rng: random.Random) -> tuple[int, ...]:
    """Widths of blocks that stand for the silence from position ``heard`` to the end of a full window.

    They are narrow beside the speech, where the encoder looks most, and grow to dozens of positions; how fast is drawn at random, so that a
    model cannot learn to expect certain widths. The last position of a window is always its own: it has another value.
    """
    left = WINDOW_POSITIONS - heard - 1
    if left < 0:
        return ()
    width, growth, widest = rng.uniform(1, 4), rng.uniform(1.2, 1.5), rng.uniform(32, 80)
    blocks = list[int]()
    while left > 0:
        blocks.append(min(int(width), left))
        left -= blocks[-1]
        width = min(width * growth, widest)
    return (*blocks, 1)


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
    rows = batch[0].rows
    return [[batch[0]._replace(rows=half)] for half in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
