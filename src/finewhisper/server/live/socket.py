"""``/v1/listen``: sound in binary messages, words in JSON messages. docs/live.md describes the protocol."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.websockets import WebSocket

from finewhisper.audio import SAMPLE_RATE, Seconds
from finewhisper.errors import UsageError
from finewhisper.language import Language
from finewhisper.live.agreement import LiveWord
from finewhisper.live.session import Event, Final, Partial, Session
from finewhisper.server.errors import ClientGoneError, TooLargeError, fault
from finewhisper.server.live.connections import NORMAL, PROTOCOL, Connections, Messages, closing_code
from finewhisper.server.live.conversation import Conversation
from finewhisper.server.live.decoders import Decoder, decoder
from finewhisper.server.live.decoding import SessionDecoder
from finewhisper.server.logs import request_id
from finewhisper.server.schemas import DecodingOptions
from finewhisper.transcript import Task

_log = logging.getLogger(__name__)


class ListenOptions(DecodingOptions):
    """What the address says."""

    model: str = ""
    language: Language = None
    task: Task = "transcribe"
    encoding: Literal["pcm_s16le", "pcm_f32le", "opus"] = "pcm_s16le"
    sample_rate: int = SAMPLE_RATE
    to_simple: bool = False
    remove_pun: bool = False

    @classmethod
    def of(cls, socket: WebSocket) -> ListenOptions:
        """Those of a socket. Raises: UsageError naming each that is wrong."""
        try:
            return cls.model_validate(dict(socket.query_params))
        except ValidationError as error:
            raise UsageError("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from None


def routes(connections: Connections) -> APIRouter:
    """The address."""
    router = APIRouter()

    @router.websocket("/v1/listen")
    async def listen(socket: WebSocket) -> None:
        await socket.accept(PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None)
        messages = connections.messages(socket)
        try:
            with connections.place(socket):
                await _listen(connections, socket, messages)
                await messages.close(connections.code_when_done)
        except ClientGoneError:
            await messages.close(NORMAL)
        except Exception as error:
            known = fault(error)
            if known.status == 500:  # the end of the server is no defect
                _log.exception("a live session broke off")
            try:
                await messages.send({"type": "error", "code": known.kind, "message": known.message})
            except ClientGoneError:
                return
            await messages.close(closing_code(error))

    return router


async def _listen(connections: Connections, socket: WebSocket, messages: Messages) -> None:
    """Serve one client until its sound has ended and was heard."""
    options = ListenOptions.of(socket)
    model = connections.service.models.resolve(options.model)
    sounds = decoder(options.encoding, options.sample_rate)
    try:
        await connections.service.check(options.requested())
        session = Session(connections.config)

        async def send(events: Sequence[Event]) -> None:
            for content in contents(events):
                await messages.send(content)

        conversation = Conversation(session, SessionDecoder(connections.service, options.requested()).hear, send, connections.config)
        await messages.send({"type": "ready", "session": request_id.get(), "model": model})
        await conversation.run(_receiving(conversation, messages, sounds))
        await messages.send({"type": "done", "duration": _rounded(session.duration_s)})
    finally:
        sounds.close()


async def _receiving(conversation: Conversation, messages: Messages, sounds: Decoder) -> None:
    """Bring the sound that comes; after its end, only see whether the client is still there."""
    session = conversation.session
    while True:
        message = await messages.receive()
        if session.ended:
            continue
        try:
            if isinstance(message, bytes):
                async for piece in sounds.feed(message):
                    await conversation.sound(piece)
            elif message is None or message.get("type") == "end":
                async for piece in sounds.finish():
                    await conversation.sound(piece)
                await conversation.tell(session.end())
            else:
                raise UsageError(f'there is no message of the type {message.get("type")!r}; send sound, or {{"type": "end"}}')
        except TooLargeError as error:  # what was heard so far is not lost
            await messages.send({"type": "error", "code": "session_limit", "message": str(error)})
            await conversation.tell(session.end())


def contents(events: Iterable[Event]) -> Iterable[dict[str, Any]]:
    """The messages for some events; that somebody began or stopped speaking is not told here."""
    for event in events:
        if isinstance(event, Partial):
            yield {
                "type": "partial",
                **_stretch(event),
                "text": "".join(word.text for word in event.words),
                "words": _words(event.words),
                "confirmed": event.confirmed,
            }
        elif isinstance(event, Final) and (event.text or event.shown):
            words = _words(event.words)
            yield {
                "type": "final",
                "id": event.utterance,
                **_stretch(event),
                "text": event.text,
                "language": event.language,
                "words": words,
            }


def _stretch(event: Partial | Final) -> dict[str, Seconds]:
    return {"start": _rounded(event.start_s), "end": _rounded(event.end_s)}


def _words(words: Iterable[LiveWord]) -> list[dict[str, Any]]:
    return [{"word": word.text, "start": _rounded(word.start_s), "end": _rounded(word.end_s)} for word in words]


def _rounded(seconds: Seconds) -> Seconds:
    return round(seconds, 3)
