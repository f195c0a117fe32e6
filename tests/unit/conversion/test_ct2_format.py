"""The reader against a file written here, byte by byte, from the format's description."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from finewhisper.conversion import ct2_format
from finewhisper.errors import ModelError

TYPES = ["float32", "int8", "int16", "int32", "float16", "bfloat16"]


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode()) + 1) + value.encode() + b"\0"


def variable(name: str, type_: str, shape: tuple[int, ...], data: bytes) -> bytes:
    return text(name) + struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, TYPES.index(type_), len(data)) + data


def model(
    *variables: bytes, aliases: dict[str, str] | None = None, version: int = 6, name: str = "WhisperSpec", revision: int = 3
) -> bytes:
    pairs = [text(alias) + text(target) for alias, target in (aliases or {}).items()]
    head = struct.pack("<I", version) + text(name) + struct.pack("<I", revision)
    return b"".join([head, struct.pack("<I", len(variables)), *variables, struct.pack("<I", len(pairs)), *pairs])


def read(tmp_path: Path, content: bytes) -> ct2_format.Variables:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    return ct2_format.read(path)


VALUES = np.array([[0.5, -1.25, 3.0], [0.0, 100.0, -0.125]], dtype=np.float32)  # exact in every floating type


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("float32", VALUES.tobytes()),
        ("float16", VALUES.astype(np.float16).tobytes()),
        ("bfloat16", (VALUES.view(np.uint32) >> 16).astype(np.uint16).tobytes()),
    ],
)
def test_floating_types(tmp_path: Path, type_: str, data: bytes) -> None:
    variables = read(tmp_path, model(variable("w/weight", type_, (2, 3), data)))
    np.testing.assert_array_equal(variables.float32("w/weight"), VALUES)
    assert variables.float32("w/weight").dtype == np.float32
    assert variables.types == [type_]


def test_int8_has_one_scale_for_each_row(tmp_path: Path) -> None:
    stored = np.array([[127, -64, 0], [1, 2, -127]], dtype=np.int8)
    scale = np.array([127.0, 0.5], dtype=np.float32)
    content = model(variable("w/weight", "int8", (2, 3), stored.tobytes()), variable("w/weight_scale", "float32", (2,), scale.tobytes()))
    np.testing.assert_allclose(read(tmp_path, content).float32("w/weight"), [[1, -64 / 127, 0], [2, 4, -254]], rtol=1e-7)


def test_int8_convolutions_have_one_scale_for_each_output(tmp_path: Path) -> None:
    stored = np.arange(-6, 6, dtype=np.int8).reshape(2, 3, 2)
    scale = np.array([2.0, 4.0], dtype=np.float32)
    content = model(variable("c/weight", "int8", (2, 3, 2), stored.tobytes()), variable("c/weight_scale", "float32", (2,), scale.tobytes()))
    np.testing.assert_array_equal(read(tmp_path, content).float32("c/weight"), stored / scale[:, None, None])


def test_int16_has_one_scale(tmp_path: Path) -> None:
    stored = np.array([[1024, -512]], dtype=np.int16)
    scale = np.float32(512)
    content = model(variable("w/weight", "int16", (1, 2), stored.tobytes()), variable("w/weight_scale", "float32", (), scale.tobytes()))
    np.testing.assert_array_equal(read(tmp_path, content).float32("w/weight"), [[2.0, -1.0]])


def test_an_alias_is_its_target_with_the_target_s_scale(tmp_path: Path) -> None:
    content = model(
        variable("decoder/embeddings/weight", "int8", (1, 2), bytes([4, 8])),
        variable("decoder/embeddings/weight_scale", "float32", (1,), np.float32(4).tobytes()),
        aliases={"decoder/projection/weight": "decoder/embeddings/weight"},
    )
    variables = read(tmp_path, content)
    np.testing.assert_array_equal(variables.float32("decoder/projection/weight"), [[1.0, 2.0]])
    assert variables.same("decoder/projection/weight", "decoder/embeddings/weight")


def test_layers_and_numbers(tmp_path: Path) -> None:
    names = ["encoder/layer_norm/gamma", *(f"encoder/layer_{index}/ffn/linear_0/bias" for index in range(12))]
    numbers = variable("encoder/num_heads", "int16", (), struct.pack("<h", 8))
    variables = read(tmp_path, model(numbers, *(variable(name, "float32", (1,), bytes(4)) for name in names)))
    assert (variables.layers("encoder"), variables.layers("decoder"), variables.integer("encoder/num_heads")) == (12, 0, 8)
    with pytest.raises(ModelError, match="has no decoder/num_heads"):
        variables.integer("decoder/num_heads")


WHOLE = model(variable("w/weight", "float32", (2, 3), VALUES.tobytes()), aliases={"v": "w/weight"})


@pytest.mark.parametrize("size", range(1, len(WHOLE), 7))
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(ModelError, match=r"model\.bin: is cut short or damaged"):
        read(tmp_path, WHOLE[:size])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WHOLE + b"\0", "1 bytes too many"),
        (model(version=5), "binary version 5"),
        (model(name="TransformerSpec"), "holds TransformerSpec"),
        (model(revision=2), "revision 2"),
        (model(text("w") + struct.pack("<BIBI", 1, 2, 9, 8) + bytes(8)), "damaged"),  # there is no type 9
        (model(variable("w", "float32", (3,), bytes(8))), "damaged"),  # 8 bytes are not three numbers
        (b"", "cut short or damaged"),
    ],
)
def test_other_files_are_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(tmp_path, content)
