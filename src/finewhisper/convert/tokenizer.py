"""A tokenizer from whatever a model folder holds: ``tokenizer.json``, or the tokens alone.

Byte-level BPE has no more in it than the list of tokens: a token's number is its rank, and merges are tried in the order of ranks, so
the merge that made a token is the pair that remains when all earlier merges were applied to its characters.
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
    """The tokenizer of a folder whose model has ``size`` tokens.

    Raises:
        ModelError: neither ``tokenizer.json`` nor a vocabulary file is there, or it does not fit the model.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return rebuild(read_tokens(folder, size))
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises bare Exception for every malformed file
        raise ModelError(f"{path}: cannot be read as a tokenizer ({error}); delete it to rebuild it from the vocabulary file") from error
    found = tokenizer.get_vocab_size()
    if found not in {size, size - len(TIMESTAMP_TOKENS)}:  # some .en folders leave the times out; Vocabulary adds them
        raise ModelError(f"{path}: has {found} tokens, but the model has {size}; it belongs to another model")
    return tokenizer


def read_tokens(folder: Path, size: int) -> list[str]:
    """The tokens in the order of their ids, from CTranslate2's vocabulary file or from ``vocab.json`` and ``added_tokens.json``.

    The latter two are what fine-tuning with the slow tokenizer of older transformers leaves; there the times may be missing.

    Raises:
        ModelError: there is no such file, or it does not fit the model.
    """
    for name in ("vocabulary.json", "vocabulary.txt", "vocab.json"):
        path = folder / name
        if path.is_file():
            tokens = _tokens(path)
            break
    else:
        raise ModelError(f"{folder}: has no tokenizer.json, vocabulary.json, vocabulary.txt or vocab.json; copy it from the original model")
    if len(tokens) == size - len(TIMESTAMP_TOKENS):
        tokens += TIMESTAMP_TOKENS
    if len(tokens) != size or _NO_TIMESTAMPS not in tokens:
        raise ModelError(f"{path}: has {len(tokens)} tokens, but the model has {size}; it belongs to another model")
    return tokens


def _tokens(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".txt":
        return text.removesuffix("\n").split("\n")
    try:
        content = json.loads(text)
        if path.name == "vocab.json":
            added = path.with_name("added_tokens.json")
            ids: dict[str, int] = content | (json.loads(added.read_text(encoding="utf-8")) if added.is_file() else {})
            return sorted(ids, key=ids.__getitem__)
        return [str(token) for token in content]
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: cannot be read as a list of tokens ({error}); copy it from the original model") from error


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
