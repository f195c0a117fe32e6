"""Times from attention are those that transformers finds, which has the steps from OpenAI."""

from __future__ import annotations

import numpy as np
import pytest

from finewhisper.align.paths import errors, prepared, starts


def reference_starts(matrix: np.ndarray) -> np.ndarray:
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping

    rows, columns = _dynamic_time_warping(-matrix.astype(np.float64))
    return columns[np.pad(np.diff(rows), (1, 0), constant_values=1).astype(bool)]


@pytest.mark.parametrize("shape", [(3, 5, 40), (2, 1, 7), (2, 9, 9), (4, 12, 5), (2, 6, 1)])
def test_the_paths_are_those_of_transformers(shape: tuple[int, int, int]) -> None:
    matrices = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(starts(matrices), np.stack([reference_starts(matrix) for matrix in matrices]))


def test_attention_is_prepared_as_in_transformers() -> None:
    import torch
    from transformers.models.whisper.generation_whisper import _median_filter

    attention = np.random.default_rng(1).random((3, 6, 50)).astype(np.float32)
    weights = torch.from_numpy(attention)
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    expected = _median_filter((weights - mean) / deviation, 7)
    np.testing.assert_allclose(prepared(attention), expected.numpy(), atol=1e-5)


def test_a_head_that_follows_the_speech_is_told_from_one_that_looks_anywhere() -> None:
    rows, columns = 10, 200
    follows = np.full((rows, columns), 0.01, dtype=np.float32)
    for row in range(rows):
        follows[row, row * 20 : row * 20 + 20] = 1.0
    anywhere = np.random.default_rng(2).random((rows, columns)).astype(np.float32)
    found = errors(prepared(np.stack([follows, anywhere])), [(3, 1.2), (7, 2.8)])
    np.testing.assert_allclose(found[0], 0.0, atol=0.021)
    assert found[1].mean() > 0.1
