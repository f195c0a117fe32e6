"""``/v1/realtime``: OpenAI's realtime API as far as it transcribes. docs/live.md says which events there are."""

from __future__ import annotations

import base64
import binascii
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter
from starlette.websockets import WebSocket

from finewhisper.audio import Seconds
from finewhisper.errors import AudioError, UsageError
from finewhisper.live.session import Event, Final, Partial, Session, SpeechStarted, SpeechStopped
from finewhisper.server.errors import ClientGoneError, UnknownModelError, fault
from finewhisper.server.live.connections import NORMAL, Connections, Messages, closing_code
from finewhisper.server.live.conversation import Conversation
from finewhisper.server.live.decoders import decoder
from finewhisper.server.live.decoding import SessionDecoder
from finewhisper.server.live.realtime_settings import RATE, Input
from finewhisper.server.logs import request_id

_log = logging.getLogger(__name__)


def routes(connections: Connections) -> APIRouter:
    """The address."""
    router = APIRouter()

    @router.websocket("/v1/realtime")
    async def realtime(socket: WebSocket) -> None:
        await socket.accept("realtime" if "realtime" in socket.scope.get("subprotocols", ()) else None)
        messages = connections.messages(socket)
        try:
            with connections.place(socket):
                await _Client(connections, socket, messages).serve()
                await messages.close(connections.code_when_done)
        except ClientGoneError:
            await messages.close(NORMAL)
        except Exception as error:
            if fault(error).status == 500:  # the end of the server is no defect
                _log.exception("a realtime session broke off")
            try:
                await messages.send(_error(error))
            except ClientGoneError:
                return
            await messages.close(closing_code(error))

    return router


class _Client:
    """One connection."""

    def __init__(self, connections: Connections, socket: WebSocket, messages: Messages) -> None:
        self._connections, self._messages = connections, messages
        self._model = connections.service.models.resolve(_known(connections, socket.query_params.get("model", "")))
        if socket.query_params.get("intent", "") not in {"", "transcription"}:
            raise UsageError("intent: this server transcribes and does not converse; connect with intent=transcription")
        self._id = f"sess_{request_id.get()}"
        self._beta = "realtime=v1" in socket.headers.get("openai-beta", "")
        self._input = Input()
        self._decoder = SessionDecoder(connections.service, self._input.requested(self._model))
        self._sounds = decoder("pcm_s16le", RATE)
        self._told = Teller(turns=True, beta=self._beta)
        self._conversation = Conversation(self._session(), self._decoder.hear, self._send, connections.config)

    async def serve(self) -> None:
        """Until the client goes away, or the server ends and all sound was heard."""
        await self._connections.service.load(self._model)
        await self._messages.send(self._settings("created"))
        await self._conversation.run(self._receiving())

    async def _receiving(self) -> None:
        while True:
            request: dict[str, Any] = {}
            try:
                message = await self._messages.receive()
                if self._conversation.session.ended:  # only see whether the client is still there
                    continue
                if message is None:
                    await self._conversation.tell(self._conversation.session.end())
                elif isinstance(message, bytes):
                    raise UsageError("binary messages are not taken here; send input_audio_buffer.append events")
                else:
                    request = message
                    await self._asked(request)
            except (UsageError, AudioError, UnknownModelError) as error:
                await self._messages.send(_error(error, request))

    async def _asked(self, request: dict[str, Any]) -> None:
        conversation, session = self._conversation, self._conversation.session
        given = request.get("type")
        kind = given if isinstance(given, str) else None  # a list could not be looked up
        if kind in {"session.update", "transcription_session.update"}:
            await self._update(request)
        elif kind == "input_audio_buffer.append":
            async for piece in self._sounds.feed(_sound(request.get("audio"))):
                await conversation.sound(piece)
        elif kind == "input_audio_buffer.commit":
            events = session.commit()
            if not events:
                raise UsageError("input_audio_buffer_commit_empty: there is no sound in the buffer to commit")
            await conversation.tell(events)
        elif kind == "input_audio_buffer.clear":
            session.clear()
            await self._messages.send(_event("input_audio_buffer.cleared"))
        else:
            raise UsageError(f"there is no event of the type {given!r:.100} in a transcription session")

    async def _update(self, request: dict[str, Any]) -> None:
        beta = request["type"] == "transcription_session.update"
        changed = self._input.changed(request.get("session", {}), beta=beta)
        requested = changed.requested(self._model)
        requested = replace(requested, model=self._connections.service.models.resolve(_known(self._connections, requested.model)))
        await self._connections.service.check(requested)  # else what it cannot do would end the session, when somebody speaks
        turns_differ = changed.turn_detection != self._input.turn_detection
        if turns_differ:  # what was said before the change is an utterance of its own
            await self._conversation.tell(self._conversation.session.commit())
        self._beta = self._beta or beta
        self._input = changed
        self._decoder.ask(requested)
        self._told.turns, self._told.beta = changed.turn_detection is not None, self._beta
        if turns_differ:
            self._conversation.session.listen(**self._listening())
        await self._messages.send(self._settings("updated"))

    def _session(self) -> Session:
        return Session(**self._listening())

    def _listening(self) -> dict[str, Any]:
        chosen = self._input
        return {
            "config": chosen.live(self._connections.config),
            "turns": chosen.turn_detection is not None,
            "threshold": chosen.threshold,
            "padding_s": chosen.padding_s,
        }

    def _settings(self, what: str) -> dict[str, Any]:
        if self._beta:
            flat = self._input.shown()
            return _event(
                f"transcription_session.{what}",
                session={
                    "id": self._id,
                    "object": "realtime.transcription_session",
                    "input_audio_format": "pcm16",
                    "input_audio_transcription": flat["transcription"],
                    "turn_detection": flat["turn_detection"],
                },
            )
        shown = {"id": self._id, "object": "realtime.transcription_session", "type": "transcription", "include": None}
        return _event(f"session.{what}", session=shown | {"audio": {"input": self._input.shown()}})

    async def _send(self, events: Sequence[Event]) -> None:
        for event in events:
            for content in self._told.contents(event):
                await self._messages.send(content)


