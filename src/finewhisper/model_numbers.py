"""The numbers of a model folder, checked before anybody computes with them.

Engines hand sizes and ids to native code, which ends the process where they are wrong: CTranslate2 indexes its attention by
``alignment_heads``, whisper.cpp allocates what a header claims. So every number that leaves Python lies within the bounds of the largest
Whisper there is, with room, and agrees with the others.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from finewhisper.errors import ModelError

#: What a size may be; large-v3 has 32 layers, 20 heads, 1280 and 5120 dimensions.
_BOUNDS = {
    **dict.fromkeys(("encoder_layers", "decoder_layers"), (1, 128)),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), (1, 128)),
    "d_model": (1, 8192),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), (1, 65_536)),
    "max_source_positions": (1, 1500),
    "max_target_positions": (1, 448),
    "vocab_size": (51_864, 51_866),
    "num_mel_bins": (1, 128),
}
_MOST_TOKENS = 51_866
#: The lists of token ids in configuration files.
_ID_LISTS = ("suppress_tokens", "begin_suppress_tokens", "suppress_ids", "suppress_ids_begin", "lang_ids")
_HEADER_BYTES = 100_000_000  # of a safetensors file, as its library has it
_SAFETENSORS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1), **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4), **dict.fromkeys(("I64", "U64", "F64"), 8),
}  # fmt: skip
#: Bytes of a block and how many values it holds, by ggml's type numbers: f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0.
_GGML_BLOCKS = {0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32)}
_LONGEST_NAME = 1024
#: The numbers at the head of a ggml file, between its magic and its type.
_GGML_MEASURES = (
    "vocab_size", "max_source_positions", "d_model", "encoder_attention_heads", "encoder_layers",
    "max_target_positions", "decoder_width", "decoder_attention_heads", "decoder_layers", "num_mel_bins",
)  # fmt: skip
_COPY = "copy the file from the original model"


def require_sizes(config: Mapping[str, Any], path: Path) -> None:
    """Refuse a Hugging Face ``config.json`` whose sizes are no Whisper's. Raises: ModelError."""
    for name, (low, high) in _BOUNDS.items():
        value = config.get(name, low)
        if not _is_whole(value) or not low <= value <= high:
            raise ModelError(
                f"{path}: {name} must be a whole number from {low} to {high}, not {value!r}; copy the file from the original model"
            )
    for side in ("encoder", "decoder"):
        heads = config.get(f"{side}_attention_heads", 1)
        if config.get("d_model", heads) % heads:
            raise ModelError(f"{path}: d_model {config['d_model']} cannot be shared among {heads} {side}_attention_heads; {_COPY}")


def require_token_ids(content: Mapping[str, Any], path: Path) -> None:
    """Refuse lists of tokens that no Whisper has, in ``generation_config.json`` or CTranslate2's ``config.json``. Raises: ModelError."""
    for name in _ID_LISTS:
        ids = content.get(name) or []
        wrong = ids if not isinstance(ids, list) else next((token for token in ids if not _is_token(token)), None)
        if wrong is not None:
            raise ModelError(f"{path}: {name} has {wrong!r}, which is no token of Whisper's; {_COPY}")


def alignment_heads(stored: Any, *, layers: int, heads: int) -> list[tuple[int, int]]:
    """Those of the stored attention heads that a decoder of so many layers and heads has, as (layer, head).

    Models that were cut down, or put together from several, keep the list of their larger source.
    """
    pairs = stored if isinstance(stored, list) else []
    whole = (tuple(pair) for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_whole, pair)))
    return [(layer, head) for layer, head in whole if 0 <= layer < layers and 0 <= head < heads]


