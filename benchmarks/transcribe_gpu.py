"""How many times faster than real time short clips become text, on contexts of their own length and on 30 s windows, beside a floor.

The models have random weights and the clips are noise, so nothing is downloaded; the engines are those of ``finewhisper transcribe``,
called as it calls them: spectrogram, encoder, greedy decoding with cached keys and values, scores. End tokens are suppressed, so every
clip gets the same number of tokens. Time is the median of several calls after one that does not count.

The floor is what no implementation on this machine beats: for the encoder, and for the decoder's passes, the larger of arithmetic over the
rate of a large matrix product and bytes over the rate of a large copy, both measured in the same run (see flops.py). Every pass reads the
decoder's weights once for the whole batch. (A CPU may keep a tiny model's weights in its cache, which no large model fits.)
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import flops
import machine
import numpy as np
import report
import shapes
import torch

from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.conversion import auxiliary_files, to_ctranslate2
from finewhisper.engines import Engine
from finewhisper.engines.base import token_budget
from finewhisper.engines.ct2 import CTranslate2Engine
from finewhisper.engines.transformers import TransformersEngine
from finewhisper.errors import FinewhisperError
from finewhisper.features import log_mel, pad_samples
from finewhisper.model import Context, ModelFolder
from finewhisper.transcript import DecodeOptions
from finewhisper.whisper import LengthAwareWhisper

PROMPT_TOKENS = 4  # start, language, task, no timestamps


@dataclass(frozen=True)
class Setting:
    """What all rows of a run share."""

    device: torch.device
    dtype: torch.dtype
    batches: tuple[int, ...]
    clip_s: float
    tokens: int
    repeats: int
    seed: int
    flops_per_s: float  #: of a large matrix product
    bytes_per_s: float  #: of a large copy

    def options(self) -> DecodeOptions:
        """Greedy, without times, and with a budget of exactly ``tokens`` for each clip."""
        free = token_budget(0.0, PROMPT_TOKENS, DecodeOptions())
        per_second = max(self.tokens - free, 0) / self.clip_s
        return DecodeOptions(language="zh", timestamps=False, max_tokens_per_second=per_second * (1 - 1e-9))


@dataclass(frozen=True)
class Row:
    """One line of the table; without figures where ``problem`` says why."""

    shape: str
    engine: str
    precision: str = ""
    context: str = ""
    batch: int = 0
    seconds: float = 0.0
    times_real_time: float = 0.0
    features_s: float = 0.0  #: of these, for the spectrograms, which are made on the CPU
    floor_s: float = 0.0
    memory_gb: float = 0.0
    problem: str | None = None


def run(names: Sequence[str], engines: Sequence[str], setting: Setting, show: Callable[[Row], None]) -> list[Row]:
    """Measure every shape and engine; ``show`` is called with each row when it is known."""
    rows = []
    for name, engine in itertools.product(names, engines):
        for row in _rows(name, engine, setting):
            show(row)
            rows.append(row)
    return rows


def _rows(name: str, engine_name: str, setting: Setting) -> Iterator[Row]:
    """All contexts and batch sizes of one engine; what it cannot load or compute is a row that says so."""
    row = Row(name, engine_name)
    held = machine.held_bytes(setting.device)
    try:
        with ENGINES[engine_name](shapes.SHAPES[name], setting) as engine:
            row = replace(row, precision=engine.precision)
            for context, batch in itertools.product(("trimmed", "padded"), setting.batches):
                within = engine.within(Context(trimmed=context == "trimmed"))
                yield _measured(replace(row, context=context, batch=batch), within, held, setting)
    except (FinewhisperError, RuntimeError) as error:  # no such device or library, or out of memory, with the model alone
        yield replace(row, problem=_first_line(error))


def _measured(row: Row, engine: Engine, held: int, setting: Setting) -> Row:
    clips = _clips(row.batch, setting)
    options = setting.options()
    machine.reset_peak(setting.device)
    try:
        written = [len(transcript.text.split()) for transcript in engine.transcribe(clips, options, row.batch)]
        seconds = machine.median_seconds(setting.device, lambda: engine.transcribe(clips, options, row.batch), setting.repeats)
    except RuntimeError as error:
        return replace(row, problem=_first_line(error))
    if set(written) != {setting.tokens}:
        raise AssertionError(f"{row}: wrote {sorted(set(written))} tokens a clip, not {setting.tokens}")
    frames = engine.frames(clips[0])
    return replace(
        row,
        seconds=seconds,
        times_real_time=row.batch * setting.clip_s / seconds,
        features_s=machine.median_seconds(
            setting.device, lambda: np.stack([log_mel(pad_samples(clip, frames), engine.n_mels) for clip in clips]), repeats=1
        ),
        floor_s=floor_s(shapes.SHAPES[row.shape], flops.Work(row.batch, frames, setting.tokens, 0), engine.precision, setting),
        memory_gb=_memory_bytes(row.engine, held, setting.device) / 1e9,
    )


def _memory_bytes(engine: str, held: int, device: torch.device) -> int:
    """The highest use of torch's allocator or of a CPU's process; CTranslate2 on a GPU keeps what it once took, so what it has now."""
    if engine == "ctranslate2" and device.type == "cuda":
        return machine.held_bytes(device) - held
    return machine.peak_bytes(device)


def floor_s(shape: shapes.Shape, work: flops.Work, precision: str, setting: Setting) -> float:
    """The least time for one batch on this machine, seconds."""
    item_bytes = 4 if precision == "float32" else 2
    stages = flops.encoding(shape, work, item_bytes), flops.decoding(shape, work, PROMPT_TOKENS, item_bytes)
    return sum(stage.seconds(setting.flops_per_s, setting.bytes_per_s) for stage in stages)


def _clips(count: int, setting: Setting) -> list[Waveform]:
    rng = np.random.default_rng(setting.seed)
    return [rng.normal(scale=0.1, size=round(setting.clip_s * SAMPLE_RATE)).astype(np.float32) for _ in range(count)]


@contextmanager
def transformers_engine(shape: shapes.Shape, setting: Setting) -> Iterator[Engine]:
    """The engine on a model that lies on the device already."""
    model = shapes.build(shape, setting.device, setting.dtype, setting.seed).eval()
    yield TransformersEngine(model, shapes.vocabulary(shape), Context())


@contextmanager
def ctranslate2_engine(shape: shapes.Shape, setting: Setting) -> Iterator[Engine]:
    """The engine on the same weights, converted as `finewhisper convert` does it, but without the comparison: it has nothing to say."""
    precision: Literal["float16", "float32"] = "float16" if setting.device.type == "cuda" else "float32"
    with tempfile.TemporaryDirectory() as scratch:
        source, target = Path(scratch) / "source", Path(scratch) / "target"
        _save(shapes.build(shape, torch.device("cpu"), torch.float16, setting.seed), shape, source)
        target.mkdir()
        to_ctranslate2.write(ModelFolder.open(source, "transformers"), target, precision)
        yield CTranslate2Engine.load(ModelFolder.open(target, "ctranslate2"), device=str(setting.device), threads=torch.get_num_threads())


def _save(model: LengthAwareWhisper, shape: shapes.Shape, folder: Path) -> None:
    """A transformers folder with what conversion reads."""
    model.save_pretrained(folder)
    shapes.vocabulary(shape).tokenizer.save(str(folder / "tokenizer.json"))
    auxiliary_files.write_json(folder / "preprocessor_config.json", auxiliary_files.preprocessor_config(shape.n_mels))


ENGINES = {"transformers": transformers_engine, "ctranslate2": ctranslate2_engine}

HEADER = """\
| model | engine | context | batch | s | × real time | of it spectrograms, s | floor, s | × floor | memory GB |
|---|---|---|---|---|---|---|---|---|---|"""


def line(row: Row) -> str:
    """The row as a line of the table."""
    start = f"| {row.shape} | {row.engine} {row.precision} | {row.context} | {row.batch or ''} |"
    if row.problem:
        return f"{start} {row.problem} | | | | | |"
    return (
        f"{start} {row.seconds:.3f} | {row.times_real_time:.0f} | {row.features_s:.3f} | {row.floor_s:.4f} |"
        f" {row.seconds / row.floor_s:.1f} | {row.memory_gb:.2f} |"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def main() -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    parser.add_argument("--batches", nargs="+", type=int, help="clips decoded together; default: 1 4 16 64 on a GPU, 1 4 on a CPU")
    parser.add_argument("--seconds", type=float, default=4.5, help="length of every clip; AISHELL's mean")
    parser.add_argument("--tokens", type=int, default=20, help="tokens written for every clip, at least 12; AISHELL's mean is 16")
    parser.add_argument("--repeats", type=int, default=3, help="calls whose median is reported")
    arguments = parser.parse_args()
    known = report.common(arguments)
    about = report.measured_on(arguments, known)
    batches = arguments.batches or ((1, 4, 16, 64) if known.device.type == "cuda" else (1, 4))
    setting = Setting(
        known.device, known.dtype, tuple(batches), arguments.seconds, arguments.tokens, arguments.repeats, arguments.seed,
        flops_per_s=about["matmul_flops_per_s"], bytes_per_s=about["copy_bytes_per_s"],
    )  # fmt: skip
    about["clips"] = f"{setting.clip_s:g} s each, {setting.tokens} tokens written, median of {setting.repeats} calls"
    print(report.heading(about), HEADER, sep="\n\n", flush=True)
    rows = run(known.shapes, arguments.engines, setting, show=lambda row: print(line(row), flush=True))
    table = "\n".join([HEADER, *map(line, rows)])
    page = f"# Transcribing on {about['device']}\n\n{report.heading(about)}\n\n{table}\n\n{__doc__.strip()}"
    report.save(arguments, about, [asdict(row) for row in rows], page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
