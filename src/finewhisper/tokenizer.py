"""A tokenizer from whatever a model folder holds: ``tokenizer.json``, or the tokens alone.

Byte-level BPE has no more in it than the list of tokens: a token's number is its rank, and merges are tried in the order of ranks, so
the merge that made a token is the pair that remains when all earlier merges were applied to its characters.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

from finewhisper import json_values
from finewhisper.errors import ModelError
from finewhisper.language import LANGUAGES
from finewhisper.vocabulary import TIMESTAMP_TOKENS, VOCABULARY_SIZES

_END, _START, _NO_TIMESTAMPS = "<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"
#: Between the languages and the times, in the order of their ids.
_CONTROL = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", _NO_TIMESTAMPS)
#: OpenAI's names for the plain tokens of English-only and multilingual models.
_RANKS = {True: "multilingual.tiktoken", False: "gpt2.tiktoken"}


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
    special = _special_tokens(size)
    if path.name == "vocab.json" and len(tokens) in {size - len(special), size - len(special) + 1}:  # with the end token or without
        tokens = tokens[: size - len(special)] + special
    if len(tokens) == size - len(TIMESTAMP_TOKENS):
        tokens += TIMESTAMP_TOKENS
    if len(tokens) != size or _NO_TIMESTAMPS not in tokens:
        raise ModelError(f"{path}: has {len(tokens)} tokens, but the model has {size}; it belongs to another model")
    return tokens


def _tokens(path: Path) -> list[str]:
    try:
        if path.suffix == ".txt":
            return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        content = json_values.read(path)
        if path.name == "vocab.json":
            ids: dict[str, int] = content | _added(path.parent)
            return sorted(ids, key=ids.__getitem__)
        return [str(token) for token in content]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read as a list of tokens ({error!r}); copy it from the original model") from error


def _added(folder: Path) -> dict[str, int]:
    """The tokens beside ``vocab.json``: older transformers list them in a file of their own, newer ones among the settings."""
    for name in ("added_tokens.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            content = json_values.read(folder / name)
            if name == "added_tokens.json":
                return dict(content)
            return {token["content"]: int(number) for number, token in content.get("added_tokens_decoder", {}).items()}
    return {}


def from_bytes(tokens: Sequence[bytes], size: int, path: Path) -> Tokenizer:
    """The tokenizer of a model of ``size`` tokens from the bytes of its plain ones, as ggml files and OpenAI's rank files hold them.

    Raises:
        ModelError: there are not as many as such a model has.
    """
    special = _special_tokens(size)
    if len(tokens) + len(special) < size or len(set(tokens)) != len(tokens):
        raise ModelError(f"{path}: has {len(tokens)} different tokens of text, a model of {size} tokens has {size - len(special)}")
    letters = _byte_letters()
    return rebuild(["".join(letters[byte] for byte in token) for token in tokens[: size - len(special)]] + special)


def official_tokenizer(folder: Path, size: int) -> Tokenizer:
    """The tokenizer for a checkpoint that comes without any: from a file beside it, or from the package openai-whisper.

    Raises:
        ModelError: neither is there; the message says what to copy.
    """
    if (folder / "tokenizer.json").is_file():
        return read_tokenizer(folder, size)
    name = _RANKS[size != min(VOCABULARY_SIZES)]
    places = [folder / name]
    if (package := find_spec("whisper")) and package.origin:
        places.append(Path(package.origin).parent / "assets" / name)
    for path in places:
        if path.is_file():
            return from_bytes(_ranks(path, size), size, path)
    raise ModelError(
        f"{folder}: the checkpoint holds no tokens; put the tokenizer.json of any Whisper of {size} tokens, {VOCABULARY_SIZES[size]}, "
        "beside it (finewhisper download brings one along), or pip install openai-whisper, which has them"
    )


def _ranks(path: Path, size: int) -> list[bytes]:
    """OpenAI's file of tokens: each line a token in base64 and its rank."""
    try:
        pairs = [line.split() for line in path.read_bytes().splitlines() if line]
        tokens = [base64.b64decode(token) for token, _ in sorted(pairs, key=lambda pair: int(pair[1]))]
    except ValueError as error:
        raise ModelError(f"{path}: cannot be read as a list of tokens ({error}); copy it from openai-whisper") from error
    missing = size - len(_special_tokens(size)) - len(tokens)
    return tokens + [b""] * missing if missing == 1 else tokens  # the multilingual model has an empty token that the file may leave out


def _special_tokens(size: int) -> list[str]:
    """Every token after those of text; large-v3 has one language more than its forerunners."""
    languages = list(LANGUAGES)[: 100 if size == max(VOCABULARY_SIZES) else 99]
    return [_END, _START, *(f"<|{code}|>" for code in languages), *_CONTROL, *TIMESTAMP_TOKENS]


def text_bytes(tokenizer: Tokenizer) -> list[bytes]:
    """The bytes of the plain tokens in the order of their ids: what ``from_bytes`` takes."""
    values = {letter: byte for byte, letter in _byte_letters().items()}
    end = tokenizer.token_to_id(_END)
    assert end is not None  # every Whisper has it
    return [bytes(values[letter] for letter in str(tokenizer.id_to_token(index))) for index in range(end)]


def _byte_letters() -> dict[int, str]:
    """How byte-level BPE spells a byte: printable Latin-1 as it is, the others as the letters from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(0x100 + index) for index, byte in enumerate(others)}


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
