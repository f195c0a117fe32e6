"""Greedy and beam search over a network whose every score is a function of what it was fed, so that a lost or swapped row shows."""

from __future__ import annotations

import numpy as np
import pytest

from finewhisper.engines.rules import Rules, log_sum_exp
from finewhisper.engines.search import Found, beam, greedy

SIZE, END = 30, 29


class History:
    """Remembers each row's tokens; the scores of the next depend on all of them, and on the clip."""

    def __init__(self, clips: int) -> None:
        self.rows: list[tuple[int, ...]] = [(clip,) for clip in range(clips)]

    def logits(self) -> np.ndarray:
        return np.stack([self.of(row) for row in self.rows])

    @staticmethod
    def of(row: tuple[int, ...]) -> np.ndarray:
        scores = np.random.default_rng(row).normal(0, 2, SIZE).astype(np.float32)
        scores[END] += 0.5 * (len(row) - 1)  # ends become likely
        return scores

    def step(self, tokens: np.ndarray) -> np.ndarray:
        assert len(tokens) == len(self.rows)
        self.rows = [(*row, int(token)) for row, token in zip(self.rows, tokens, strict=True)]
        return self.logits()

    def reorder(self, parents: np.ndarray) -> None:
        chosen = [self.rows[parent] for parent in parents]
        assert [row[0] for row in chosen] == [row[0] for row in self.rows], "a row went over to another clip"
        self.rows = chosen

    def keep(self, rows: np.ndarray) -> None:
        self.rows = [self.rows[row] for row in rows]


RULES = Rules(np.array([], dtype=int), np.array([END]), False, END, 0, 0)


def logprob(clip: int, found: Found) -> float:
    """The sum over a hypothesis, from the function itself."""
    tokens = [*found.tokens, *([END] if found.ended else [])]
    scores = [History.of((clip, *tokens[:index])) for index in range(len(tokens))]
    return float(sum(score[token] - log_sum_exp(score) for score, token in zip(scores, tokens, strict=True)))


def test_greedy_takes_the_likeliest_token_of_each_row() -> None:
    decoder = History(9)
    found = greedy(decoder, decoder.logits(), RULES, 40)
    assert len({len(one.tokens) for one in found}) > 2  # rows end at different steps, and some are dropped
    for clip, one in enumerate(found):
        assert one.ended
        for index, token in enumerate([*one.tokens, END]):
            scores = History.of((clip, *one.tokens[:index]))
            scores[END] = -np.inf if index == 0 else scores[END]
            assert token == scores.argmax()
        assert one.logprob == pytest.approx(logprob(clip, one), abs=1e-4)
        assert one.avg_logprob == pytest.approx(one.logprob / (len(one.tokens) + 1))


def test_rows_are_dropped_once_half_of_them_have_ended() -> None:
    decoder = History(9)
    greedy(decoder, decoder.logits(), RULES, 40)
    assert len(decoder.rows) < 9


def test_drawn_tokens_follow_the_softmax_and_depend_on_no_neighbour() -> None:
    logits = np.log(np.array([[0.5, 0.3, 0.1, 0.1], [0.1, 0.1, 0.2, 0.6]], dtype=np.float32))
    rules = Rules(np.array([1]), np.array([], dtype=int), False, 3, 0, 0)
    drawn = [greedy(History(2), logits, rules, 1, temperature=0.5, seed=seed) for seed in range(2000)]
    for row, scores in enumerate(logits):
        allowed = np.exp(2 * scores) * [1, 0, 1, 1]
        words = [3 if both[row].ended else both[row].tokens[0] for both in drawn]
        np.testing.assert_allclose(np.bincount(words, minlength=4) / 2000, allowed / allowed.sum(), atol=0.04)
    assert [greedy(History(1), logits[1:], rules, 1, temperature=0.5, seed=seed)[0] for seed in range(9)] == [both[1] for both in drawn[:9]]


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_no_more_tokens_than_allowed(limit: int) -> None:
    for search in (greedy, lambda *arguments: beam(*arguments, 3)):
        decoder = History(3)
        found = search(decoder, decoder.logits(), RULES, limit)
        assert max(len(one.tokens) + one.ended for one in found) == limit
        assert max(len(row) for row in decoder.rows) == limit  # the clip and what was fed: the last token never is


@pytest.mark.parametrize("size", [2, 5])
def test_beams_keep_their_own_past(size: int) -> None:
    decoder = History(4)
    found = beam(decoder, decoder.logits(), RULES, 12, size)
    for clip, one in enumerate(found):
        assert one.logprob == pytest.approx(logprob(clip, one), abs=1e-4)


def test_a_beam_finds_what_greedy_walks_past() -> None:
    """One first word is a little likelier than the other, but nothing likely follows it."""

    class GardenPath(History):
        @staticmethod
        def of(row: tuple[int, ...]) -> np.ndarray:
            chances = np.full(SIZE, 1e-9)
            if len(row) == 1:
                chances[[1, 2]] = 0.6, 0.4
            elif row[1] == 2:
                chances[END] = 1.0
            else:
                chances[:] = 1 / SIZE
            return np.log(chances / chances.sum()).astype(np.float32)

    decoder = GardenPath(1)
    assert greedy(decoder, decoder.logits(), RULES, 2)[0].tokens[0] == 1
    decoder = GardenPath(1)
    assert beam(decoder, decoder.logits(), RULES, 5, 2)[0].tokens == (2,)
