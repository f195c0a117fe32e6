"""What the routes, live captions and jobs call: sound and options in, a transcript out.

A request runs a :class:`finewhisper.transcription.transcriber.Transcriber` of its own in a thread with a share of the model's engine, so
that the server says what the command line says. The event loop only waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform, duration
from finewhisper.engines import load_for
from finewhisper.errors import AudioError, CutShortError
from finewhisper.language import spoken_language
from finewhisper.live.stream import DRAFT_MARGIN_S
from finewhisper.model import ModelFolder
from finewhisper.server.config import ServeConfig
from finewhisper.server.errors import BusyError, ClientGoneError, ClosingError, TooLargeError
from finewhisper.server.models import Models
from finewhisper.server.prometheus import Metrics
from finewhisper.server.worker import SharedEngine, Worker
from finewhisper.transcript import DecodeOptions, Task, Transcript
from finewhisper.transcription.chunks import Clip
from finewhisper.transcription.transcriber import Plan, Progress, Transcriber
from finewhisper.transcription.wording import Change, changed, changes
from finewhisper.vocabulary import Vocabulary

#: Sound that a request brings: a file, whose name says nothing, or 16 kHz mono samples.
Sound = Path | Waveform


@dataclass(frozen=True)
class RequestOptions:
    """What a client wants to have heard, and how it is to be written."""

    model: str = ""  #: a name; "": the server's first model
    language: str | None = None  #: a code or name; None: detected
    task: Task = "transcribe"
    prompt: str = ""  #: what was said before: names and spellings
    hotwords: tuple[str, ...] = ()
    temperature: float = 0.0
    beam_size: int = DecodeOptions.beam_size
    word_timestamps: bool = False
    vad: bool | None = None  #: None: look for speech in what is longer than 30 s, and whether there is any in what is not; False: nowhere
    to_simple: bool = False  #: simplified Chinese characters
    remove_pun: bool = False  #: no punctuation
    urgent: bool = False  #: goes before everything that waits: for live captions
    draft: bool = False  #: heard once and in a short context, also by a model that has not learnt them
    language_is_default: bool = False  #: nobody named the language, so a model that knows only English may pass over it

    @property
    def wording(self) -> list[Change]:
        """What is done to the text."""
        return changes(to_simple=self.to_simple, remove_pun=self.remove_pun)


class Service:
    """The models of a server and everything that happens to them.

    All methods are called from the event loop, but for those of :attr:`models`.

    Attributes:
        models: by name.
        metrics: counters for whoever watches.
        running: how many places are taken.
        sockets: how many live sockets are open; whoever opens and closes them counts.
        draining: is set when no new work is taken any more, so that what would go on for long ends itself.

    Args:
        config: the server's options.

    Raises:
        ModelError: a folder is no model.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.metrics = Metrics()
        self.running = self.sockets = 0
        self.draining = asyncio.Event()
        self._closing = False
        self._typical_s: Seconds = 1.0  # that a request takes
        folders = {name: ModelFolder.open(path) for name, path in config.folders.items()}
        self.models = Models(folders, self._start_worker)
        self.metrics.watch("running_requests", "Requests that are worked on.", lambda: self.running)
        self.metrics.watch("live_sockets", "Live sockets that are open.", lambda: self.sockets)
        self.metrics.watch("waiting_windows", "Windows that wait for an engine.", lambda: self.models.waiting)
        self.metrics.watch("loaded_models", "Models in memory.", lambda: len(self.models.loaded))
        self._pool = ThreadPoolExecutor(config.queue + _MORE_THREADS, thread_name_prefix="request")

    @property
    def closing(self) -> bool:
        """Whether the server takes no new work."""
        return self._closing

    @property
    def ready(self) -> bool:
        """Whether the first model is loaded and work is taken."""
        return not self._closing and (self.models.names[0] in self.models.loaded or self.config.unload_after > 0)

    async def load(self, name: str = "") -> None:
        """Load a model now, the first one unless named. Raises: as :meth:`Models.use`."""

        def load() -> None:
            with self.models.use(name):
                pass

        await asyncio.get_running_loop().run_in_executor(self._pool, load)

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests that the server works on at a time; take one for each, before its recording is received.

        Raises:
            BusyError: there is none left.
            ClosingError: the server is shutting down.
        """
        if self._closing:
            raise ClosingError("the server is shutting down; ask another one, or again later")
        if self.running >= self.config.queue:
            raise BusyError(f"{self.running} requests are in work already; ask again later", self._typical_s)
        self.running += 1
        started_s = time.monotonic()
        try:
            yield
        finally:
            self.running -= 1
            self._typical_s += 0.1 * (time.monotonic() - started_s - self._typical_s)

    async def check(self, requested: RequestOptions) -> None:
        """Whether the options can be honoured; loads their model. Raises: as :meth:`transcript` does, whatever the sound."""

        def work() -> None:
            with self._hearing(requested, _Request()):
                pass

        await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def transcript(self, sound: Sound, requested: RequestOptions, *, progress: Progress | None = None) -> Transcript:
        """All that was heard. When the awaiting task is cancelled, the work is dropped.

        Args:
            progress: called in the event loop with the seconds of audio that have just been transcribed.

        Raises:
            AudioError: the sound cannot be decoded; the file's name is not in the message.
            TooLargeError: it lasts longer than the server takes.
            UsageError, UnsupportedError: the model cannot do what is asked for, or there is no such language.
            UnknownModelError: there is no such model.
            ClosingError: the server shut down meanwhile.
            MemoryLimitError: memory does not hold one window.
        """
        loop, request = asyncio.get_running_loop(), _Request()
        told = None if progress is None else _in_loop(loop, progress)

        def work() -> Transcript:
            with self._hearing(requested, request) as transcriber, _without_name(sound):
                heard = transcriber.transcribe(self._clip(sound, request), progress=told)
                return changed(request.noticed(heard), requested.wording)

        try:
            return await loop.run_in_executor(self._pool, work)
        finally:
            request.cancel()

    async def parts(self, sound: Sound, requested: RequestOptions, *, progress: Progress | None = None) -> AsyncGenerator[Transcript, None]:
        """What was heard in stretch after stretch of a recording, as soon as it is known; joined, it is :meth:`transcript`'s.

        The language and its probability are in every part that follows the first words, and ``duration_s`` is how much of the recording
        has been heard. Closing the iterator (:func:`contextlib.aclosing`) drops the rest of the work.

        Args:
            progress: as in :meth:`transcript`; raises as that does.
        """
        loop, request = asyncio.get_running_loop(), _Request()
        found: asyncio.Queue[Transcript | None] = asyncio.Queue()
        told = None if progress is None else _in_loop(loop, progress)

        def work() -> None:
            try:
                with self._hearing(requested, request) as transcriber, _without_name(sound):
                    for part in transcriber.parts(self._clip(sound, request), progress=told):
                        loop.call_soon_threadsafe(found.put_nowait, changed(request.noticed(part), requested.wording))
            finally:
                loop.call_soon_threadsafe(found.put_nowait, None)

        working = loop.run_in_executor(self._pool, work)
        working.add_done_callback(lambda done: done.cancelled() or done.exception())  # whoever closes the iterator wants no error
        try:
            while (part := await found.get()) is not None:
                yield part
            await working
        finally:
            request.cancel()

    def drain(self) -> None:
        """Take no new work from now on; requests go on, and live sockets end as soon as what was said is heard."""
        self._closing = True
        self.draining.set()

    def close(self) -> None:
        """End everything at once; what still runs gets a :class:`ClosingError`."""
        self._closing = True
        self.models.close()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start_worker(self, folder: ModelFolder) -> Worker:
        config = self.config
        engine = load_for(folder, config, side_by_side=True)
        return Worker(engine, config.batch_size, lambda batch: self.metrics.decoded(len(batch), sum(map(len, batch)) / SAMPLE_RATE))

    @contextmanager
    def _hearing(self, requested: RequestOptions, request: _Request) -> Iterator[Transcriber]:
        """A transcriber for one request, in the request's thread."""
        with self.models.use(requested.model) as (folder, worker):
            share = worker.share(urgent=requested.urgent)
            request.holds(share)
            options = self._options(requested, folder, share.vocabulary)
            plan = Plan(self.config.batch_size, requested.vad, fallback=() if requested.draft else Plan.fallback)
            yield Transcriber(share, options, plan)

    def _options(self, requested: RequestOptions, folder: ModelFolder, vocabulary: Vocabulary) -> DecodeOptions:
        """What to decode. Raises: UsageError, before anything is decoded."""
        named = requested.language if vocabulary.multilingual or not requested.language_is_default else None
        language = spoken_language(named)
        timestamps = folder.card.timestamps is not False
        if language is not None or not vocabulary.multilingual:
            vocabulary.prompt(language or "en", requested.task, timestamps=timestamps)  # knows what the model cannot do
        return DecodeOptions(
            language=language,
            task=requested.task,
            timestamps=timestamps,
            beam_size=requested.beam_size,
            prompt=requested.prompt,
            hotwords=requested.hotwords,
            word_timestamps=requested.word_timestamps,
            temperature=requested.temperature,
            margin_s=DRAFT_MARGIN_S if requested.draft else None,
        )

    def _clip(self, sound: Sound, request: _Request) -> Clip:
        """The sound in pieces, as long as it may be and the client is there."""
        limit_s = self.config.max_duration
        if not isinstance(sound, Path):
            if len(sound) > limit_s * SAMPLE_RATE:
                raise _too_long(limit_s)
            return sound
        if _promised_s(sound) > limit_s:
            raise _too_long(limit_s)  # before hours of it are transcribed
        return _limited(audio.blocks(sound, notices=request.notices), limit_s, request)


