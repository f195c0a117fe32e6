"""Windows of several requests through one real engine: who shares a batch, who waits, who is dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finewhisper.audio import Waveform
from finewhisper.engines import Engine, load_engine
from finewhisper.engines.base import Features, Hypothesis
from finewhisper.errors import MemoryLimitError, UsageError
from finewhisper.model import ModelFolder
from finewhisper.server.errors import ClientGoneError, ClosingError
from finewhisper.server.worker import Worker
from finewhisper.transcript import DecodeOptions, Transcript

pytestmark = pytest.mark.real
OPTIONS = DecodeOptions(timestamps=False, max_tokens_per_second=0.1)
WAIT_S = 120.0


@pytest.fixture(scope="module")
def engine(quick_model: Path) -> Engine:
    return load_engine(ModelFolder.open(quick_model), device="cpu", precision="int8", threads=1)


class Gate:
    """Lets an engine begin a batch when the test says so, and notes what it was given."""

    def __init__(self, engine: Engine) -> None:
        self._transcribe = engine.transcribe
        self.batches: list[list[float]] = []
        self.busy, self.open = threading.Event(), threading.Event()

    def __call__(self, waveforms: list[Waveform], options: DecodeOptions, batch_size: int = 16) -> list[Transcript]:
        self.batches.append([len(waveform) / 16_000 for waveform in waveforms])
        self.busy.set()
        assert self.open.wait(WAIT_S)
        return self._transcribe(waveforms, options)


@pytest.fixture
def gate(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Gate:
    gate = Gate(engine)
    monkeypatch.setattr(engine, "transcribe", gate)
    return gate


@pytest.fixture
def worker(engine: Engine) -> Iterator[Worker]:
    worker = Worker(engine, batch_size=2)
    yield worker
    worker.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


Ask = Callable[..., "Future[list[Transcript]]"]


@pytest.fixture
def ask(worker: Worker, threads: ThreadPoolExecutor) -> Ask:
    """One request in a thread of its own; returns when its windows wait."""

    def ask(*seconds: float, options: DecodeOptions = OPTIONS, share: Any = None, urgent: bool = False) -> Future[list[Transcript]]:
        before = worker.waiting
        future = threads.submit((share or worker.share(urgent=urgent)).transcribe, list(map(tone, seconds)), options)
        until(lambda: worker.waiting >= before + len(seconds) or future.done())
        return future

    return ask


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.002)


def tone(seconds: float) -> Waveform:
    return (0.1 * np.sin(np.arange(round(seconds * 16_000)) * 0.2)).astype(np.float32)


@pytest.fixture
def engine_at_work(gate: Gate, worker: Worker, threads: ThreadPoolExecutor) -> Iterator[Gate]:
    """An engine that is busy with a window of 7 s until the gate opens."""
    future = threads.submit(worker.share().transcribe, [tone(7.0)], OPTIONS)
    assert gate.busy.wait(WAIT_S)
    gate.batches.clear()
    yield gate
    gate.open.set()
    future.result(WAIT_S)


def results(gate: Gate, *asked: Future[list[Transcript]]) -> list[list[Transcript]]:
    gate.open.set()
    return [future.result(WAIT_S) for future in asked]


def test_what_waits_while_the_engine_is_busy_shares_batches(engine_at_work: Gate, ask: Ask):
    """Like lengths together, the oldest first, eight short windows at most where two full ones fit."""
    asked = [ask(1.0), ask(3.0), *[ask(1.0) for _ in range(8)], ask(3.0, 3.0)]
    heard = results(engine_at_work, *asked)
    assert engine_at_work.batches == [[1.0] * 8, [3.0] * 3, [1.0]]
    assert [[transcript.duration_s for transcript in transcripts] for transcripts in heard] == [[1.0], [3.0], *[[1.0]] * 8, [3.0, 3.0]]


def test_windows_with_other_options_have_a_batch_of_their_own(engine_at_work: Gate, ask: Ask):
    asked = [ask(1.0), ask(1.0, options=replace(OPTIONS, prompt="Names")), ask(1.0)]
    results(engine_at_work, *asked)
    assert engine_at_work.batches == [[1.0, 1.0], [1.0]]


def test_what_is_urgent_goes_first(engine_at_work: Gate, ask: Ask):
    results(engine_at_work, ask(1.0), ask(2.0), ask(3.0, urgent=True))
    assert engine_at_work.batches == [[3.0], [1.0], [2.0]]


def test_a_client_that_goes_away_frees_its_place(engine_at_work: Gate, worker: Worker, ask: Ask):
    leaving = worker.share()
    left, stays = ask(1.0, 1.0, 2.0, share=leaving), ask(1.0)
    leaving.cancel()
    with pytest.raises(ClientGoneError):
        left.result(WAIT_S)
    results(engine_at_work, stays)
    assert engine_at_work.batches == [[1.0]]
    with pytest.raises(ClientGoneError):
        leaving.transcribe([tone(1.0)], OPTIONS)


def test_answers_are_those_of_the_engine_alone(engine: Engine, worker: Worker, threads: ThreadPoolExecutor):
    clips = [tone(seconds) for seconds in (1.0, 2.0, 1.0, 4.0, 1.1)]
    alone = [engine.transcribe([clip], DecodeOptions())[0] for clip in clips]
    together = threads.map(lambda clip: worker.share().transcribe([clip], DecodeOptions())[0], clips)
    assert list(together) == alone
    assert worker.share().detect_languages(clips) == engine.detect_languages(clips)


def test_an_error_reaches_those_who_asked_and_the_worker_goes_on(worker: Worker):
    with pytest.raises(UsageError, match="multilingual"):
        worker.share().transcribe([tone(1.0)], replace(OPTIONS, task="translate"))
    assert worker.share().transcribe([tone(1.0)], OPTIONS)[0].duration_s == 1.0


def test_where_memory_does_not_hold_a_batch_halves_are_decoded(
    engine: Engine, engine_at_work: Gate, worker: Worker, ask: Ask, monkeypatch: pytest.MonkeyPatch
):
    """The library's own words; a machine of which the test may take all memory cannot be had."""
    original = engine._generate

    def small(features: Features, *rest: Any) -> list[Hypothesis]:
        if len(features) > 2:
            raise RuntimeError("CUDA failed with error out of memory")
        return original(features, *rest)

    monkeypatch.setattr(engine, "_generate", small)
    assert len(results(engine_at_work, *[ask(1.0) for _ in range(8)])) == 8
    assert [len(batch) for batch in engine_at_work.batches] == [8, 4, 2, 2, 4, 2, 2]
    monkeypatch.setattr(engine, "_generate", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryLimitError):
        worker.share().transcribe([tone(1.0)], OPTIONS)


def test_closing_answers_what_waits(engine: Engine, gate: Gate, threads: ThreadPoolExecutor):
    worker = Worker(engine, batch_size=2)
    running = threads.submit(worker.share().transcribe, [tone(7.0)], OPTIONS)
    assert gate.busy.wait(WAIT_S)
    waiting = threads.submit(worker.share().transcribe, [tone(1.0)], OPTIONS)
    until(lambda: worker.waiting > 0)
    closing = threads.submit(worker.close)
    until(lambda: worker._closed)
    gate.open.set()
    closing.result(WAIT_S)
    assert running.result(WAIT_S)[0].duration_s == 7.0
    with pytest.raises(ClosingError):
        waiting.result(WAIT_S)
    with pytest.raises(ClosingError):
        worker.share()