def require_safetensors(path: Path) -> None:
    """Refuse a safetensors file whose header does not describe the rest of it: its library panics on some. Raises: ModelError."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, _HEADER_BYTES):
            raise _damaged(path, "its header is longer than the file")
        try:
            header = json.loads(stream.read(length))
            described = [(name, *_described(entry)) for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged(path, f"its header is not one of safetensors ({error!r})") from error
    end = 0
    for name, begin, stop, wanted in sorted(described, key=lambda entry: entry[1:3]):
        if begin != end or stop - begin != wanted:
            raise _damaged(path, f"{name} has not the bytes that its shape needs")
        end = stop
    if end != size - 8 - length:
        raise _damaged(path, f"its tensors need {end} bytes, and {size - 8 - length} are there")


def _described(entry: Mapping[str, Any]) -> tuple[int, int, int]:
    """Where a tensor begins and ends, and how many bytes its shape needs."""
    begin, stop = entry["data_offsets"]
    if not all(map(_is_whole, (begin, stop, *entry["shape"]))) or min((begin, *entry["shape"])) < 0:
        raise ValueError(f"{entry!r} is no tensor")
    return begin, stop, math.prod(entry["shape"]) * _SAFETENSORS[entry["dtype"]]


def require_ggml(path: Path) -> None:
    """Refuse a ggml file whose header claims more than the file holds, before whisper.cpp allocates it. Raises: ModelError."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        try:
            _, vocabulary, context, width, heads, layers, text_context, text_width, text_heads, text_layers, mels, kind = _numbers(
                stream, 12
            )
            sizes = {
                "vocab_size": vocabulary, "max_source_positions": context, "d_model": width, "encoder_attention_heads": heads,
                "encoder_layers": layers, "max_target_positions": text_context, "decoder_attention_heads": text_heads,
                "decoder_layers": text_layers, "num_mel_bins": mels,
            }  # fmt: skip
            require_sizes(sizes, path)
            if text_width != width or not 0 <= kind < 10_000:
                raise _damaged(path, "its header is no Whisper's")
            n_mels, n_bins = _numbers(stream, 2)
            if n_mels != mels or n_bins != 201:
                raise _damaged(path, f"it has {n_mels} x {n_bins} mel filters")
            _skip(stream, 4 * n_mels * n_bins, size)
            (tokens,) = _numbers(stream, 1)
            if not 0 < tokens <= _MOST_TOKENS:
                raise _damaged(path, f"it claims {tokens} tokens")
            for _ in range(tokens):
                _skip(stream, *_bounded(_numbers(stream, 1)[0], _LONGEST_NAME), size)
            while stream.tell() < size:
                rank, length, stored = _numbers(stream, 3)
                if not 1 <= rank <= 4 or stored not in _GGML_BLOCKS:
                    raise _damaged(path, f"a tensor has {rank} dimensions and type {stored}")
                shape = _numbers(stream, rank)
                _skip(stream, *_bounded(length, _LONGEST_NAME), size)
                block, values = _GGML_BLOCKS[stored]
                if min(shape) < 1 or shape[0] % values:
                    raise _damaged(path, f"a tensor has the shape {shape}")
                _skip(stream, math.prod(shape) // values * block, size)
        except (struct.error, ValueError) as error:
            raise _damaged(path, f"it ends or goes astray at byte {stream.tell()}") from error


def decoder_of_ctranslate2(path: Path) -> tuple[int, int]:
    """Layers and heads of the decoder in a ``model.bin``, without reading its weights. Raises: ModelError."""
    size = path.stat().st_size
    layers: set[str] = set()
    heads = 0
    with path.open("rb") as stream:
        try:
            for name, data_at, length in _variables(stream, size):
                parts = name.split("/")
                if parts[0] == "decoder" and len(parts) > 1 and parts[1].startswith("layer_") and parts[1] != "layer_norm":
                    layers.add(parts[1])
                if name == "decoder/num_heads":
                    stream.seek(data_at)
                    heads = int.from_bytes(stream.read(min(length, 4)), "little", signed=True)
                    stream.seek(data_at + length)
        except (struct.error, ValueError, UnicodeDecodeError) as error:
            raise _damaged(path, f"it ends or goes astray at byte {stream.tell()}") from error
    if not (1 <= len(layers) <= 128 and 1 <= heads <= 128):
        raise _damaged(path, f"its decoder has {len(layers)} layers and {heads} heads")
    return len(layers), heads


def _variables(stream: BinaryIO, size: int) -> Iterator[tuple[str, int, int]]:
    """Name, place and length of each array of a CTranslate2 file; see :mod:`finewhisper.convert.ct2_format`."""

    def text() -> str:
        (length,) = struct.unpack("<H", stream.read(2))
        return stream.read(length).rstrip(b"\0").decode("utf-8")

    stream.read(4)
    text()
    _, count = struct.unpack("<II", stream.read(8))
    if count > 100_000:
        raise ValueError(count)
    for _ in range(count):
        name = text()
        (rank,) = struct.unpack("<B", stream.read(1))
        stream.read(4 * rank + 1)
        (length,) = struct.unpack("<I", stream.read(4))
        place = stream.tell()
        yield name, place, length
        stream.seek(place)
        _skip(stream, length, size)


def _numbers(stream: BinaryIO, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}i", stream.read(4 * count))


def _skip(stream: BinaryIO, length: int, size: int) -> None:
    if length < 0 or stream.tell() + length > size:
        raise ValueError("beyond the end")
    stream.seek(length, os.SEEK_CUR)


def _bounded(length: int, most: int) -> tuple[int]:
    if length > most:
        raise ValueError("a name that long")
    return (length,)


def _is_token(value: Any) -> bool:
    return _is_whole(value) and -1 <= value < _MOST_TOKENS


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"{path}: is damaged or cut short ({reason}); download or convert the model again")
