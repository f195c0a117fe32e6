"""The threads that own an engine, as many as it has workers, and the share of it that each request sees.

Windows of all requests wait in one queue. A thread that is free takes the oldest and those like it, of whatever request: the more
wait, the fuller the batch, and nobody waits for company. An engine's answer does not depend on a window's neighbours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from finewhisper.audio import Waveform
from finewhisper.engines.base import Engine
from finewhisper.model import Context
from finewhisper.server.errors import ClientGoneError, ClosingError
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.transcription.listener import by_halves, windows_together
from finewhisper.vocabulary import Vocabulary

_UNLOADED = "the model was unloaded; ask again"


@dataclass(eq=False)
class _Waiting:
    """A window that the engine has not begun; its answer is a transcript, or probabilities of languages where there are no options."""

    waveform: Waveform
    frames: int
    options: DecodeOptions | None
    urgent: bool
    answer: Future[Any] = field(default_factory=Future)

    @property
    def kind(self) -> tuple[int, DecodeOptions | None]:
        """What may share a batch."""
        return self.frames, self.options


class Worker:
    """Threads that give an engine one batch after the other.

    Args:
        engine: a loaded model; from now on, only these threads call it.
        batch_size: full windows of 30 s in a batch, and up to four times as many shorter ones.
        done: called after each batch with the number of its windows and the seconds of audio in them.
    """

    def __init__(self, engine: Engine, batch_size: int, done: Callable[[Sequence[Waveform]], None] = lambda _: None) -> None:
        self._engine, self._batch_size, self._done = engine, batch_size, done
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._work, name="inference", daemon=True) for _ in range(engine.workers)]
        for thread in self._threads:
            thread.start()

    def share(self, *, urgent: bool = False) -> SharedEngine:
        """The engine as one request sees it; what is ``urgent`` goes before everything that waits.

        Raises:
            ClosingError: :meth:`close` was called.
        """
        if self._closed:
            raise ClosingError(_UNLOADED)
        return SharedEngine(self, self._engine, urgent=urgent)

    @property
    def waiting(self) -> int:
        """How many windows wait."""
        with self._changed:
            return len(self._waiting)

    def close(self) -> None:
        """End the threads after the batches they are at, and free the engine; what waits gets a :class:`ClosingError`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for window in self._waiting:
            if window.answer.set_running_or_notify_cancel():
                window.answer.set_exception(ClosingError(_UNLOADED))
        self._waiting.clear()
        del self._engine

    def _put(self, windows: Sequence[_Waiting]) -> None:
        with self._changed:
            if self._closed:
                raise ClosingError(_UNLOADED)
            self._waiting += windows
            self._changed.notify_all()

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            waveforms = [window.waveform for window in batch]
            try:
                answers = self._answers(waveforms, batch[0].options)
            except Exception as error:  # every request gets it, and raises it in its own thread
                for window in batch:
                    window.answer.set_exception(error)
            else:
                for window, answer in zip(batch, answers, strict=True):
                    window.answer.set_result(answer)
            self._done(waveforms)

    def _next(self) -> list[_Waiting] | None:
        """The windows to decode next, which can no longer be cancelled; waits for some. None: the worker is closed."""
        with self._changed:
            while not self._closed:
                self._waiting = [window for window in self._waiting if not window.answer.cancelled()]
                batch = [window for window in self._like_the_first() if window.answer.set_running_or_notify_cancel()]
                if batch:
                    return batch
                if not self._waiting:
                    self._changed.wait()
        return None

    def _like_the_first(self) -> list[_Waiting]:
        """Take the oldest urgent window, else the oldest of all, and the oldest that may share its batch."""
        first = min(self._waiting, key=lambda window: not window.urgent, default=None)
        if first is None:
            return []
        most = windows_together(first.frames, self._batch_size)
        like = [window for window in self._waiting if window is not first and window.kind == first.kind]
        taken = [first, *like[: most - 1]]
        chosen = set(map(id, taken))
        self._waiting = [window for window in self._waiting if id(window) not in chosen]
        return taken

    def _answers(self, waveforms: list[Waveform], options: DecodeOptions | None) -> list[Any]:
        if options is None:
            return self._engine.detect_languages(waveforms)
        return by_halves(
            waveforms,
            lambda some: self._engine.transcribe(some, options, len(some)),
            lambda: self._batch_size,
            self._hold,
        )

    def _hold(self, batch_size: int) -> None:
        self._batch_size = batch_size


class SharedEngine:
    """A request's share of an engine: what a :class:`finewhisper.transcription.transcriber.Transcriber` asks of one.

    Its methods are called in the request's own thread and wait there for the worker.
    """

    def __init__(self, worker: Worker, engine: Engine, *, urgent: bool) -> None:
        self._worker, self._urgent = worker, urgent
        self._context, self._vocabulary, self._frames, self.workers = engine.context, engine.vocabulary, engine.frames, 1
        self._asked: list[_Waiting] = []
        self._gone = False
        self._lock = threading.Lock()

    @property
    def context(self) -> Context:
        return self._context

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    def frames(self, waveform: Waveform, options: DecodeOptions | None = None) -> int:
        return self._frames(waveform, options)

    def transcribe(self, waveforms: Sequence[Waveform], options: DecodeOptions, batch_size: int = 0) -> list[Transcript]:
        """As an engine's.

        Args:
            batch_size: of no account: the worker makes batches of all requests.

        Raises:
            ClientGoneError: :meth:`cancel` was called.
            ClosingError: the worker was closed.
        """
        return self._answers([_Waiting(waveform, self.frames(waveform, options), options, self._urgent) for waveform in waveforms])

    def detect_languages(self, waveforms: Sequence[Waveform]) -> list[dict[str, float]]:
        """As an engine's; raises as :meth:`transcribe`."""
        return self._answers([_Waiting(waveform, self.frames(waveform), None, self._urgent) for waveform in waveforms])

    def cancel(self) -> None:
        """Give up: what waits is dropped, and the request's thread gets a :class:`ClientGoneError`. May be called from any thread."""
        with self._lock:
            self._gone = True
            for window in self._asked:
                window.answer.cancel()

    def _answers(self, windows: list[_Waiting]) -> list[Any]:
        with self._lock:
            if self._gone:
                raise ClientGoneError("cancelled")
            self._asked = windows
            self._worker._put(windows)
        try:
            return [window.answer.result() for window in windows]
        except CancelledError:
            raise ClientGoneError("cancelled") from None
        finally:
            self._asked = []
