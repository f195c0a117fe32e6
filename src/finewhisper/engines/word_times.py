"""When each word is said: from a decoder's attention to the audio, by dynamic time warping, as Whisper's authors do it.

A few of the decoder's heads look at the audio that is being written ("alignment heads"). Their weights, each normalised over the tokens and
smoothed over time, are averaged; the cheapest path through them that only moves forward gives each token its time.
https://github.com/openai/whisper/blob/main/whisper/timing.py is the reference that the results are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from finewhisper.audio import FRAMES_PER_SECOND, TIMESTAMP_STEP_S, Seconds
from finewhisper.transcript import UNSPACED, Segment, Word
from finewhisper.vocabulary import Vocabulary

Weights = npt.NDArray[np.float32]  # (heads, tokens + 1, positions): what looks at the audio while a token, or at last the end, is written
Matrix = npt.NDArray[np.float64]

Loudness = npt.NDArray[np.float32]  # (frames,)

_MEDIAN_WIDTH = 7  # positions
#: A frame is quiet below this share of the way from a clip's softest tenth to its loudest; quiet shorter than this is part of a word.
_QUIET_SHARE, _SHORTEST_PAUSE_S = 0.25, 0.1
#: Punctuation that belongs to the word after it, and to the word before it.
_OPENING, _CLOSING = "\"'“‘¿¡([{-«「『（《〈【", "\"'.。,，!！?？:：;；”’)]}、…»」』）》〉】"
_REPLACEMENT = "\ufffd"  # what half a character decodes to


@dataclass(frozen=True)
class TokenTimes:
    """When the tokens of one clip's text begin."""

    starts_s: tuple[Seconds, ...]  #: one for each token, and the end of the last
    probabilities: tuple[float, ...]  #: one for each token


def token_starts(weights: Weights) -> tuple[Seconds, ...]:
    """The times at which tokens begin, from the attention of the alignment heads over the clip's positions of 20 ms."""
    return path_starts(normalized(weights).mean(axis=0, dtype=np.float64))


def normalized(weights: Weights) -> Weights:
    """The weights of each head, relative to those of its other tokens and smoothed over time."""
    spread = np.maximum(weights.std(axis=1, keepdims=True), 1e-10)
    return _median((weights - weights.mean(axis=1, keepdims=True)) / spread)


def path_starts(weights: Matrix) -> tuple[Seconds, ...]:
    """The times at which tokens begin on the path with the most of some normalized weights (tokens + 1, positions)."""
    return tuple(float(position) * TIMESTAMP_STEP_S for position in first_columns(-weights))


def _median(weights: Weights) -> Weights:
    """The median of seven neighbours in time; the ends are reflected."""
    half = _MEDIAN_WIDTH // 2
    if weights.shape[-1] <= half:
        return weights
    padded = np.pad(weights, ((0, 0), (0, 0), (half, half)), mode="reflect")
    neighbours = np.lib.stride_tricks.sliding_window_view(padded, _MEDIAN_WIDTH, axis=-1)
    return np.asarray(np.partition(neighbours, half, axis=-1)[..., half])


def first_columns(cost: Matrix) -> list[int]:
    """Where the cheapest path from the first to the last corner of ``cost`` (rows, columns) enters each row.

    The path moves one row, one column or both at a time. Within a row its cost is a running minimum, so whole rows are computed at once.
    """
    rows, columns = cost.shape
    total = np.empty((rows, columns))
    total[0] = np.cumsum(cost[0])
    for row in range(1, rows):
        entry = np.minimum(total[row - 1], np.concatenate([[np.inf], total[row - 1, :-1]]))
        along = np.cumsum(cost[row])
        total[row] = along + np.minimum.accumulate(entry - (along - cost[row]))
    return _entries(total)


def _entries(total: Matrix) -> list[int]:
    """Walk back from the last corner of accumulated costs."""
    row, column = total.shape[0] - 1, total.shape[1] - 1
    entries = [0] * total.shape[0]
    while row > 0:
        above, left = total[row - 1, column], total[row, column - 1] if column else np.inf
        diagonal = total[row - 1, column - 1] if column else np.inf
        if left < min(above, diagonal):
            column -= 1
            continue
        entries[row] = column
        row -= 1
        column -= int(diagonal <= above)
    return entries


