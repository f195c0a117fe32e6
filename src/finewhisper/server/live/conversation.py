"""A session in motion: sound comes from one side, texts from the other, and what they lead to is sent in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.live.session import Event, Session, Work
from finewhisper.server.errors import ClientGoneError, TooLargeError
from finewhisper.server.live.config import LiveConfig
from finewhisper.transcript import Transcript

Hear = Callable[[Work], Awaitable[Transcript]]
Send = Callable[[Sequence[Event]], Awaitable[None]]


class Conversation:
    """Drives a session.

    Args:
        hear: decodes what the session asks for; only one call runs at a time.
        send: takes the session's events.
    """

    def __init__(self, session: Session, hear: Hear, send: Send, config: LiveConfig) -> None:
        self.session = session
        self._hear, self._send, self._config = hear, send, config
        self._changed = asyncio.Event()  # the session may want something to be heard
        self._room = asyncio.Event()  # something has been heard
        self._sending = asyncio.Lock()  # first come, first served: events keep their order

    async def sound(self, waveform: Waveform) -> None:
        """The next sound, at most half a second of it; waits while too much waits for the engine, and lets others have their turn.

        Raises:
            TooLargeError: there has been more than a session may have.
        """
        if self.session.duration_s + len(waveform) / SAMPLE_RATE > self._config.session_s:
            raise TooLargeError(f"the session has had the {self._config.session_s:g} s that this server takes; begin another one")
        await self.tell(self.session.feed(waveform))
        await asyncio.sleep(0)  # a message may have a minute of sound, and all of it be there already
        while self.session.backlog_s > self._config.buffer_s:
            self._room.clear()
            await self._room.wait()

    async def tell(self, events: Sequence[Event]) -> None:
        """Send what the session says, and look whether there is something to be heard."""
        self._changed.set()
        if events:
            async with self._sending:
                await self._send(events)

    async def run(self, receiving: Coroutine[Any, Any, None]) -> None:
        """Hear until all sound of an ended session is heard; ``receiving`` brings it and is cancelled then.

        Raises:
            ClientGoneError: ``receiving`` returned before.
            Exception: whatever ``receiving``, hearing or sending raised.
        """
        hearing, bringing = asyncio.ensure_future(self._hearing()), asyncio.ensure_future(receiving)
        try:
            await asyncio.wait({hearing, bringing}, return_when=asyncio.FIRST_COMPLETED)
            for task in (hearing, bringing):
                if task.done():
                    task.result()
            if not hearing.done():
                raise ClientGoneError("the client went away")
        finally:
            hearing.cancel()
            bringing.cancel()
            await asyncio.gather(hearing, bringing, return_exceptions=True)

    async def _hearing(self) -> None:
        while not self.session.finished:
            self._changed.clear()
            work = self.session.work()
            if work is None:
                await self._changed.wait()
                continue
            events = self.session.heard(work, await self._hear(work))
            self._room.set()
            await self.tell(events)
