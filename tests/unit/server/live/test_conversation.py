"""Sound that arrives faster than it can be looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from finewhisper.live.session import Event, Session, Work
from finewhisper.server.live.config import LiveConfig
from finewhisper.server.live.conversation import Conversation
from finewhisper.server.live.decoders import decoder
from finewhisper.transcript import Transcript


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_long_message_lets_others_have_their_turn(rate: int):
    """A minute of noise is looked at for a tenth of a second or more: 220 others would wait for it."""
    turns: list[int] = []  # bytes of the message that were converted at each turn of somebody else

    async def hear(_: Work) -> Transcript:
        raise AssertionError("nobody asked for that")

    async def send(_: Sequence[Event]) -> None: ...

    async def others() -> None:
        while True:
            turns.append(round(conversation.session.duration_s * 2))
            await asyncio.sleep(0)

    async def bring() -> None:
        watching = asyncio.ensure_future(others())
        noise = np.random.default_rng(0).integers(-9000, 9000, 20 * rate, dtype=np.int16)
        async for piece in decoder("pcm_s16le", rate).feed(noise.tobytes()):
            await conversation.sound(piece)
        watching.cancel()

    conversation = Conversation(Session(LiveConfig()), hear, send, LiveConfig())
    asyncio.run(bring())
    assert len(set(turns)) >= 39  # after each half second
