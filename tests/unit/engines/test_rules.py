"""The rules against transformers' own logits processors, on random scores and on any order of words and times."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    GenerationConfig,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

from finewhisper.engines.rules import Rules, log_sum_exp
from finewhisper.vocabulary import Vocabulary

#: A vocabulary in small: words 0-9, the end, the token for no times, times.
END, NO_TIMES, FIRST, SIZE = 10, 11, 12, 40
SUPPRESSED, SUPPRESSED_FIRST = [3, 7], [2, END]


def rules(*, timestamps: bool, limit: int | None = 5) -> Rules:
    return Rules(np.array(SUPPRESSED), np.array(SUPPRESSED_FIRST), timestamps, END, NO_TIMES, FIRST, limit)


def reference(scores: np.ndarray, written: list[int], *, timestamps: bool, limit: int | None) -> np.ndarray:
    config = GenerationConfig(eos_token_id=END)
    config.no_timestamps_token_id, config.max_initial_timestamp_index = NO_TIMES, limit
    processors = [SuppressTokensLogitsProcessor(SUPPRESSED), SuppressTokensAtBeginLogitsProcessor(SUPPRESSED_FIRST, 1)]
    if timestamps:
        processors.append(WhisperTimeStampLogitsProcessor(config, begin_index=1))
    tokens, found = torch.tensor([[0, *written]]), torch.from_numpy(scores[None].copy())
    for processor in processors:
        found = processor(tokens, found)
    return found[0].numpy()


@given(
    written=st.lists(st.integers(0, SIZE - 1).filter(lambda token: token not in (END, NO_TIMES)), max_size=6),
    seed=st.integers(0, 1000),
    timestamps=st.booleans(),
    limit=st.sampled_from([None, 0, 5]),
)
def test_what_may_come_next_is_what_transformers_allows(written: list[int], seed: int, timestamps: bool, limit: int | None) -> None:
    scores = np.random.default_rng(seed).normal(0, 3, (2, SIZE)).astype(np.float32)
    expected = reference(scores[0], written, timestamps=timestamps, limit=limit)
    rules(timestamps=timestamps, limit=limit).apply(scores, [written, []])
    np.testing.assert_array_equal(scores[0], expected)


def test_sums_of_exponentials_stay_finite() -> None:
    scores = np.array([[1000.0, 1000.0], [-1000.0, -1000.0], [-np.inf, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(log_sum_exp(scores), [1000 + np.log(2), -1000 + np.log(2), 0.0], rtol=1e-6)
    assert log_sum_exp(np.full(3, -np.inf, dtype=np.float32)) == -np.inf


@pytest.mark.parametrize(("content", "limit"), [({}, 50), *(({"max_initial_timestamp_index": limit}, limit) for limit in (None, 9))])
def test_rules_come_from_the_generation_config(vocabularies: dict[str, Vocabulary], content: dict[str, Any], limit: int | None) -> None:
    found = Rules.read({"suppress_tokens": [5], "begin_suppress_tokens": None, **content}, vocabularies["v2"], timestamps=True)
    assert found.suppressed.tolist() == [5]
    assert found.suppressed_first.tolist() == []
    assert found.max_initial_timestamp == limit
    assert (found.end_of_text, found.no_timestamps, found.first_timestamp) == (50257, 50363, 50364)
