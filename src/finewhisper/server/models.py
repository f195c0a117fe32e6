"""Models by name: loaded when they are first asked for, unloaded when nobody has asked for a while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from finewhisper.audio import Seconds
from finewhisper.model import ModelFolder
from finewhisper.server.errors import ClosingError, UnknownModelError
from finewhisper.server.worker import Worker

#: What OpenAI's own model is called; clients that know no other name mean the server's first model.
OPENAI_NAME = "whisper-1"


@dataclass(eq=False)
class _Place:
    """A model that is or may be loaded."""

    folder: ModelFolder
    lock: threading.Lock  # held while it is loaded or unloaded
    worker: Worker | None = None
    users: int = 0
    used_at_s: Seconds = 0.0


class Models:
    """The models of a server; every method may be called from any thread.

    Args:
        folders: by name; the first is the default.
        start: loads a folder and starts its worker.
    """

    def __init__(self, folders: Mapping[str, ModelFolder], start: Callable[[ModelFolder], Worker]) -> None:
        self._start = start
        self._places = {name: _Place(folder, threading.Lock()) for name, folder in folders.items()}
        self._closed = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._places)

    @property
    def loaded(self) -> tuple[str, ...]:
        """The names of the models that are in memory."""
        return tuple(name for name, place in self._places.items() if place.worker is not None)

    @property
    def waiting(self) -> int:
        """Windows that wait for an engine."""
        return sum(worker.waiting for place in self._places.values() if (worker := place.worker) is not None)

    def resolve(self, name: str) -> str:
        """The name of a model: of the first, where none is asked for.

        Raises:
            UnknownModelError: there is no such model.
        """
        if name in self._places:
            return name
        if name in {"", OPENAI_NAME}:
            return next(iter(self._places))
        raise UnknownModelError(f"model {name!r} is not served here; choose one of {', '.join(self._places)}")

    @contextmanager
    def use(self, name: str) -> Iterator[tuple[ModelFolder, Worker]]:
        """A model, loaded first if need be, that stays loaded inside the block.

        Raises:
            UnknownModelError: there is no such model.
            ModelError, UnsupportedError, MissingExtraError: as :func:`finewhisper.engines.load_engine`.
        """
        place = self._places[self.resolve(name)]
        with place.lock:
            if self._closed:
                raise ClosingError("the server is shutting down")
            worker = place.worker = place.worker or self._start(place.folder)
            place.users += 1
        try:
            yield place.folder, worker
        finally:
            with place.lock:
                place.users -= 1
                place.used_at_s = time.monotonic()

    def unload_idle(self, after_s: Seconds) -> list[str]:
        """Unload what has not been used for so long; the names of what was."""
        unloaded = []
        for name, place in self._places.items():
            if not place.lock.acquire(blocking=False):
                continue  # it is being loaded: somebody wants it
            try:
                if place.worker is not None and not place.users and time.monotonic() - place.used_at_s >= after_s:
                    place.worker.close()
                    place.worker = None
                    unloaded.append(name)
            finally:
                place.lock.release()
        return unloaded

    def close(self) -> None:
        """Unload everything, whoever uses it."""
        self._closed = True
        for place in self._places.values():
            with place.lock:
                if place.worker is not None:
                    place.worker.close()
                    place.worker = None
