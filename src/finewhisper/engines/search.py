"""Greedy and beam search in numpy, for engines whose library runs one step of the decoder and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from finewhisper.engines.rules import Rules, Scores, log_sum_exp

Indices = npt.NDArray[np.int64]


class Decoder(Protocol):
    """The network with its memory of the tokens so far, one row for each hypothesis."""

    def step(self, tokens: Indices) -> Scores:
        """Feed one token to each row; the logits of the next, (rows, vocabulary)."""

    def reorder(self, parents: Indices) -> None:
        """Let row ``n`` go on from what row ``parents[n]`` of the same clip has heard so far."""

    def keep(self, rows: Indices) -> None:
        """Forget all rows but these; the same row may be kept several times."""


@dataclass(frozen=True)
class Found:
    """What was written for one clip."""

    tokens: tuple[int, ...]  #: without the end token
    logprob: float  #: summed over the tokens, and the end token where it was written
    ended: bool

    @property
    def avg_logprob(self) -> float:
        return self.logprob / max(len(self.tokens) + self.ended, 1)


def greedy(decoder: Decoder, logits: Scores, rules: Rules, max_tokens: int, temperature: float = 0.0, seed: int = 0) -> list[Found]:
    """The likeliest token at each step, for every row by itself; with a temperature, one drawn by chance.

    Args:
        logits: of the first token after the prompt, (rows, vocabulary).
        max_tokens: how many tokens a row may have, its end token included.
        seed: of the chance, which is each row's own, so that what is drawn does not depend on the other rows.
    """
    chances = [np.random.default_rng(seed) for _ in logits] if temperature else []
    written: list[list[int]] = [[] for _ in logits]
    logprobs = np.zeros(len(logits))
    running = fed = np.arange(len(logits))  # rows without an end, and those in the decoder's memory
    for step in range(max_tokens):
        current = logits[np.searchsorted(fed, running)]
        scores = current.copy()
        rules.apply(scores, [written[row] for row in running])
        if temperature:  # the largest sum of a score and Gumbel noise is a draw from the softmax (Gumbel 1954)
            scores = scores / temperature + np.stack([chances[row].gumbel(size=scores.shape[-1]) for row in running])
        chosen = scores.argmax(axis=-1)
        logprobs[running] += np.take_along_axis(current, chosen[:, None], axis=-1)[:, 0] - log_sum_exp(current)
        for row, token in zip(running, chosen, strict=True):
            written[row].append(int(token))
        running = running[chosen != rules.end_of_text]
        if not len(running) or step == max_tokens - 1:
            break
        if len(running) <= len(fed) // 2:  # copying the memory costs, so rows are dropped when they are many
            decoder.keep(np.searchsorted(fed, running))
            fed = running
        logits = decoder.step(np.array([written[row][-1] for row in fed]))
    return [_found(tokens, float(logprob), rules.end_of_text) for tokens, logprob in zip(written, logprobs, strict=True)]


def beam(decoder: Decoder, logits: Scores, rules: Rules, max_tokens: int, size: int) -> list[Found]:
    """The hypothesis with the highest mean log-probability among those that ``size`` beams for each clip meet.

    A clip is done when ``size`` of its hypotheses have ended, as in OpenAI's decoder.
    """
    clips = [_Beams([[]], np.zeros(1), []) for _ in logits]
    for step in range(max_tokens):
        scores = logits - log_sum_exp(logits)[:, None]
        rules.apply(scores, [tokens for clip in clips for tokens in clip.tokens])
        width = len(clips[0].tokens)
        parents: list[int] = []
        for index, clip in enumerate(clips):
            rows = slice(index * width, (index + 1) * width)
            parents += [index * width + parent for parent in clip.extend(scores[rows], size, rules.end_of_text)]
        if all(clip.done(size) for clip in clips) or step == max_tokens - 1:
            break
        if width < size:  # one row for each clip so far
            decoder.keep(np.array(parents))
        else:
            decoder.reorder(np.array(parents))
        logits = decoder.step(np.array([tokens[-1] for clip in clips for tokens in clip.tokens]))
    return [clip.best() for clip in clips]


@dataclass
class _Beams:
    """The hypotheses of one clip: those that go on, and those that have ended."""

    tokens: list[list[int]]
    logprobs: npt.NDArray[np.float64]
    ended: list[Found]

    def done(self, size: int) -> bool:
        return len(self.ended) >= size

    def extend(self, scores: Scores, size: int, end: int) -> list[int]:
        """Go on with the ``size`` likeliest continuations; the row that each comes from."""
        if self.done(size):  # rows stay in step with the other clips
            self.tokens = [[*tokens, end] for tokens in self.tokens]
            return list(range(len(self.tokens)))
        total = (self.logprobs[:, None] + scores).ravel()
        count = 2 * size  # at most half of them end
        likeliest = np.argpartition(-total, count)[:count]
        likeliest = likeliest[np.argsort(-total[likeliest], kind="stable")]
        parents: list[int] = []
        tokens: list[list[int]] = []
        logprobs: list[float] = []
        for parent, token, logprob in zip(*np.divmod(likeliest, scores.shape[1]), total[likeliest], strict=True):
            if token == end:
                if not self.done(size) and np.isfinite(logprob):
                    self.ended.append(Found(tuple(self.tokens[parent]), float(logprob), ended=True))
            elif len(tokens) < size:
                parents.append(int(parent))
                tokens.append([*self.tokens[parent], int(token)])
                logprobs.append(logprob)
        self.tokens, self.logprobs = tokens, np.array(logprobs)
        return parents

    def best(self) -> Found:
        running = [Found(tuple(tokens), float(logprob), ended=False) for tokens, logprob in zip(self.tokens, self.logprobs, strict=True)]
        return max(self.ended or running, key=lambda found: found.avg_logprob)


def _found(tokens: Sequence[int], logprob: float, end: int) -> Found:
    ended = bool(tokens) and tokens[-1] == end
    return Found(tuple(tokens[:-1] if ended else tokens), logprob, ended)
