"""The formulas agree with torch's own counting, operation by operation, of what really runs."""

from __future__ import annotations

import flops
import pytest
import shapes
import torch
import train_gpu
import transcribe_gpu
from torch.utils import flop_counter

from finewhisper.engines.base import Hypothesis
from finewhisper.model import Context
from finewhisper.training.batches import BatchPlan

TINY = shapes.SHAPES["tiny"]
CPU = torch.device("cpu")


def _forward(query, key, value, *_, **__):
    return flop_counter.sdpa_flop_count(query, key, value)


def _backward(gradient, query, key, value, *_, **__):
    return flop_counter.sdpa_backward_flop_count(gradient, query, key, value)


#: torch counts attention on a GPU but not yet on a CPU, so it is told with its own functions.
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward,
}


def counter() -> flop_counter.FlopCounterMode:
    return flop_counter.FlopCounterMode(display=False, custom_mapping=ATTENTION)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("method", "full"), [("lora", 0.0), ("lora", 1.0), ("full", 0.0)])
def test_training_counts_what_a_step_computes(method, full, checkpointing):
    plan = BatchPlan(batch_size=4, batch_seconds=30.0, margin_s=(0.1, 2.0), full_window_share=full, seed=0, epochs=1)
    setting = train_gpu.Setting(CPU, torch.float32, plan, steps=1, warmup=0, ceiling=1.0)
    learner = train_gpu.Learner(TINY, method, checkpointing=checkpointing, setting=setting)
    (trimmed,), (padded,) = train_gpu.make_batches(setting)
    for batch, loss_of, every_position in ((trimmed, learner.trimmed_loss, False), (padded, learner.padded_loss, True)):
        with counter() as counted:
            learner.step(batch, loss_of)
        formula = flops.training(TINY, batch.work(every_position=every_position), learner.learning)
        assert formula == pytest.approx(counted.get_total_flops(), rel=0.03)


def test_transcribing_counts_what_an_engine_computes():
    setting = transcribe_gpu.Setting(CPU, torch.float32, (2,), 4.5, 40, repeats=1, seed=0, flops_per_s=1.0, bytes_per_s=1.0)
    clips, options = transcribe_gpu._clips(2, setting), setting.options()
    with transcribe_gpu.transformers_engine(TINY, setting) as loaded:
        engine = loaded.within(Context(trimmed=True))
        work = flops.Work(2, engine.frames(clips[0]), setting.tokens, 0)
        engine._score = lambda states, *_: [Hypothesis((), 0.0, 0.0)] * len(states)  # a pass that the floor leaves out
        with counter() as counted:
            engine.transcribe(clips, options)
    formula = flops.encoding(TINY, work, 4).flops + flops.decoding(TINY, work, transcribe_gpu.PROMPT_TOKENS, 4).flops
    assert formula == pytest.approx(counted.get_total_flops(), rel=0.05)


def test_the_floor_reads_every_weight_once_for_the_encoder_and_the_decoder():
    shape = shapes.SHAPES["large-v3"]
    model = shapes.build(shape, torch.device("meta"), torch.bfloat16)
    nothing_heard = flops.Work(windows=1, frames=0, tokens=1, projected=0)
    read = flops.encoding(shape, nothing_heard, 2).bytes + flops.decoding(shape, nothing_heard, 1, 2).bytes
    positions = model.model.encoder.embed_positions.weight.numel() + model.model.decoder.embed_positions.weight.numel()
    assert read == pytest.approx(2 * (sum(weight.numel() for weight in model.parameters()) - positions), rel=2e-3)


def test_a_stage_takes_as_long_as_the_slower_of_arithmetic_and_memory():
    assert flops.Cost(flops=100.0, bytes=10.0).seconds(flops_per_s=10.0, bytes_per_s=10.0) == 10.0
    assert flops.Cost(flops=100.0, bytes=10.0).seconds(flops_per_s=100.0, bytes_per_s=1.0) == 10.0
