"""What all engines share, seen through one of them."""

from __future__ import annotations

import numpy as np
import pytest

from finewhisper.engines import Engine, load_engine
from finewhisper.model import Context, ModelFolder
from finewhisper.transcript import DecodeOptions


@pytest.fixture(scope="module")
def engine(random_model) -> Engine:
    return load_engine(ModelFolder.open(random_model), device="cpu")


@pytest.mark.parametrize(
    ("context", "margin_s", "frames"),
    [
        (Context(), None, 2_000),
        (Context(padded=True), 8.0, 3_000),
        (Context(), 8.0, 1_000),
        (Context(), 60.0, 3_000),
        (Context(trimmed=True, margin_s=1.0), None, 300),
        (Context(trimmed=True, margin_s=0.3), None, 250),  # what it was trained with, not a fixed number
        (Context(trimmed=True, margin_s=1.0), 8.0, 300),  # it needs no more than it has learnt
    ],
)
def test_a_margin_shortens_the_context_of_a_model_that_has_not_learnt_short_ones(
    engine: Engine, context: Context, margin_s: float | None, frames: int, monkeypatch: pytest.MonkeyPatch
):
    seen: list[int] = []
    generate = engine._generate

    def watched(features, *arguments):
        seen.append(features.shape[-1])
        return generate(features, *arguments)

    monkeypatch.setattr(engine, "_generate", watched)
    monkeypatch.setattr(engine, "_learnt", context)
    engine.transcribe([np.zeros(32_000, dtype=np.float32)], DecodeOptions(language="en", margin_s=margin_s))
    assert seen == [frames]