class Teller:
    """A session's events as OpenAI's.

    Attributes:
        turns: utterances are found by pauses, and their beginnings and ends are told.
        beta: the names of the beta are used.
    """

    def __init__(self, *, turns: bool, beta: bool) -> None:
        self.turns, self.beta = turns, beta
        self._given: dict[int, str] = {}  # the text of each utterance that was sent in deltas
        self._items: dict[int, str] = {}
        self._last_item: str | None = None

    def contents(self, event: Event) -> Iterator[dict[str, Any]]:
        item = self._items.setdefault(event.utterance, f"item_{uuid.uuid4().hex[:24]}")
        if isinstance(event, SpeechStarted) and self.turns:
            yield _event("input_audio_buffer.speech_started", audio_start_ms=_ms(event.at_s), item_id=item)
        elif isinstance(event, SpeechStopped):
            if self.turns:
                yield _event("input_audio_buffer.speech_stopped", audio_end_ms=_ms(event.at_s), item_id=item)
            yield _event("input_audio_buffer.committed", item_id=item, previous_item_id=self._last_item)
            content = [{"type": "input_audio", "transcript": None}]
            shown = {"id": item, "object": "realtime.item", "type": "message", "role": "user", "status": "completed", "content": content}
            added = "conversation.item.created" if self.beta else "conversation.item.added"
            yield _event(added, item=shown, previous_item_id=self._last_item)
            self._last_item = item
        elif isinstance(event, Partial):
            text = "".join(word.text for word in event.words[: event.confirmed])
            yield from self._delta(event.utterance, item, text)
        elif isinstance(event, Final):
            yield from self._delta(event.utterance, item, event.text)
            usage = {"type": "duration", "seconds": round(event.end_s - event.start_s, 3)}
            kind = "conversation.item.input_audio_transcription.completed"
            yield _event(kind, item_id=item, content_index=0, transcript=event.text, usage=usage)
            del self._items[event.utterance]
            self._given.pop(event.utterance, None)

    def _delta(self, utterance: int, item: str, text: str) -> Iterator[dict[str, Any]]:
        """What a text has more than was sent; nothing where it says something else: the completed text will put that right."""
        given = self._given.get(utterance, "")
        if len(text) > len(given) and text.startswith(given):
            self._given[utterance] = text
            kind = "conversation.item.input_audio_transcription.delta"
            yield _event(kind, item_id=item, content_index=0, delta=text[len(given) :])


def _known(connections: Connections, name: str) -> str:
    """The name of a model here: those of OpenAI mean the first one, as clients have them built in."""
    known = connections.service.models.names
    return name if name in known or not name.startswith(("gpt-", "whisper-")) else ""


def _sound(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise UsageError("audio: must be base64 of 16-bit samples at 24 kHz") from None


def _ms(seconds: Seconds) -> int:
    return round(1000 * seconds)


def _event(kind: str, **content: Any) -> dict[str, Any]:
    return {"type": kind, "event_id": f"event_{uuid.uuid4().hex[:24]}", **content}


def _error(error: Exception, request: dict[str, Any] | None = None) -> dict[str, Any]:
    known = fault(error)
    code, separator, _ = known.message.partition(": ")
    named = code if separator and code.startswith("input_audio_buffer_") else None
    told = {"type": known.kind, "code": named, "message": known.message, "param": None}
    asked_by = (request or {}).get("event_id")
    return _event("error", error=told | {"event_id": asked_by if isinstance(asked_by, str) else None})
