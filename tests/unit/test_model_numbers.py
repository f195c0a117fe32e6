"""Numbers of a model folder that would lead native code astray are refused, in the file that has them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from finewhisper.errors import ModelError
from finewhisper.model_numbers import (
    alignment_heads,
    require_ctranslate2,
    require_ggml,
    require_sizes,
    require_token_ids,
    require_weights_fit,
    safetensors_header,
)

PATH = Path("folder/config.json")
LARGE_V3: dict[str, Any] = {
    "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "encoder_attention_heads": 20, "decoder_attention_heads": 20,
    "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120, "num_mel_bins": 128, "vocab_size": 51_866, "max_source_positions": 1500,
    "max_target_positions": 448,
}  # fmt: skip


def test_the_largest_whisper_is_within_the_bounds() -> None:
    require_sizes(LARGE_V3, PATH)
    require_weights_fit(LARGE_V3, PATH, 1_543_490_560)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("d_model", 1 << 40), ("d_model", 1281), ("encoder_layers", -1), ("encoder_layers", True), ("decoder_attention_heads", 0),
        ("num_mel_bins", "80"), ("vocab_size", None), ("max_target_positions", 1e300), ("dropout", 7), ("attention_dropout", [0]),
    ],
)  # fmt: skip
def test_sizes_that_no_whisper_has_are_refused(name: str, value: object) -> None:
    with pytest.raises(ModelError, match=rf"folder/config.json: {name} "):
        require_sizes(LARGE_V3 | {name: value}, PATH)


def test_a_configuration_of_a_model_far_larger_than_its_file_is_refused() -> None:
    with pytest.raises(ModelError, match=r"the weight files hold 74,000,000"):
        require_weights_fit(LARGE_V3, PATH, 74_000_000)


@pytest.mark.parametrize("ids", [[51_866], [-2], ["a"], [None], [[1]], 7, {"": 1}, "x"])
def test_tokens_that_no_whisper_has_are_refused(ids: object) -> None:
    with pytest.raises(ModelError, match="suppress"):
        require_token_ids({"suppress_tokens": ids}, PATH)
    with pytest.raises(ModelError, match="suppress_ids"):
        require_ctranslate2({"suppress_ids": ids, "suppress_ids_begin": []}, PATH)


def test_ctranslate2_is_not_given_a_configuration_that_lacks_what_it_reads() -> None:
    require_ctranslate2({"suppress_ids": [1], "suppress_ids_begin": [220]}, PATH)
    for content in ({"suppress_ids_begin": []}, {"suppress_ids": [], "suppress_ids_begin": None}):
        with pytest.raises(ModelError, match="suppress_ids"):
            require_ctranslate2(content, PATH)


@pytest.mark.parametrize("stored", [None, 3, "x", [[4, 0]], [[0, 8]], [[-1, 0]], [[0]], [["a", 0]], [[True, 0]], [None]])
def test_only_heads_that_a_decoder_has_are_taken(stored: object) -> None:
    assert alignment_heads(stored, layers=4, heads=8) == []
    assert alignment_heads([[3, 7], *(stored if isinstance(stored, list) else [])], layers=4, heads=8) == [(3, 7)]


def file_of(folder: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def test_a_whole_safetensors_file_is_described(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [], "data_offsets": [8, 12]},
    }
    found = safetensors_header(file_of(tmp_path, header, bytes(12)))
    assert (found["a"].type, found["a"].shape, found["a"].end - found["a"].begin) == ("F16", (2, 2), 8)
    assert found["b"].begin == found["a"].end


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F16", "shape": [2, 2], "data_offsets": [0, 4]},
        {"dtype": "F16", "shape": [2, 2], "data_offsets": [2, 10]},
        {"dtype": "F16", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [-2, -2], "data_offsets": [0, 8]},
        {"dtype": "F99", "shape": [2, 2], "data_offsets": [0, 8]},
        {"dtype": ["F16"], "shape": [2, 2], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [2.0, 2], "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": 4, "data_offsets": [0, 8]},
        {"dtype": "F16", "shape": [4]},
        {"dtype": "F16", "shape": [4], "data_offsets": [0]},
        [],
        None,
    ],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, entry: object) -> None:
    with pytest.raises(ModelError, match="is damaged or cut short"):
        safetensors_header(file_of(tmp_path, {"a": entry}, bytes(8)))


@pytest.mark.parametrize("header", [[], None, 3, "x", {"__metadata__": {"a": 1}}, {"__metadata__": []}])
def test_a_header_that_is_no_table_is_refused(tmp_path: Path, header: object) -> None:
    with pytest.raises(ModelError, match="is damaged or cut short"):
        safetensors_header(file_of(tmp_path, header))


@pytest.mark.parametrize("length", [0, 1, 1 << 33, (1 << 64) - 1])
def test_a_header_of_another_length_than_it_says_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(ModelError, match="is damaged or cut short"):
        safetensors_header(file_of(tmp_path, {}, length=length))


@pytest.mark.parametrize("number", [4, 5, 14, -1, 2004, 1 << 30])
def test_ggml_types_at_which_whisper_cpp_ends_the_process_are_refused(tmp_path: Path, number: int) -> None:
    path = tmp_path / "ggml-model.bin"
    path.write_bytes(b"lmgg" + struct.pack("<11i", 51_865, 1500, 512, 8, 6, 448, 512, 8, 6, 80, number))
    with pytest.raises(ModelError, match=rf"ggml's number {number}\) that whisper.cpp cannot run"):
        require_ggml(path)
