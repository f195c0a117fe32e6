"""OpenAI's realtime transcription, spoken to by the official client and by a bare socket."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import openai
import pytest
import soxr
from openai.types.beta.realtime import RealtimeServerEvent as BetaEvent
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

import serving
from finewhisper.audio import Waveform
from finewhisper.server.live.realtime_settings import Input
from listening import PATIENCE_S, in_pieces, next_message, pcm, socket, until

pytestmark = pytest.mark.real

COMPLETED = "conversation.item.input_audio_transcription.completed"
EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
BETA_EVENT: TypeAdapter[Any] = TypeAdapter(BetaEvent)


@pytest.fixture(scope="module")
def spoken(waveform: Waveform) -> list[str]:
    """Five seconds of 24 kHz as OpenAI's clients send it, with silence after it."""
    sound = soxr.resample(waveform[:80_000], 16_000, 24_000)
    return [base64.b64encode(piece).decode() for piece in in_pieces(pcm(sound) + bytes(48_000), 4_800)]


def test_the_official_client_gets_deltas_and_texts(server: serving.Running, spoken: list[str]):
    async def converse() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="unused")
        async with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
            events = [await connection.recv()]
            transcription = {"model": "gpt-4o-transcribe", "language": "en"}
            await connection.session.update(session={"type": "transcription", "audio": {"input": {"transcription": transcription}}})
            for piece in spoken:
                await connection.input_audio_buffer.append(audio=piece)
                await asyncio.sleep(0.03)
            while sum(event.type == COMPLETED for event in events) < 2:
                events.append(await asyncio.wait_for(connection.recv(), PATIENCE_S))
            return events

    events = asyncio.run(converse())
    kinds = [event.type for event in events]
    assert kinds[:2] == ["session.created", "session.updated"]
    assert events[1].session.audio.input.transcription.language == "en"
    items = [event.item_id for event in events if event.type == "input_audio_buffer.committed"]
    assert len(items) == 2
    for item in items:
        own = [event for event in events if getattr(event, "item_id", None) == item]
        order = [event.type for event in own if "delta" not in event.type]
        assert order == [*(f"input_audio_buffer.{what}" for what in ("speech_started", "speech_stopped", "committed")), COMPLETED]
        assert own[0].audio_start_ms < next(event for event in own if event.type.endswith("stopped")).audio_end_ms
    texts = [event.transcript for event in events if event.type == COMPLETED]
    assert "fellow americans" in texts[0].lower()
    assert any(event.type.endswith(".delta") and event.delta.strip() for event in events)


def send(connection: Any, kind: str, **content: Any) -> Any:
    return connection.send(json.dumps({"type": kind, **content}))


def test_without_turn_detection_a_commit_ends_an_utterance(server: serving.Running, spoken: list[str]):
    async def converse() -> list[dict]:
        async with socket(server, "/v1/realtime?intent=transcription") as connection:
            session = {"type": "transcription", "audio": {"input": {"turn_detection": None, "transcription": {"language": "en"}}}}
            await send(connection, "session.update", session=session)
            await send(connection, "input_audio_buffer.append", audio=spoken[0])
            await send(connection, "input_audio_buffer.clear")
            await send(connection, "input_audio_buffer.commit", event_id="too early")
            for piece in spoken[:26]:
                await send(connection, "input_audio_buffer.append", audio=piece)
            await send(connection, "input_audio_buffer.commit")
            return await until(connection, lambda message: message["type"] == COMPLETED)

    messages = asyncio.run(converse())
    for message in messages:
        EVENT.validate_python(message)
    error = next(message["error"] for message in messages if message["type"] == "error")
    assert (error["code"], error["event_id"]) == ("input_audio_buffer_commit_empty", "too early")
    assert "input_audio_buffer.cleared" in [message["type"] for message in messages]
    assert not any("speech_" in message["type"] for message in messages)
    assert "fellow americans" in messages[-1]["transcript"].lower()
    assert messages[-1]["usage"] == {"type": "duration", "seconds": 2.6}


def test_the_names_of_the_beta(server: serving.Running, spoken: list[str]):
    async def converse() -> list[dict]:
        headers = {"OpenAI-Beta": "realtime=v1"}
        async with socket(server, "/v1/realtime?intent=transcription", additional_headers=headers) as connection:
            session = {"input_audio_format": "pcm16", "input_audio_transcription": {"model": "whisper-1", "language": "en"}}
            await send(connection, "transcription_session.update", session=session)
            for piece in spoken[:32]:
                await send(connection, "input_audio_buffer.append", audio=piece)
            return await until(connection, lambda message: message["type"] == COMPLETED)

    messages = asyncio.run(converse())
    assert [message["type"] for message in messages[:2]] == ["transcription_session.created", "transcription_session.updated"]
    for message in messages[2:]:  # the client's type of the first two demands a secret that belongs to another transport
        BETA_EVENT.validate_python(message)
    assert "conversation.item.created" in [message["type"] for message in messages]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"type": "response.create"}, "no event of the type 'response.create'"),
        ({"type": 7}, "no event of the type 7"),
        ({"type": "input_audio_buffer.append", "audio": "%%"}, "must be base64"),
        ({"type": "input_audio_buffer.append"}, "must be base64"),
        ({"type": "session.update", "session": {"type": "realtime"}}, "does not converse"),
        ({"type": "session.update", "session": 7}, "session: must be an object"),
        ({"type": "session.update", "session": {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}}, "turn_detection.type"),
        ({"type": "session.update", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}}}}}, "format.type"),
        ({"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "large"}}}}}, "not served here"),
        (
            {"type": "session.update", "session": {"audio": {"input": {"transcription": {"language": "klingon"}}}}},
            "'klingon' is not one of",
        ),
        ({"type": "session.update", "session": {"audio": {"input": {"transcription": {"language": "bg"}}}}}, "English"),
        ({"type": "transcription_session.update", "session": {"input_audio_transcription": {"language": "x-US"}}}, "'x-US' is not one of"),
    ],
)
def test_what_is_wrong_is_said_and_the_session_goes_on(server: serving.Running, sent: dict, said: str):
    async def converse() -> tuple[dict, dict]:
        async with socket(server, "/v1/realtime") as connection:
            await next_message(connection)
            await connection.send(json.dumps(sent | {"event_id": "mine"}))
            error = await next_message(connection)
            await send(connection, "input_audio_buffer.clear")
            return error, await next_message(connection)

    error, following = asyncio.run(converse())
    assert said in error["error"]["message"]
    assert error["error"]["event_id"] == "mine"
    assert error["error"]["type"] in {"invalid_request_error", "not_found_error"}
    assert following["type"] == "input_audio_buffer.cleared"


def test_an_update_leaves_what_it_does_not_name():
    first = Input().changed({"audio": {"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 700}}}}, beta=False)
    second = first.changed({"audio": {"input": {"transcription": {"language": "de-CH"}}}}, beta=False)
    assert second.turn_detection is not None
    assert second.turn_detection.silence_duration_ms == 700
    assert second.requested("tiny").language == "de"
