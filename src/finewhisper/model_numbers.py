"""The numbers of a model folder, checked before anybody computes with them.

Engines hand sizes and ids to native code, which ends the process where they are wrong: CTranslate2 indexes its attention by
``alignment_heads``, whisper.cpp allocates what a header claims. So every number that leaves Python lies within the bounds of the largest
Whisper there is, with room, and agrees with the others.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from finewhisper import json_values
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
#: Shares of what is left out at random.
_SHARES = ("dropout", "attention_dropout", "activation_dropout", "encoder_layerdrop", "decoder_layerdrop")
_MOST_TOKENS = 51_866
_MOST_POSITIONS = 1500
_HEADER_BYTES = 100_000_000  # of a safetensors file, as its library has it
_SAFETENSORS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 1), **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4), **dict.fromkeys(("I64", "U64", "F64"), 8),
}  # fmt: skip
#: Bytes of a block and how many values it holds, by ggml's type numbers: f32, f16, q4_0, q4_1, q5_0, q5_1, q8_0.
_GGML_BLOCKS = {0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32)}
#: What a whole file is stored as, f32, f16, q4_0, q4_1, q8_0, q5_0, q5_1; quantised files have a version's thousands added.
_GGML_FILE_TYPES, _GGML_VERSION = (0, 1, 2, 3, 7, 8, 9), 1000
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
            raise ModelError(f"{path}: {name} must be a whole number from {low} to {high}, not {value!r}; {_COPY}")
    for name in _SHARES:
        value = config.get(name) or 0
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ModelError(f"{path}: {name} must be a number from 0 to 1, not {value!r}; {_COPY}")
    for side in ("encoder", "decoder"):
        heads = config.get(f"{side}_attention_heads", 1)
        if config.get("d_model", heads) % heads:
            raise ModelError(f"{path}: d_model {config['d_model']} cannot be shared among {heads} {side}_attention_heads; {_COPY}")


def require_token_ids(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a ``generation_config.json`` with tokens that no Whisper has. Raises: ModelError."""
    for name in ("suppress_tokens", "begin_suppress_tokens"):
        _require_tokens(content.get(name), name, path)
    latest = content.get("max_initial_timestamp_index")
    if latest is not None and not (_is_whole(latest) and 0 <= latest <= _MOST_POSITIONS):
        raise ModelError(f"{path}: max_initial_timestamp_index must be a whole number up to {_MOST_POSITIONS}, not {latest!r}; {_COPY}")


def require_ctranslate2(content: Mapping[str, Any], path: Path) -> None:
    """Refuse a ``config.json`` of CTranslate2 that its library would stumble over while it runs. Raises: ModelError."""
    for name in ("suppress_ids", "suppress_ids_begin", "lang_ids"):
        if name not in content and name != "lang_ids":
            raise ModelError(f"{path}: has no {name}, which CTranslate2 needs; {_COPY}")
        _require_tokens(content.get(name, []), name, path)
        if not isinstance(content.get(name, []), list):
            raise ModelError(f"{path}: {name} must be a list of tokens, not {content[name]!r}; {_COPY}")


def _require_tokens(ids: Any, name: str, path: Path) -> None:
    """Refuse what is no list of tokens; None stands for none."""
    wrong = next((token for token in ids if not _is_token(token)), None) if isinstance(ids, list) else ids
    if wrong is not None or (isinstance(ids, list) and None in ids):
        raise ModelError(f"{path}: {name} has {wrong!r}, which is no token of Whisper's; {_COPY}")


def alignment_heads(stored: Any, *, layers: int, heads: int) -> list[tuple[int, int]]:
    """Those of the stored attention heads that a decoder of so many layers and heads has, as (layer, head).

    Models that were cut down, or put together from several, keep the list of their larger source.
    """
    pairs = stored if isinstance(stored, list) else []
    whole = (tuple(pair) for pair in pairs if isinstance(pair, list | tuple) and len(pair) == 2 and all(map(_is_whole, pair)))
    return [(layer, head) for layer, head in whole if 0 <= layer < layers and 0 <= head < heads]


class Stored(NamedTuple):
    """A tensor of a safetensors file."""

    type: str  #: safetensors' name of it, such as F16
    shape: tuple[int, ...]
    begin: int  #: of its bytes, in the file
    end: int


def safetensors_header(path: Path) -> dict[str, Stored]:
    """Where the tensors of a safetensors file lie, by name.

    Format: u64 length, that much JSON with type, shape and place of each tensor, then the data, without holes.

    Raises:
        ModelError: the header does not describe the rest of the file: the format's own library panics on some of these.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, _HEADER_BYTES):
            raise _damaged(path, "its header is longer than the file")
        try:
            header = json_values.parse(stream.read(length))
            found = {name: _stored(entry, 8 + length) for name, entry in header.items() if name != "__metadata__"}
            _require_texts(header.get("__metadata__", {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, f"its header is not one of safetensors ({error!r})") from error
    end = 8 + length
    for name, tensor in sorted(found.items(), key=lambda entry: entry[1][2:]):
        if tensor.begin != end or tensor.end - tensor.begin != math.prod(tensor.shape) * _SAFETENSORS[tensor.type]:
            raise _damaged(path, f"{name} has not the bytes that its shape needs")
        end = tensor.end
    if end != size:
        raise _damaged(path, f"its tensors end at byte {end}, the file at {size}")
    return found


def _stored(entry: Mapping[str, Any], start: int) -> Stored:
    begin, end = entry["data_offsets"]
    if not all(map(_is_whole, (begin, end, *entry["shape"]))) or min((begin, *entry["shape"])) < 0 or entry["dtype"] not in _SAFETENSORS:
        raise ValueError(f"{entry!r} is no tensor")
    return Stored(entry["dtype"], tuple(entry["shape"]), start + begin, start + end)


def _require_texts(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"__metadata__ {metadata!r} is not made of texts")


def require_weights_fit(config: Mapping[str, Any], path: Path, stored: int) -> None:
    """Refuse a ``config.json`` that describes a model far larger than its files hold: it would be made of memory before it is compared.

    Args:
        stored: how many values the weight files hold.

    Raises:
        ModelError: as said.
    """
    described = _values(config)
    if described > 1.1 * stored + 1_000_000:
        raise ModelError(f"{path}: describes a model of {described:,} values, the weight files hold {stored:,}; {_COPY}")


def _values(config: Mapping[str, Any]) -> int:
    """About how many values the matrices of a Whisper of this size have."""
    size = {name: int(config.get(name, low)) for name, (low, _) in _BOUNDS.items()}
    width = size["d_model"]
    encoder = size["encoder_layers"] * (4 * width * width + 2 * width * size["encoder_ffn_dim"])
    decoder = size["decoder_layers"] * (8 * width * width + 2 * width * size["decoder_ffn_dim"])
    positions = size["max_source_positions"] + size["max_target_positions"] + size["vocab_size"]
    return encoder + decoder + width * (positions + 3 * size["num_mel_bins"] + 3 * width)


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
            if text_width != width:
                raise _damaged(path, f"its encoder is {width} wide, its decoder {text_width}")
            if kind < 0 or kind % _GGML_VERSION not in _GGML_FILE_TYPES:  # whisper.cpp ends the process at some
                raise ModelError(
                    f"{path}: is stored in a type (ggml's number {kind}) that whisper.cpp cannot run; convert the model with --to ggml "
                    "--quantization f16"
                )
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
    """Name, place and length of each array of a CTranslate2 file; see :mod:`finewhisper.conversion.ct2_format`."""

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
