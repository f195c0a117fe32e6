"""Which token may come next: the rules of OpenAI's decoder, in numpy, for engines that sample by themselves.

Source: ``SuppressTokens``, ``SuppressBlank`` and ``ApplyTimestampRules`` of ``whisper/decoding.py``, with the correction of times that
repeat as transformers has it. Scores are logits or log-probabilities; what is not allowed becomes minus infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.vocabulary import Vocabulary

Scores = npt.NDArray[np.float32]  # (rows, vocabulary)

#: A window's first time lies within its first second (Radford et al. 2022, section 4.5), in steps of 20 ms.
_MAX_INITIAL_TIMESTAMP = 50


@dataclass(frozen=True)
class Rules:
    """The tokens that a model never writes, those that it does not begin with, and the order of times."""

    suppressed: npt.NDArray[np.int64]
    suppressed_first: npt.NDArray[np.int64]
    timestamps: bool  #: times are wanted; without them none of the rules about times holds
    end_of_text: int
    no_timestamps: int
    first_timestamp: int
    max_initial_timestamp: int | None = field(default=_MAX_INITIAL_TIMESTAMP)  #: in steps of 20 ms; None: any

    @classmethod
    def read(cls, generation: Mapping[str, Any], vocabulary: Vocabulary, *, timestamps: bool) -> Rules:
        """From the content of ``generation_config.json``."""
        return cls(
            np.array(generation.get("suppress_tokens") or [], dtype=np.int64),
            np.array(generation.get("begin_suppress_tokens") or [], dtype=np.int64),
            timestamps,
            vocabulary.end_of_text,
            vocabulary.no_timestamps,
            vocabulary.first_timestamp,
            generation.get("max_initial_timestamp_index", _MAX_INITIAL_TIMESTAMP),
        )

    def apply(self, scores: Scores, written: Sequence[Sequence[int]]) -> None:
        """Forbid tokens in ``scores``, in place, given what each row has written after its prompt."""
        scores[:, self.suppressed] = -np.inf
        for row, tokens in zip(scores, written, strict=True):
            if not tokens:
                row[self.suppressed_first] = -np.inf
            if self.timestamps:
                self._order_times(row, tokens)
                self._prefer_times(row)

    def _order_times(self, row: npt.NDArray[np.float32], tokens: Sequence[int]) -> None:
        """Times come in pairs of end and start, never earlier than before; a window begins with one."""
        first = self.first_timestamp
        row[self.no_timestamps] = -np.inf
        if not tokens:
            row[:first] = -np.inf
            if self.max_initial_timestamp is not None:
                row[first + self.max_initial_timestamp + 1 :] = -np.inf
            return
        after_time = tokens[-1] >= first
        after_pair = after_time and (len(tokens) < 2 or tokens[-2] >= first)  # a window's first time is a start, and needs text
        if after_pair:
            row[first:] = -np.inf
        elif after_time:
            row[: self.end_of_text] = -np.inf
        latest = next((token for token in reversed(tokens) if token >= first), first - 1)
        row[first : latest if after_time and not after_pair else latest + 1] = -np.inf

    def _prefer_times(self, row: npt.NDArray[np.float32]) -> None:
        """A time is written where times together are more likely than any single other token."""
        times, others = row[self.first_timestamp :], row[: self.first_timestamp]
        if log_sum_exp(times) > others.max():
            others[:] = -np.inf


def log_sum_exp(scores: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The logarithm of the summed exponentials over the last axis; minus infinity where all are."""
    largest = scores.max(axis=-1, keepdims=True)
    largest = np.where(np.isfinite(largest), largest, 0.0)
    with np.errstate(divide="ignore"):
        summed = np.log(np.exp(scores - largest).sum(axis=-1))
    return np.asarray(summed + largest[..., 0], dtype=np.float32)
