"""A tokenizer from whatever a CTranslate2 folder holds: ``tokenizer.json``, or the list of tokens alone.

Byte-level BPE has no more in it than the list: a token's number is its rank, and merges are tried in the order of ranks, so the merge
that made a token is the pair that remains when all earlier merges were applied to its bytes.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from finewhisper.errors import ModelError
from finewhisper.vocabulary import TIMESTAMP_TOKENS

_END, _START, _NO_TIMESTAMPS = "<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"


def read_tokenizer(folder: Path, size: int) -> Tokenizer:
    """The tokenizer of a CTranslate2 folder whose model has ``size`` tokens.

    Raises:
        ModelError: neither ``tokenizer.json`` nor a vocabulary file is there or fits the model.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return rebuild(read_vocabulary(folder, size))
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception for every malformed file
        raise ModelError(f"{path}: cannot be read as a tokenizer ({error}); delete it to rebuild it from the vocabulary file") from error
    found = tokenizer.get_vocab_size()
    if found not in {size, size - len(TIMESTAMP_TOKENS)}:  # some .en folders leave the times out; Vocabulary adds them
        raise ModelError(f"{path}: has {found} tokens, but the model has {size}; it belongs to another model")
    return tokenizer


def read_vocabulary(folder: Path, size: int) -> list[str]:
    """The tokens of ``vocabulary.json`` or ``vocabulary.txt`` in the order of their ids.

    Raises:
        ModelError: there is neither, or it does not fit the model.
    """
    as_json, as_text = folder / "vocabulary.json", folder / "vocabulary.txt"
    if as_json.is_file():
        path, tokens = as_json, json.loads(as_json.read_text(encoding="utf-8"))
    elif as_text.is_file():
        path, tokens = as_text, as_text.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    else:
        raise ModelError(f"{folder}: has no tokenizer.json, vocabulary.json or vocabulary.txt; copy one from the original model")
    if len(tokens) != size or _NO_TIMESTAMPS not in tokens:
        raise ModelError(f"{path}: has {len(tokens)} tokens, but the model has {size}; it belongs to another model")
    return list(tokens)


def rebuild(tokens: list[str]) -> Tokenizer:
    """A byte-level BPE tokenizer from Whisper's list of tokens, encoding exactly as the original."""
    first_special, first_time = tokens.index(_END), tokens.index(_NO_TIMESTAMPS) + 1
    ranks = {token: rank for rank, token in enumerate(tokens[:first_special])}
    tokenizer = Tokenizer(models.BPE(vocab=ranks, merges=_merges(ranks)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens[first_special:first_time]])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=True) for token in tokens[first_time:]])
    start = f"{_START} {_NO_TIMESTAMPS}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {_END}",
        pair=f"{start} $A $B:1 {_END}:1",
        special_tokens=[(token, tokens.index(token)) for token in (_START, _NO_TIMESTAMPS, _END)],
    )
    return tokenizer


def _merges(ranks: dict[str, int]) -> list[tuple[str, str]]:
    pairs = (_last_pair(token, ranks) for token in ranks if len(token) > 1)
    return [pair for pair in pairs if pair is not None]


def _last_pair(token: str, ranks: dict[str, int]) -> tuple[str, str] | None:
    """Apply every merge older than ``token`` to its characters; None where more than two pieces remain."""
    pieces = list(token)
    while len(pieces) > 2:
        joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(pieces)]
        best = min(range(len(joined)), key=joined.__getitem__)
        if joined[best] >= ranks[token]:
            return None
        pieces[best : best + 2] = [pieces[best] + pieces[best + 1]]
    return pieces[0], pieces[1]