#: Threads beyond those of the places: connections that stay open ask now and then.
_MORE_THREADS = 32


class _Request:
    """What a thread works on, for whoever wants it to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._share: SharedEngine | None = None
        self.gone = False
        self.notices: list[audio.Notice] = []  #: of the recording, as far as it has been read

    def noticed(self, heard: Transcript) -> Transcript:
        """A transcript with what was noticed of its recording."""
        return heard.noticed(self.notices)

    def holds(self, share: SharedEngine) -> None:
        with self._lock:
            self._share = share
            if self.gone:
                share.cancel()

    def cancel(self) -> None:
        with self._lock:
            self.gone = True
            if self._share is not None:
                self._share.cancel()


def _promised_s(path: Path) -> Seconds:
    """How long a file says it is; 0 where that cannot be told, as reading it will show."""
    try:
        return duration(path)
    except CutShortError as error:
        return error.found_s
    except AudioError:
        return 0.0


def _limited(pieces: Iterator[Waveform], limit_s: Seconds, request: _Request) -> Iterator[Waveform]:
    """The pieces of a recording. Raises: TooLargeError as soon as they last too long, however small the file was."""
    samples = 0
    for piece in pieces:
        samples += len(piece)
        if samples > limit_s * SAMPLE_RATE:
            raise _too_long(limit_s)
        if request.gone:
            raise ClientGoneError("cancelled")
        yield piece


def _too_long(limit_s: Seconds) -> TooLargeError:
    return TooLargeError(f"the recording lasts longer than the {limit_s:g} s that this server takes; cut it, or raise --max-duration")


@contextmanager
def _without_name(sound: Sound) -> Iterator[None]:
    """Where an upload is kept is nobody's business."""
    try:
        yield
    except AudioError as error:
        raise AudioError(str(error).replace(str(sound), "audio")) from error


def _in_loop(loop: asyncio.AbstractEventLoop, progress: Progress) -> Progress:
    return lambda seconds: (loop.call_soon_threadsafe(progress, seconds), None)[1]
