"""Speculative decoding: a small model drafts some tokens, and the large one checks all of them in one pass.

Reading several tokens takes a large decoder hardly longer than reading one, because its weights are fetched once. What is kept of a
draft is what the large model would have written itself, so that the draft changes nothing but the time (Leviathan et al. 2023, arXiv
2211.17192, for greedy decoding). transformers has the same, but its Whisper would choose the assistant's prompt and windows by itself.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache, LogitsProcessorList

from finewhisper.whisper import LengthAwareWhisper

#: A draft has so many tokens, and ends earlier where the drafting model gives a token less than this probability.
_DRAFTED, _SURE = 12, 0.4


class Reader:
    """A decoder with the keys and values of what it has read for one clip.

    Args:
        states: what the model's own encoder made of the clip, (1, positions, d_model).
    """

    def __init__(self, model: LengthAwareWhisper, states: torch.Tensor) -> None:
        self._model, self._states, self._read = model, states, 0
        self._cache: Any = EncoderDecoderCache(DynamicCache(), DynamicCache())

    def logits(self, tokens: torch.Tensor, count: int) -> torch.Tensor:
        """Read the tokens (1, tokens) that were not read yet; the logits after each of the last ``count``, (count, vocabulary)."""
        hidden = self._model.model.decoder(
            tokens[:, self._read :], encoder_hidden_states=self._states, past_key_values=self._cache, use_cache=True
        ).last_hidden_state
        self._read = tokens.shape[1]
        logits: torch.Tensor = self._model.proj_out(hidden[0, -count:]).float()
        return logits

    def forget(self, kept: int) -> None:
        """Be as if only the first ``kept`` tokens had been read."""
        if self._read > kept:
            self._cache.self_attention_cache.crop(kept - self._read)
            self._read = kept


def greedy(model: Reader, assistant: Reader, prompt: torch.Tensor, rules: LogitsProcessorList, max_tokens: int, end: int) -> torch.Tensor:
    """A prompt (1, tokens) and what ``model`` writes after it, up to the token ``end`` or ``max_tokens``, whatever ``assistant`` drafts."""
    tokens, longest = prompt, prompt.shape[1] + max_tokens
    while tokens.shape[1] < longest and (tokens is prompt or int(tokens[0, -1]) != end):
        count = tokens.shape[1]
        draft = _draft(assistant, tokens, rules, min(count + _DRAFTED, longest - 1), end)
        for place, scores in enumerate(model.logits(draft, draft.shape[1] - count + 1), count):
            chosen = rules(draft[:, :place], scores[None]).argmax(dim=-1, keepdim=True)
            tokens = torch.cat([tokens, chosen], dim=1)
            if place == draft.shape[1] or int(chosen) != int(draft[0, place]) or int(chosen) == end:
                break
        for reader in (model, assistant):
            reader.forget(tokens.shape[1] - 1)  # the last token is to be read yet
    return tokens


def _draft(assistant: Reader, tokens: torch.Tensor, rules: LogitsProcessorList, longest: int, end: int) -> torch.Tensor:
    """``tokens`` and what the assistant is sure of, ``longest`` tokens together at most."""
    while tokens.shape[1] < longest:
        probability, chosen = rules(tokens, assistant.logits(tokens, 1)).softmax(dim=-1).max(dim=-1, keepdim=True)
        if float(probability) < _SURE:
            break
        tokens = torch.cat([tokens, chosen], dim=1)
        if int(chosen) == end:
            break
    return tokens
