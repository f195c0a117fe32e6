"""One tensor at a time is read and written as the format's own library does it."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.tensors import Tensors, Written, in_library_order, write

TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def some_weights(type_: torch.dtype) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        name: torch.randn(shape).to(type_) for name, shape in (("b.weight", (3, 5)), ("a.bias", (7,)), ("c", (2, 3, 4)), ("none", (0, 4)))
    }


def test_what_is_written_is_byte_for_byte_what_the_library_writes(tmp_path: Path) -> None:
    mixed = {f"{name}.{kind}": weight for kind, type_ in TYPES.items() for name, weight in some_weights(type_).items()}
    save_file(mixed, tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    ours = [
        Written(name, tuple(weight.shape), lambda weight=weight: weight.float().numpy(), name.rpartition(".")[2])
        for name, weight in mixed.items()
    ]
    write(tmp_path / "ours.safetensors", in_library_order(ours))
    assert (tmp_path / "ours.safetensors").read_bytes() == (tmp_path / "theirs.safetensors").read_bytes()


@pytest.mark.parametrize("stored", TYPES)
def test_values_are_read_as_float32(tmp_path: Path, stored: str) -> None:
    weights = some_weights(TYPES[stored])
    save_file(weights, tmp_path / "model.safetensors")
    tensors = Tensors(ModelFolder(tmp_path, "transformers"))
    assert set(tensors) == set(weights)
    for name, weight in weights.items():
        assert tensors[name].dtype == np.float32
        assert tensors.stored(name) == stored
        assert np.array_equal(tensors[name], weight.float().numpy())


def test_bfloat16_is_rounded_as_torch_rounds_it(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 100_000, dtype=np.uint32)
    values = np.concatenate([bits.view(np.float32), np.float32([0.0, -0.0, np.inf, -np.inf, 3.4e38, 1.00390625, 1.01171875])])
    values = values[~np.isnan(values)]
    write(tmp_path / "model.safetensors", [Written("w", values.shape, lambda: values, "BF16")])
    found = load_file(tmp_path / "model.safetensors")["w"]
    assert torch.equal(found, torch.from_numpy(values).bfloat16())


def test_a_value_that_float16_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"w holds 70000, more than float16 can"):
        write(tmp_path / "model.safetensors", [Written("w", (2,), lambda: np.float32([1, 7e4]), "F16")])


def test_a_file_that_is_cut_while_it_is_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(some_weights(torch.float32), path)
    tensors = Tensors(ModelFolder(tmp_path, "transformers"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="was cut short"):
        for name in tensors:
            tensors[name]


def test_reading_and_writing_take_the_memory_of_a_few_tensors_not_of_the_file(tmp_path: Path) -> None:
    shape, count = (512, 1024), 20  # 2 MB each, 42 MB in all
    write(tmp_path / "model.safetensors", [Written(f"{n}", shape, lambda n=n: np.full(shape, n, np.float32), "F16") for n in range(count)])
    tensors = Tensors(ModelFolder(tmp_path, "transformers"))
    tracemalloc.start()
    try:
        copied = [Written(name, shape, partial(tensors.__getitem__, name), "BF16") for name in tensors]
        write(tmp_path / "copy.safetensors", in_library_order(copied))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16e6
    assert all((weight == int(name)).all() for name, weight in load_file(tmp_path / "copy.safetensors").items())
