"""From attention to times: the monotone path through a matrix of tokens and moments, for many matrices at once.

The steps are OpenAI's (``whisper/timing.py``): attention is standardised over the tokens, smoothed over time by a median, averaged over
the heads, and dynamic time warping finds the path with the most attention on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finewhisper.audio import Seconds

Matrices = npt.NDArray[np.float32]  # (matrices, tokens, moments)
Starts = npt.NDArray[np.intp]  # (matrices, tokens)

#: One position of the encoder's output.
MOMENT_S: Seconds = 0.02
_MEDIAN_WIDTH = 7  # moments


def prepared(attention: Matrices) -> Matrices:
    """Standardise over tokens and smooth over time, as OpenAI does; all tokens of the decoder's input have to be in it."""
    deviation, mean = attention.std(axis=1, keepdims=True), attention.mean(axis=1, keepdims=True)
    return _median((attention - mean) / np.maximum(deviation, 1e-9))


def _median(matrices: Matrices) -> Matrices:
    half = _MEDIAN_WIDTH // 2
    padded = np.pad(matrices, ((0, 0), (0, 0), (half, half)), mode="reflect")
    smooth: Matrices = np.median(np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN_WIDTH, axis=-1), axis=-1).astype(np.float32)
    return smooth


def starts(matrices: Matrices) -> Starts:
    """The moment at which each token begins: where the path of dynamic time warping enters its row.

    All matrices are warped together, one anti-diagonal after the other, for whose cells do not depend on one another.
    """
    count, rows, columns = matrices.shape
    moves = np.zeros((rows + columns - 1, count, rows), dtype=np.int8)  # by anti-diagonal; 0: both back, 1: a token back, 2: a moment back
    before = np.full((count, rows + 1), np.inf, dtype=np.float32)  # costs on the last anti-diagonal, row i at i + 1
    earlier = before.copy()
    earlier[:, 0] = 0.0  # the path starts before the first token and moment
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        choices = np.stack([earlier[:, row], before[:, row], before[:, row + 1]])
        moves[diagonal][:, row] = choices.argmin(axis=0)
        now = np.full_like(before, np.inf)
        now[:, row + 1] = choices.min(axis=0) - matrices[:, row, diagonal - row]
        earlier, before = before, now
    return _entered(moves, rows, columns)


def _entered(moves: npt.NDArray[np.int8], rows: int, columns: int) -> Starts:
    """Walk every path back from its end, and note the first moment of each row."""
    count = moves.shape[1]
    matrices = np.arange(count)
    row, column = np.full(count, rows - 1), np.full(count, columns - 1)
    found = np.zeros((count, rows), dtype=np.intp)
    while (row >= 0).any():
        inside = row >= 0
        found[matrices[inside], row[inside]] = column[inside]
        move = moves[np.maximum(row + column, 0), matrices, np.maximum(row, 0)]
        row = np.where(inside & (move != 2), row - 1, row)
        column = np.where(inside & (move != 1), column - 1, column)
    return found


def errors(matrices: Matrices, boundaries: Sequence[tuple[int, Seconds]]) -> npt.NDArray[np.float64]:
    """How far each matrix's times are from known ones: seconds, (matrices, boundaries).

    Args:
        boundaries: rows of the matrices and when their tokens begin.
    """
    rows, times_s = np.array([row for row, _ in boundaries]), np.array([at_s for _, at_s in boundaries])
    distances: npt.NDArray[np.float64] = np.abs(starts(matrices)[:, rows] * MOMENT_S - times_s)
    return distances
