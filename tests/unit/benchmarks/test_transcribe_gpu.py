"""Every clip gets the same number of tokens, and what cannot run is a row of the table."""

from __future__ import annotations

from dataclasses import replace

import pytest
import shapes
import torch
import transcribe_gpu

SETTING = transcribe_gpu.Setting(torch.device("cpu"), torch.float32, (1, 2), 4.5, 20, 1, 0, flops_per_s=1e11, bytes_per_s=1e10)


@pytest.mark.parametrize("tokens", [12, 20, 33])
@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_a_clip_gets_as_many_tokens_as_were_asked_for(engine, tokens):
    setting = replace(SETTING, tokens=tokens)
    with transcribe_gpu.ENGINES[engine](shapes.SHAPES["tiny"], setting) as loaded:
        heard = loaded.transcribe(transcribe_gpu._clips(2, setting), setting.options())
    assert [len(transcript.text.split()) for transcript in heard] == [tokens, tokens]


def test_an_engine_that_is_not_there_is_a_row_that_says_so(monkeypatch):
    setting = replace(SETTING, device=torch.device("cuda"))
    monkeypatch.setattr(
        shapes, "build", lambda shape, _device, dtype, seed, build=shapes.build: build(shape, torch.device("cpu"), dtype, seed)
    )
    monkeypatch.setattr(transcribe_gpu.machine, "held_bytes", lambda _: 0)
    rows = transcribe_gpu.run(["tiny"], ["ctranslate2"], setting, lambda _: None)
    assert len(rows) == 1
    assert "CUDA" in rows[0].problem
    assert rows[0].problem in transcribe_gpu.line(rows[0])


def test_a_batch_that_does_not_fit_leaves_the_others_in_the_table(monkeypatch):
    real = transcribe_gpu.TransformersEngine.transcribe

    def transcribe(self, clips, options, batch_size):
        if len(clips) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n9 GiB")
        return real(self, clips, options)

    monkeypatch.setattr(transcribe_gpu.TransformersEngine, "transcribe", transcribe)
    rows = transcribe_gpu.run(["tiny"], ["transformers"], SETTING, lambda _: None)
    assert [(row.context, row.batch, bool(row.problem)) for row in rows] == [
        ("trimmed", 1, False), ("trimmed", 2, True), ("padded", 1, False), ("padded", 2, True),
    ]  # fmt: skip
    assert rows[1].problem == "CUDA out of memory. Tried to allocate"


def test_the_floor_grows_with_the_context_the_batch_and_the_precision():
    def floor(frames, batch, precision):
        return transcribe_gpu.floor_s(shapes.SHAPES["large-v3"], transcribe_gpu.flops.Work(batch, frames, 20, 0), precision, SETTING)

    assert floor(500, 1, "float16") < floor(3000, 1, "float16") < floor(3000, 64, "float16")
    assert floor(500, 1, "float16") < floor(500, 1, "float32")
