"""``/v1/listen`` of a real server with real weights, spoken to by a real client."""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
from contextlib import suppress

import av
import httpx
import numpy as np
import pytest
import soundfile
import soxr
import websockets

import serving
from finewhisper.audio import Waveform
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer
from listening import PATIENCE_S, finals, in_pieces, listen, next_message, pcm, silence, socket, until

pytestmark = pytest.mark.real

JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def wrong_percent(messages: list[dict]) -> float:
    text = " ".join(final["text"] for final in finals(messages))
    return error_rate([JFK], [text], "word", Normalizer.for_language("en")).percent


def recorded(waveform: Waveform, container: str) -> bytes:
    """As a browser's MediaRecorder sends it."""
    written = io.BytesIO()
    with av.open(written, "w", format=container) as output:
        stream = output.add_stream("libopus", rate=48_000)
        frame = av.AudioFrame.from_ndarray(waveform[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000, frame_size=960)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return written.getvalue()


@pytest.fixture(scope="module")
def spoken(server: serving.Running, waveform: Waveform) -> list[dict]:
    """What the server says of a speech in pieces of 0.1 s, sent four times as fast as it was spoken."""
    return asyncio.run(listen(server, "language=en", in_pieces(pcm(waveform), 3_200), pause_s=0.025))


def test_a_speech_becomes_final_texts_and_is_done(spoken: list[dict]):
    assert re.fullmatch("[0-9a-f]{32}", spoken[0].pop("session"))
    assert spoken[0] == {"type": "ready", "model": "tiny.en"}
    assert spoken[-1] == {"type": "done", "duration": 11.0}
    assert wrong_percent(spoken) < 15
    assert [final["id"] for final in finals(spoken)] == [1, 2, 3, 4]
    assert {final["language"] for final in finals(spoken)} == {"en"}


def test_words_are_the_text_and_lie_in_their_utterance(spoken: list[dict]):
    told = [message for message in spoken if message["type"] in {"partial", "final"}]
    assert any(message["type"] == "partial" for message in told)
    for message in told:
        assert "".join(word["word"] for word in message["words"]) == message["text"]
        times = [time_s for word in message["words"] for time_s in (word["start"], word["end"])]
        assert times == sorted(times)
    for final in finals(spoken):
        assert final["start"] <= final["words"][0]["start"]
        assert final["words"][-1]["end"] <= final["end"]


def test_confirmed_words_do_not_change(spoken: list[dict]):
    confirmed: list[dict] = []
    for message in spoken:
        if message["type"] == "final":
            confirmed = []
        elif message["type"] == "partial":
            assert message["words"][: len(confirmed)] == confirmed
            confirmed = message["words"][: message["confirmed"]]


def test_a_final_text_is_what_a_request_for_that_stretch_gets(server: serving.Running, spoken: list[dict], waveform: Waveform):
    for final in finals(spoken)[:2]:
        stretch = (pcm(waveform), round(final["start"] * 16_000), round(final["end"] * 16_000))
        file = io.BytesIO()
        soundfile.write(file, np.frombuffer(stretch[0], "<i2")[stretch[1] : stretch[2]], 16_000, format="WAV")
        answer = httpx.post(
            f"{server.address}/v1/audio/transcriptions", files={"file": file.getvalue()}, data={"language": "en"}, timeout=PATIENCE_S
        )
        assert answer.json()["text"] == final["text"]


@pytest.mark.parametrize("container", ["webm", "ogg"])
def test_what_browsers_record_is_taken(server: serving.Running, waveform: Waveform, container: str):
    pieces = in_pieces(recorded(waveform[:48_000], container), 2_500)
    messages = asyncio.run(listen(server, "language=en&encoding=opus", pieces))
    assert messages[-1]["type"] == "done"
    assert messages[-1]["duration"] == pytest.approx(3.0, abs=0.1)
    assert "fellow america" in finals(messages)[0]["text"].lower()  # cut off in the word


def test_other_rates_and_types_are_taken(server: serving.Running, waveform: Waveform):
    fast = soxr.resample(waveform[:48_000], 16_000, 44_100).astype("<f4").tobytes()
    messages = asyncio.run(listen(server, "language=en&encoding=pcm_f32le&sample_rate=44100", in_pieces(fast, 10_001)))
    assert messages[-1]["duration"] == pytest.approx(3.0, abs=0.01)
    assert "fellow america" in finals(messages)[0]["text"].lower()  # cut off in the word


def test_silence_says_nothing(server: serving.Running):
    messages = asyncio.run(listen(server, "", in_pieces(pcm(silence(20)), 32_000)))
    assert [message["type"] for message in messages] == ["ready", "done"]


@pytest.mark.parametrize(
    ("query", "sent", "said"),
    [
        ("encoding=mp3", None, "encoding: Input should be"),
        ("sample_rate=7", None, "sample_rate 7: must be 8000 to 192000"),
        ("sample_rate=x", None, "sample_rate: Input should be a valid integer"),
        ("language=klingon", None, "klingon"),
        ("language=bg", None, "English"),
        ("task=sing", None, "task: Input should be"),
        ("model=large", None, "model 'large' is not served here"),
        ("", "not json", "must be a JSON object"),
        ("", "[" * 100_000, "must be a JSON object"),
        ("", '{"type": "stop"}', "there is no message of the type 'stop'"),
        ("", b"\0" * 300_001, "larger than 300000 bytes"),
        ("encoding=pcm_f32le", b"\0\0\xc0\x7f", "not numbers"),
        ("encoding=opus", b"#EXTM3U\nfile:///etc/passwd\n", "neither WebM nor Ogg"),
        ("encoding=opus", b"\x1a\x45\xdf\xa3" + bytes(20_000), "cannot be decoded"),
    ],
)
def test_what_is_wrong_is_said_before_the_socket_closes(server: serving.Running, query: str, sent: str | bytes | None, said: str):
    async def converse() -> tuple[dict, int]:
        async with socket(server, f"/v1/listen?{query}") as connection:
            if sent is not None:
                await connection.send(sent)
                if "decoded" in said:
                    await connection.send('{"type": "end"}')
            messages = await until(connection, lambda message: message["type"] == "error")
            await asyncio.wait_for(connection.wait_closed(), PATIENCE_S)
            return messages[-1], connection.close_code

    error, code = asyncio.run(converse())
    assert said in error["message"]
    assert error["code"] != "server_error"
    assert code in {1008, 1009}


def test_pages_of_other_origins_are_refused(server: serving.Running):
    async def first(origin: str) -> dict:
        async with socket(server, origin=origin) as connection:
            return await next_message(connection)

    assert "https://evil.example may not call this server" in asyncio.run(first("https://evil.example"))["message"]
    assert asyncio.run(first(server.address))["type"] == "ready"


def test_a_session_ends_with_what_was_heard_when_it_has_lasted_too_long(server: serving.Running, waveform: Waveform):
    """The server takes 60 s."""
    sound = np.concatenate([waveform[:48_000], silence(60)])
    messages = asyncio.run(listen(server, "language=en", in_pieces(pcm(sound), 64_000)))
    error = next(message for message in messages if message["type"] == "error")
    assert error["code"] == "session_limit"


def test_clients_that_leave_at_any_moment_free_their_places(server: serving.Running, waveform: Waveform):
    """There are 220 places; if leaving did not free them, the last round would be refused."""
    pieces = in_pieces(pcm(waveform[:64_000]), 6_400)

    async def leave(stage: int) -> None:
        connection = await socket(server)
        if stage:
            await next_message(connection)
        for piece in pieces[: {2: 1, 3: 10, 4: 20}.get(stage, 0)]:
            await connection.send(piece)
        if stage == 4:
            await connection.send('{"type": "end"}')
        if stage == 3:  # in the middle of a hypothesis
            await next_message(connection)
        connection.transport.abort()

    async def all_stages() -> list[dict]:
        for _ in range(3):
            await asyncio.gather(*(leave(stage) for stage, clients in enumerate((30, 30, 15, 4, 4)) for _ in range(clients)))
        return await listen(server, "language=en", pieces)

    messages = asyncio.run(all_stages())
    assert messages[-1]["type"] == "done"
    assert "fellow america" in finals(messages)[0]["text"].lower()  # cut off in the word
    assert not [line for line in server.log if "Traceback" in line or "ERROR" in line]


def test_two_hundred_sockets(server: serving.Running, waveform: Waveform):
    """Most of them send silence, as open microphones do; a speaker among them is served."""

    async def idle(enough: asyncio.Event) -> str:
        async with socket(server) as connection:
            await next_message(connection)
            while not enough.is_set():
                await connection.send(bytes(6_400))
                await asyncio.sleep(0.2)
            await connection.send('{"type": "end"}')
            return (await until(connection, lambda message: message["type"] == "done"))[-1]["type"]

    async def all_of_them() -> tuple[list[str], list[dict]]:
        enough = asyncio.Event()
        others = [asyncio.ensure_future(idle(enough)) for _ in range(200)]
        await asyncio.sleep(1)
        messages = await listen(server, "language=en", in_pieces(pcm(waveform[:48_000]), 3_200), pause_s=0.05)
        enough.set()
        return list(await asyncio.gather(*others)), messages

    others, messages = asyncio.run(all_of_them())
    assert others == ["done"] * 200
    assert "fellow america" in finals(messages)[0]["text"].lower()  # cut off in the word


def test_one_socket_too_many_is_told_to_come_again(server: serving.Running):
    async def crowd() -> dict:
        connections = [await socket(server) for _ in range(221)]
        try:
            return await next_message(connections[-1])
        finally:
            await asyncio.gather(*(connection.close() for connection in connections))

    error = asyncio.run(crowd())
    assert error["code"] == "rate_limit_error"


def test_small_messages_do_not_become_large_ones(server: serving.Running):
    """Compression would turn a kilobyte into a megabyte of silence; and what is far too large is not read to its end."""

    async def converse() -> list[str]:
        async with socket(server, compression="deflate") as connection:
            await next_message(connection)
            with suppress(websockets.ConnectionClosed):
                await connection.send(bytes(8_000_000))
                await next_message(connection)
            await asyncio.wait_for(connection.wait_closed(), PATIENCE_S)
            assert connection.close_code == 1009
            return [extension.name for extension in connection.protocol.extensions]

    assert asyncio.run(converse()) == []


def test_a_client_that_sends_too_fast_has_to_wait(server: serving.Running, waveform: Waveform):
    """All of its sound is heard, and it could not send it faster than the server hears it."""
    sound = np.concatenate([waveform, waveform])
    started_s = time.monotonic()
    messages = asyncio.run(listen(server, "language=en", in_pieces(pcm(sound), 200_000)))
    assert messages[-1] == {"type": "done", "duration": 22.0}
    assert len(finals(messages)) >= 7
    assert time.monotonic() - started_s > 0.5


def test_keys(quick_model, waveform: Waveform):
    async def first(query: str = "", **options) -> dict:
        async with websockets.connect(f"{address}{query}", open_timeout=PATIENCE_S, **options) as connection:
            return json.loads(await connection.recv())

    with serving.running(quick_model, "--api-keys", "hush") as running:
        address = f"ws{running.address.removeprefix('http')}/v1/listen"
        assert asyncio.run(first())["code"] == "authentication_error"
        assert asyncio.run(first("?key=wrong"))["code"] == "authentication_error"
        session = asyncio.run(first("?key=hush"))["session"]
        assert asyncio.run(first(additional_headers={"Authorization": "Bearer hush"}))["type"] == "ready"
        assert asyncio.run(first(subprotocols=["finewhisper", "finewhisper-key.aHVzaA"]))["type"] == "ready"
        assert asyncio.run(first(subprotocols=["finewhisper", "finewhisper-key.~"]))["code"] == "authentication_error"
    assert not [line for line in running.log if "hush" in line]
    lines = [line for line in running.log if "WS /v1/listen" in line]
    assert [line.split("/v1/listen ")[1].split()[0] for line in lines[:2]] == ["1008", "1008"]
    assert f"[{session}]" in lines[2]
