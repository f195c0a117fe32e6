"""Tensors from pickles (``.pt``, ``pytorch_model.bin``, ``adapter_model.bin``), of which nothing that could run code is ever loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from finewhisper.errors import MissingExtraError, ModelError

#: Of a tensor: its type as safetensors names it, its shape, the number of its bytes, and the bytes in parts.
Stored = tuple[str, list[int], int, Iterator[Any]]


def load(path: Path, form: str) -> Any:
    """The content of a file of ``torch.save``, mapped into memory where its format allows: tensors, numbers, texts, lists and dicts.

    Args:
        form: what the file should hold, for the message, such as ``{'dims': …}``.

    Raises:
        ModelError: the file is damaged, or holds anything else.
        MissingExtraError: torch is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError(f"torch, which reads {path.name},", "train") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except UnpicklingError as error:
        raise ModelError(
            f"{path}: holds more than tensors and numbers, which could run code when loaded, so it was not loaded; "
            f"save it again with torch.save of {form}"
        ) from error
    except Exception as error:  # its unpickler raises of everything for what is no pickle
        raise ModelError(f"{path}: cannot be read as a checkpoint ({error}); download it again") from error


def tensors(path: Path) -> dict[str, Stored]:
    """The weights of a ``state_dict`` by their names; a matrix under two names appears under the first alone.

    Raises:
        ModelError: the file is damaged, or holds anything but tensors.
        MissingExtraError: torch is not installed.
    """
    state = load(path, "model.state_dict()")
    import torch  # it is there, for it has read the file

    types = {
        torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
        torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
    }  # fmt: skip
    if not isinstance(state, dict) or not state:
        raise ModelError(f"{path}: is not a list of weights by their names; save it again with torch.save of model.state_dict()")
    found: dict[str, Stored] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, tensor in state.items():
        if not (isinstance(name, str) and isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.dtype in types):
            raise ModelError(f"{path}: {name} is no dense tensor; save it again with torch.save of model.state_dict()")
        place = (tensor.data_ptr(), tuple(tensor.shape))
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        found[name] = (types[tensor.dtype], list(tensor.shape), tensor.numel() * tensor.element_size(), _content(tensor))
    return found


def _content(tensor: Any) -> Iterator[Any]:
    import torch

    if tensor.numel():
        yield tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