def split_words(vocabulary: Vocabulary, tokens: Sequence[int], language: str) -> list[list[int]]:
    """Text tokens grouped to words with their punctuation; to characters in scripts without spaces."""
    units = _characters(vocabulary, tokens)
    texts = [vocabulary.decode(unit) for unit in units]
    words: list[list[int]] = []
    bound = False  # to the word before: an opening bracket
    for unit, text in zip(units, texts, strict=True):
        closing = bool(text.strip()) and not text.startswith(" ") and all(mark in _CLOSING for mark in text.strip())
        begins = language in UNSPACED or text.startswith(" ") or not words
        if bound or (words and (closing or not begins)):
            words[-1] += unit
        else:
            words.append(list(unit))
        bound = bool(text.strip()) and begins and all(mark in _OPENING for mark in text.strip()) and not closing
    return words


def _characters(vocabulary: Vocabulary, tokens: Sequence[int]) -> list[list[int]]:
    """Tokens grouped so that no character is torn: many have two or three tokens."""
    groups: list[list[int]] = []
    open_group: list[int] = []
    for token in tokens:
        open_group.append(token)
        if _REPLACEMENT not in vocabulary.decode(open_group):
            groups.append(open_group)
            open_group = []
    return [*groups, open_group] if open_group else groups


def with_words(
    vocabulary: Vocabulary,
    segments: Sequence[Segment],
    tokens: Sequence[Sequence[int]],
    times: TokenTimes,
    language: str,
    loudness: Loudness | None = None,
) -> list[Segment]:
    """Segments with their words, whose times run forward inside their segment.

    Args:
        tokens: the text tokens of each segment.
        times: of all these tokens in a row.
        loudness: of each 10 ms of the clip, for leaving out the pauses that the attention counts to a word.
    """
    found, first = [], 0
    quiet = None if loudness is None else _quiet(loudness)
    for segment, own in zip(segments, tokens, strict=True):
        words = _words(vocabulary, segment, own, times, first, language)
        found.append(replace(segment, words=tuple(words if quiet is None else [_without_pauses(word, quiet) for word in words])))
        first += len(own)
    return found


def _words(vocabulary: Vocabulary, segment: Segment, tokens: Sequence[int], times: TokenTimes, first: int, language: str) -> list[Word]:
    words: list[Word] = []
    earliest_s = segment.start_s
    for group in split_words(vocabulary, tokens, language):
        start_s, end_s = times.starts_s[first], times.starts_s[first + len(group)]
        start_s = min(max(start_s, earliest_s), segment.end_s)
        end_s = min(max(end_s, start_s), segment.end_s)
        text = vocabulary.decode(group).strip()
        if text:
            words.append(Word(text, start_s, end_s, float(np.mean(times.probabilities[first : first + len(group)]))))
            earliest_s = end_s
        first += len(group)
    return words


def _quiet(loudness: Loudness) -> npt.NDArray[np.bool_]:
    """Which frames are much softer than the speech."""
    if not len(loudness):
        return np.zeros(0, dtype=bool)
    soft, loud = np.quantile(loudness, [0.1, 0.9])
    return np.asarray(loudness < soft + _QUIET_SHARE * (loud - soft))


def _without_pauses(word: Word, quiet: npt.NDArray[np.bool_]) -> Word:
    """The word without the quiet before and after it."""
    first, last = round(word.start_s * FRAMES_PER_SECOND), round(word.end_s * FRAMES_PER_SECOND)
    spoken = np.flatnonzero(~quiet[first:last])
    if not len(spoken):
        return word
    start_s, end_s = (first + spoken[0]) / FRAMES_PER_SECOND, (first + spoken[-1] + 1) / FRAMES_PER_SECOND
    return replace(
        word,
        start_s=float(start_s) if start_s - word.start_s >= _SHORTEST_PAUSE_S else word.start_s,
        end_s=float(end_s) if word.end_s - end_s >= _SHORTEST_PAUSE_S else word.end_s,
    )
