"""Opus in WebM or Ogg, as browsers' MediaRecorder makes it, decoded while it arrives.

FFmpeg asks for bytes when it wants them and waits until it has them, so it runs in a thread of its own. It is told the container's format
and given nothing but bytes: no other format of the many that it knows, some of which open files and addresses, can be reached.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator

import numpy as np

from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform
from finewhisper.errors import AudioError
from finewhisper.resampling import Converter, Mixer

_FORMATS = {b"\x1a\x45\xdf\xa3": "matroska", b"OggS": "ogg"}
#: Sound that may wait to be taken: a hostile stream holds minutes of silence in a kilobyte.
_MOST_WAITING_S: Seconds = 2.0
#: FFmpeg would else read five seconds before it hands on anything.
_OPTIONS = {"analyzeduration": "0", "probesize": "2048", "fflags": "nobuffer"}
_READ_BYTES = 4096


class OpusDecoder:
    """One stream; a recorder that is started again begins a new connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()  # set whenever the thread has done something
        self._changed = threading.Condition()
        self._bytes = bytearray()
        self._sound: deque[Waveform] = deque()
        self._waiting = 0  # samples in it
        self._hungry = self._last = self._closed = self._done = False
        self._error: AudioError | None = None
        self._thread: threading.Thread | None = None

    async def feed(self, data: bytes) -> AsyncIterator[Waveform]:
        with self._changed:
            self._bytes += data
            self._hungry = False
            self._changed.notify_all()
        if self._thread is None:
            if len(self._bytes) < 4:
                return
            self._start()
        async for piece in self._taken():
            yield piece

    async def finish(self) -> AsyncIterator[Waveform]:
        with self._changed:
            self._last = True
            self._changed.notify_all()
        if self._thread is not None:
            async for piece in self._taken():
                yield piece

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _start(self) -> None:
        name = _FORMATS.get(bytes(self._bytes[:4]))
        if name is None:
            raise AudioError("audio: is neither WebM nor Ogg; send what MediaRecorder makes from its first byte on")
        self._thread = threading.Thread(target=self._decode, args=(name,), name="opus", daemon=True)
        self._thread.start()

    async def _taken(self) -> AsyncIterator[Waveform]:
        """What the thread makes of all bytes that it has been given."""
        while True:
            self._news.clear()
            with self._changed:
                idle = self._done or (self._hungry and not self._last)
                pieces = list(self._sound)
                self._sound.clear()
                self._waiting = 0
                self._changed.notify_all()
            for piece in pieces:
                yield piece
            if idle:
                break
            await self._news.wait()
        if self._error is not None:
            raise self._error

    def _decode(self, name: str) -> None:
        import av

        mixer, converter = Mixer(), Converter(SAMPLE_RATE)
        try:
            with av.open(_Pipe(self), format=name, container_options=_OPTIONS, buffer_size=_READ_BYTES) as container:
                if not container.streams.audio:
                    raise AudioError("audio: the stream has no audio track")
                for frame in container.decode(container.streams.audio[0]):
                    self._put(converter.samples(mixer.frame(frame), frame.sample_rate))
                    if self._closed:
                        break
            self._put(converter.rest())
        except av.FFmpegError as error:
            self._error = AudioError(f"audio: cannot be decoded as a WebM or Ogg stream ({error.strerror or error})")
        except AudioError as error:
            self._error = error
        finally:
            self._done = True
            self._tell()

    def _put(self, waveform: Waveform) -> None:
        """Hand on sound, as soon as there is room."""
        if not len(waveform):
            return
        with self._changed:
            while self._waiting > _MOST_WAITING_S * SAMPLE_RATE and not self._closed:
                self._changed.wait()
            self._sound.append(np.ascontiguousarray(waveform))
            self._waiting += len(waveform)
        self._tell()

    def _read(self, most: int) -> bytes:
        """The next bytes for FFmpeg; none at the end."""
        with self._changed:
            while not (self._bytes or self._last or self._closed):
                self._hungry = True
                self._tell()
                self._changed.wait()
            taken = b"" if self._closed else bytes(self._bytes[:most])
            del self._bytes[:most]
            return taken

    def _tell(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop has ended, and with it everybody who listens
            self._closed = True


class _Pipe:
    """A file to read from, for FFmpeg; it cannot be searched."""

    def __init__(self, stream: OpusDecoder) -> None:
        self.read = stream._read
