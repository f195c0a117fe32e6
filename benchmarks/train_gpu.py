"""How many hours of audio a device learns from in an hour, beside the usual recipe that pads every clip to 30 s.

The model has random weights and the clips are noise of AISHELL-1's lengths, so nothing is downloaded; the rest is what
``finewhisper finetune`` uses: its batches, its loss, its adapters, its spectrogram on the device. Only decoding audio files is left
out. Each row trains one model on the same utterances in both ways, with the same precision, optimizer and clipping:

- trimmed: windows of the clips' own lengths, with the usual share of full windows; logits where there are labels.
- padded: each utterance alone in 30 s; transformers' loss over all positions. A batch that does not fit into memory is split into
  equal parts whose gradients are added up.

The share of the ceiling is the arithmetic done per second, over that of a large matrix product in the same run (see flops.py).
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import flops
import machine
import report
import shapes
import torch
from transformers import WhisperForConditionalGeneration

from finewhisper.audio import HOP_LENGTH, WINDOW_FRAMES
from finewhisper.features import log_mel_torch
from finewhisper.training.batches import BatchPlan, LengthBatches, Window
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.corpus import clips_of
from finewhisper.training.dataset import SpeechDataset, collate
from finewhisper.training.labels import Labeller
from finewhisper.training.methods import adapt
from finewhisper.vocabulary import IGNORED

Inputs = dict[str, torch.Tensor]
Loss = Callable[[Inputs], torch.Tensor]
Method = Literal["lora", "full"]

#: What `finewhisper finetune` does unless told otherwise.
DEFAULTS = FinetuneConfig(model=Path("random"), train=Path("noise"), output=Path("nowhere"))


@dataclass(frozen=True)
class Setting:
    """What all rows of a run share."""

    device: torch.device
    dtype: torch.dtype
    plan: BatchPlan
    steps: int
    warmup: int
    ceiling: float  #: FLOP/s of a large matrix product


@dataclass(frozen=True)
class Batch:
    """One optimizer step's utterances, ready for the device."""

    inputs: Inputs
    utterances: int
    audio_s: float
    parts: int = 1  #: passes that the batch is split into

    def split(self) -> list[Inputs]:
        """The parts, in the order of the utterances."""
        chunks = {name: values.chunk(self.parts) for name, values in self.inputs.items()}
        return [dict(zip(chunks, part, strict=True)) for part in zip(*chunks.values(), strict=True)]

    def work(self, *, every_position: bool) -> flops.Work:
        """What a step computes; logits for ``every_position`` or only where there are labels."""
        windows, samples = self.inputs["waveforms"].shape
        labels = self.inputs["labels"]
        blocks = self.inputs["silence"].shape[1] if "silence" in self.inputs else 0
        projected = labels.numel() if every_position else int((labels != IGNORED).sum())
        return flops.Work(windows, samples // HOP_LENGTH, labels.shape[1], projected, blocks)


@dataclass(frozen=True)
class Row:
    """One line of the table; without figures where ``problem`` says why."""

    shape: str
    method: Method
    checkpointing: bool
    recipe: Literal["trimmed", "padded"]
    utterances_per_step: float = 0.0
    parts: int = 1
    audio_s_per_step: float = 0.0
    ms_per_step: float = 0.0
    audio_hours_per_hour: float = 0.0
    peak_gb: float = 0.0
    tflops: float = 0.0
    share_of_ceiling: float = 0.0
    times_padded: float | None = None
    problem: str | None = None


class Learner:
    """A model, what of it learns, and its optimizer: one step of either recipe."""

    def __init__(self, shape: shapes.Shape, method: Method, *, checkpointing: bool, setting: Setting) -> None:
        self.setting, self.n_mels = setting, shape.n_mels
        # As in `finewhisper finetune`: a base that is frozen lies in the type it computes in, weights that learn stay in float32.
        self.base = shapes.build(shape, setting.device, setting.dtype if method == "lora" else torch.float32)
        config = DEFAULTS.model_copy(update={"method": method, "gradient_checkpointing": checkpointing})
        self.model = adapt(self.base, config)
        self.model.train()
        self.learning = flops.Learning(config.lora.rank if method == "lora" else 0, checkpointing)
        self.weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-5, weight_decay=0.01, fused=setting.device.type == "cuda")

    def trimmed_loss(self, inputs: Inputs) -> torch.Tensor:
        loss: torch.Tensor = self.model(**inputs).loss
        return loss

    def padded_loss(self, inputs: Inputs) -> torch.Tensor:
        loss: torch.Tensor = WhisperForConditionalGeneration.forward(self.base, **inputs, use_cache=False).loss
        return loss

    def step(self, batch: Batch, loss_of: Loss) -> None:
        """From waveforms in the host's memory to new weights."""
        device = self.setting.device
        parts = batch.split()
        for part in parts:
            inputs = {name: values.to(device, non_blocking=True) for name, values in part.items()}
            inputs["input_features"] = log_mel_torch(inputs.pop("waveforms"), self.n_mels)
            with torch.autocast(device.type, self.setting.dtype, enabled=self.setting.dtype != torch.float32):
                loss = loss_of(inputs)
            torch.autograd.backward(loss / len(parts))
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def make_batches(setting: Setting) -> tuple[list[Batch], list[Batch]]:
    """The same utterances as trimmed batches, evenly from the shortest context to the longest, and as padded ones."""
    plan, count = setting.plan, setting.steps
    utterances = shapes.speech(2 * count * plan.batch_size, plan.seed)
    labeller = Labeller(shapes.vocabulary(shapes.SHAPES["large-v3"]), timestamps=DEFAULTS.timestamps)
    dataset = SpeechDataset(utterances, labeller.for_languages(utterances))
    ordered = sorted(LengthBatches(clips_of(utterances, labeller), plan), key=lambda windows: (windows[0].frames, len(windows)))
    chosen = [ordered[(2 * index + 1) * len(ordered) // (2 * count)] for index in range(count)]
    random.Random(plan.seed).shuffle(chosen)
    alone = [[Window((row,), WINDOW_FRAMES, row) for window in windows for row in window.rows] for windows in chosen]
    trimmed, padded = ([_batch(windows, dataset, setting.device) for windows in batches] for batches in (chosen, alone))
    return trimmed, padded


def _batch(windows: Sequence[Window], dataset: SpeechDataset, device: torch.device) -> Batch:
    inputs = collate([dataset[window] for window in windows])
    rows = [row for members in inputs.pop("rows") for row in members]
    del inputs["faults"]
    if device.type == "cuda":
        inputs = {name: values.pin_memory() for name, values in inputs.items()}
    return Batch(inputs, len(rows), sum(dataset.utterances[row].length_s() for row in rows))


def run(names: Sequence[str], methods: Sequence[Method], setting: Setting, show: Callable[[Row], None]) -> list[Row]:
    """Measure every shape and method, without and with checkpointing; ``show`` is called with each row when it is known."""
    trimmed, padded = make_batches(setting)
    rows = []
    for name, method, checkpointing in itertools.product(names, methods, (False, True)):
        for row in _pair(Row(name, method, checkpointing, "trimmed"), trimmed, padded, setting):
            show(row)
            rows.append(row)
    return rows


def _pair(row: Row, trimmed: list[Batch], padded: list[Batch], setting: Setting) -> list[Row]:
    """Both recipes on one model."""
    shape, other = shapes.SHAPES[row.shape], replace(row, recipe="padded")
    machine.reset_peak(setting.device)
    try:
        learner = Learner(shape, row.method, checkpointing=row.checkpointing, setting=setting)
    except torch.OutOfMemoryError:
        return [replace(each, problem="out of memory: the model alone") for each in (row, other)]
    row = _measured(row, learner, trimmed, learner.trimmed_loss)
    other = _measured(other, learner, padded, learner.padded_loss)
    if not (row.problem or other.problem):
        row = replace(row, times_padded=row.audio_hours_per_hour / other.audio_hours_per_hour)
    return [row, other]


def _measured(row: Row, learner: Learner, batches: list[Batch], loss_of: Loss) -> Row:
    """Fill the row in; a padded batch that does not fit is halved until it does."""
    most_parts = max(len(batch.inputs["labels"]) for batch in batches) if row.recipe == "padded" else 1
    parts = 1
    while (taken := _timed(learner, [replace(batch, parts=parts) for batch in batches], loss_of)) is None:
        parts *= 2
        if parts > most_parts:
            return replace(row, problem="out of memory")
    seconds, peak_bytes = taken
    audio_s = sum(batch.audio_s for batch in batches)
    work = [batch.work(every_position=row.recipe == "padded") for batch in batches]
    flops_per_s = sum(flops.training(shapes.SHAPES[row.shape], each, learner.learning) for each in work) / seconds
    return replace(
        row,
        utterances_per_step=sum(batch.utterances for batch in batches) / len(batches),
        parts=parts,
        audio_s_per_step=audio_s / len(batches),
        ms_per_step=1000 * seconds / len(batches),
        audio_hours_per_hour=audio_s / seconds,
        peak_gb=peak_bytes / 1e9,
        tflops=flops_per_s / 1e12,
        share_of_ceiling=flops_per_s / learner.setting.ceiling,
    )


def _timed(learner: Learner, batches: list[Batch], loss_of: Loss) -> tuple[float, int] | None:
    """Seconds for all batches, and the highest memory use; None where it does not suffice.

    Before the clock starts, the batch with most samples is taken, which also reserves the memory, and then the first ones.
    """
    device = learner.setting.device
    largest = max(batches, key=lambda batch: batch.inputs["waveforms"].numel())
    learner.optimizer.zero_grad()
    machine.reset_peak(device)
    try:
        for batch in [largest, *batches][: learner.setting.warmup]:
            learner.step(batch, loss_of)
        machine.synchronize(device)
        began = time.perf_counter()
        for batch in batches:
            learner.step(batch, loss_of)
        machine.synchronize(device)
    except torch.OutOfMemoryError:
        return None
    return time.perf_counter() - began, machine.peak_bytes(device)


HEADER = """\
| model | method | checkpointing | context | utterances | audio s | ms/step | audio h per h | memory GB | TFLOP/s | of ceiling | × padded |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def line(row: Row) -> str:
    """The row as a line of the table."""
    start = f"| {row.shape} | {row.method} | {'on' if row.checkpointing else 'off'} | {row.recipe} |"
    if row.problem:
        return f"{start} {row.problem} | | | | | | | |"
    utterances = f"{row.utterances_per_step:.1f}" + (f" in {row.parts} parts" if row.parts > 1 else "")
    return (
        f"{start} {utterances} | {row.audio_s_per_step:.0f} | {row.ms_per_step:.0f} | {row.audio_hours_per_hour:.0f} |"
        f" {row.peak_gb:.2f} | {row.tflops:.3g} | {row.share_of_ceiling:.0%} | {f'{row.times_padded:.1f}' if row.times_padded else ''} |"
    )


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--methods", nargs="+", choices=["lora", "full"], default=["lora", "full"])
    parser.add_argument("--steps", type=int, help="timed steps of each row; default: 20 on a GPU, 4 on a CPU")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the clock starts")
    parser.add_argument("--batch-seconds", type=float, help="seconds of context in a batch; default: 120 on a GPU, 30 on a CPU")
    parser.add_argument("--batch-size", type=int, default=64, help="most utterances in a batch")
    parser.add_argument("--full-window-share", type=float, default=DEFAULTS.full_window_share, help="share of the trimmed batches")
    arguments = parser.parse_args()
    known = report.common(arguments)
    gpu = known.device.type == "cuda"
    config = DEFAULTS.model_copy(
        update={
            "batch_size": arguments.batch_size,
            "batch_seconds": arguments.batch_seconds or (120.0 if gpu else 30.0),
            "full_window_share": arguments.full_window_share,
            "seed": arguments.seed,
            "epochs": 1.0,
        }
    )
    plan = BatchPlan.of(config)
    about = report.measured_on(arguments, known)
    setting = Setting(
        known.device, known.dtype, plan, arguments.steps or (20 if gpu else 4), arguments.warmup, ceiling=about["matmul_flops_per_s"]
    )
    about["batches"] = (
        f"{setting.steps} of up to {plan.batch_seconds:g} s of context and {plan.batch_size} utterances, "
        f"{plan.full_window_share:.0%} of them full windows of condensed silence"
    )
    print(report.heading(about), HEADER, sep="\n\n", flush=True)
    rows = run(known.shapes, arguments.methods, setting, show=lambda row: print(line(row), flush=True))
    table = "\n".join([HEADER, *map(line, rows)])
    page = f"# Training on {about['device']}\n\n{report.heading(about)}\n\n{table}\n\n{__doc__.strip()}"
    report.save(arguments, about, [asdict(row) for row in rows], page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
