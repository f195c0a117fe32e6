"""What the transformers engine has of its own: devices. The rest is in the contract suite."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finewhisper.engines import load_engine
from finewhisper.errors import UnsupportedError
from finewhisper.model import ModelFolder

pytestmark = pytest.mark.real


@pytest.mark.parametrize("device", ["mps", "meta", "xpu", "hpu", "tpu"])
def test_a_device_that_is_not_there_is_refused(random_model: Path, device: str):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(UnsupportedError, match=f"--device {device}: .* use .*cpu"):
        load_engine(ModelFolder.open(random_model), device=device)


def test_a_number_without_a_device_is_refused(random_model: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UnsupportedError, match=r"--device cuda:9: .* only cuda:0, cuda:1; .* --device cpu"):
        load_engine(ModelFolder.open(random_model), device="cuda:9")
