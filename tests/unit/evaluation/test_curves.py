"""The training log of a model folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from finewhisper.errors import ModelError
from finewhisper.evaluation.curves import Curves


def test_read(tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(
        '[{"step": 10, "epoch": 0.5, "loss": 2.5}, {"step": 5, "epoch": 0.2, "loss": 3}, {"step": 10, "epoch": 0.5, "loss": NaN},'
        ' {"step": 10, "epoch": 0.5, "eval_wer": 80.5, "eval_cer": 30}]',
        encoding="utf-8",
    )
    assert Curves.read(tmp_path) == Curves(((5, 3), (10, 2.5)), ((10, 80.5),), ((10, 30),))


def test_no_log(tmp_path: Path) -> None:
    assert Curves.read(tmp_path) == Curves()


@pytest.mark.parametrize("content", ["", "[1]", '{"step": 1}', '[{"loss": 1}]', '[{"step": "x", "loss": 1}]'])
def test_damaged_log(tmp_path: Path, content: str) -> None:
    (tmp_path / "training.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"training.json: is not a list like .*delete it or merge again"):
        Curves.read(tmp_path)
