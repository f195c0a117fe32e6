"""The addresses of the server, in this process: what they answer, to whom, and what they say when something is wrong."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import resource
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest
import soundfile
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import Message

from finewhisper import audio
from finewhisper.errors import UsageError
from finewhisper.server import limits, logs, streams
from finewhisper.server.app import create_app
from finewhisper.server.config import ServeConfig
from finewhisper.server.errors import ClientGoneError
from finewhisper.server.jobs import routes
from finewhisper.server.jobs.config import JobsConfig
from finewhisper.server.jobs.store import Job
from finewhisper.server.keys import Keys
from finewhisper.server.service import Service

pytestmark = pytest.mark.real

Start = Callable[..., TestClient]

#: A server without keys answers to addresses in digits, and not to the name that the client would choose.
HOST = "http://127.0.0.1"


@pytest.fixture(scope="module")
def start_for_all(quick_model: Path) -> Iterator[Start]:
    with ExitStack() as running:

        def start(**options: Any) -> TestClient:
            service = Service(ServeConfig(model=(str(quick_model),), threads=1, **options))
            client = TestClient(create_app(service), base_url=HOST, raise_server_exceptions=False)
            client.service = service  # type: ignore[attr-defined]
            return running.enter_context(client)

        yield start


@pytest.fixture(scope="module")
def client(start_for_all: Start) -> TestClient:
    return start_for_all(max_upload=1)


@pytest.fixture
def sound(jfk: Path) -> dict[str, Any]:
    return {"audio": ("../../etc/passwd", jfk.read_bytes())}


def test_recognition_answers_as_upstream_does(client: TestClient, sound: dict[str, Any]):
    answer = client.post("/recognition", files=sound, data={"language": "None", "to_simple": "1"})
    assert answer.status_code == 200
    content = answer.json()
    assert content["code"] == 0
    assert content["results"]
    assert set(content["results"][0]) == {"result", "start", "end"}
    assert content["results"][-1]["end"] <= 11.0


def test_the_stream_sends_the_same_segments_with_zero_bytes_behind_them(client: TestClient, sound: dict[str, Any]):
    whole = client.post("/recognition", files=sound).json()["results"]
    stream = client.post("/recognition_stream", files=sound)
    assert stream.content.endswith(b"\0")
    sent = [json.loads(line) for line in stream.content.split(b"\0")[:-1]]
    assert {segment.pop("language") for segment in sent} == {"en"}
    assert sent == whole


def test_options_may_stand_in_the_address(client: TestClient, sound: dict[str, Any]):
    refused = client.post("/recognition?task=sing", files=sound)
    assert refused.status_code == 400
    assert refused.json()["code"] == 400
    assert "task" in refused.json()["msg"]
    assert client.post("/recognition?task=translate", files=sound).status_code == 400  # an English-only model


@pytest.mark.parametrize("address", ["/recognition", "/recognition_stream", "/v1/audio/transcriptions", "/v1/audio/translations"])
@pytest.mark.parametrize(
    ("request_parts", "words"),
    [
        ({}, "multipart/form-data"),
        ({"json": {"audio": 1}}, "multipart/form-data"),
        ({"data": {"x": "y"}, "files": {"other": b"1"}}, "has no file in the field"),
        ({"files": {"audio": ("a", b""), "file": ("a", b"")}}, ""),
        ({"content": b"garbage", "headers": {"content-type": "multipart/form-data; boundary=x"}}, ""),
        ({"content": b"garbage", "headers": {"content-type": "multipart/form-data"}}, ""),
    ],
)
def test_what_is_no_form_with_a_recording_is_refused(client: TestClient, address: str, request_parts: dict[str, Any], words: str):
    answer = client.post(address, **request_parts)
    assert answer.status_code == 400
    content = answer.json()
    assert words in (content["msg"] if address.startswith("/recognition") else content["error"]["message"])


@pytest.mark.parametrize("address", ["/recognition", "/v1/audio/transcriptions"])
@pytest.mark.parametrize(
    "content", [b"", b"RIFF", b"\0" * 5000, b"ID3" + b"\xff" * 5000, b"ffconcat version 1.0\nfile a.wav\n", b"OggS" * 99]
)
def test_broken_recordings_are_the_clients_fault_and_name_no_file_of_ours(client: TestClient, address: str, content: bytes):
    answer = client.post(address, files={"audio" if "v1" not in address else "file": ("a.wav", content)})
    assert answer.status_code == 400
    assert "/tmp" not in answer.text
    assert "finewhisper-upload" not in answer.text


def test_too_much_is_refused_while_it_is_read(client: TestClient):
    """With an honest length at once; without one, as soon as it is too much."""
    field = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
    form = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/recognition", content=field + b"0" * 1_100_000, headers=form).status_code == 413
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield field
        for _ in range(1000):
            sent += 1
            yield b"0" * 100_000

    answer = client.post("/recognition", content=endless(), headers=form)
    assert answer.status_code == 413
    assert "--max-upload" in answer.json()["msg"]


def test_a_busy_server_says_when_to_come_again(client: TestClient, sound: dict[str, Any]):
    service: Service = client.service  # type: ignore[attr-defined]
    with ExitStack() as places:
        for _ in range(service.config.queue):
            places.enter_context(service.place())
        answer = client.post("/recognition", files=sound)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["code"] == 429
        assert client.post("/v1/audio/transcriptions", files={"file": b"1"}).json()["error"]["type"] == "rate_limit_error"
        assert client.get("/healthz").status_code == 200
    assert client.post("/recognition", files=sound).status_code == 200


SENDING = ("/recognition", "/recognition_stream", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/jobs")


def test_whoever_sends_has_a_place(start_for_all: Start, tmp_path: Path):
    """Else any number of recordings could be received at once, and fill the disk."""
    client = start_for_all(jobs=JobsConfig(folder=tmp_path))
    service: Service = client.service  # type: ignore[attr-defined]
    taken: list[int] = []
    statuses: list[int] = []

    async def receive() -> Message:
        taken.append(service.running)
        return {"type": "http.request", "body": b"--x\r\n", "more_body": True} if len(taken) % 2 else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    for path in SENDING:
        scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": headers}
        client.portal.call(client.app, scope, receive, send)  # type: ignore[union-attr]
    assert taken == [1] * 2 * len(SENDING)
    assert [status for status in statuses if status] == [499] * len(SENDING)
    assert service.running == 0


def test_jobs_are_rendered_outside_the_event_loop(start_for_all: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Hours of speech take a while, and everybody else would wait."""
    client, threads, shown = start_for_all(jobs=JobsConfig(folder=tmp_path)), [], routes.shown

    def noted(job: Job) -> dict[str, Any]:
        threads.append(threading.get_ident())
        return shown(job)

    job = client.post("/v1/jobs", files={"file": b"no sound"}).json()["id"]
    monkeypatch.setattr(routes, "shown", noted)
    assert client.get(f"/v1/jobs/{job}").json()["id"] == job
    assert len(threads) == 1
    assert client.portal.call(threading.get_ident) not in threads  # type: ignore[union-attr]


def test_of_a_server_without_keys_jobs_are_everybodys(start_for_all: Start, tmp_path: Path):
    client = start_for_all(jobs=JobsConfig(folder=tmp_path))
    job = client.post("/v1/jobs", files={"file": b"no sound"}, headers={"Authorization": "Bearer anything"}).json()["id"]
    assert client.get(f"/v1/jobs/{job}").status_code == 200
    assert [found["id"] for found in client.get("/v1/jobs").json()["data"]] == [job]


def test_a_full_disk_is_no_defect_and_says_nothing_of_ours(start_for_all: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Here it is a limit of this process that no file may exceed."""
    client = start_for_all(jobs=JobsConfig(folder=tmp_path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, before[1]))
    try:
        for path in SENDING:
            answer = client.post(path, files={"audio" if path.startswith("/rec") else "file": bytes(2_000_000)})
            assert answer.status_code == 507
            assert "disk is full" in answer.text
            assert tempfile.gettempdir() not in answer.text
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    logged = [record for record in caplog.records if "no space left" in record.getMessage()]
    assert len(logged) == len(SENDING)
    assert not any(record.exc_info for record in caplog.records)


def test_a_server_that_shuts_down_takes_nothing_new(start_for_all: Start, sound: dict[str, Any]):
    client = start_for_all()
    assert client.get("/readyz").json()["status"] == "ok"
    client.service.drain()  # type: ignore[attr-defined]
    assert client.get("/readyz").status_code == 503
    assert client.post("/recognition", files=sound).status_code == 503


def test_keys(start_for_all: Start, tmp_path: Path, sound: dict[str, Any]):
    (tmp_path / "keys").write_text("two\n\n")
    client = start_for_all(api_keys=("one",), api_key_file=tmp_path / "keys")
    for header in (None, "Bearer", "Bearer three", "Basic one", "Bearer one two"):
        answer = client.post("/recognition", files=sound, headers={"Authorization": header} if header else {})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/v1/models").json()["error"]["code"] == "invalid_api_key"
    assert client.get("/metrics").status_code == 401
    for key in ("one", "two"):
        assert client.get("/v1/models", headers={"Authorization": f"bearer {key}"}).status_code == 200
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == client.get("/docs").status_code == 200
    described = client.get("/openapi.json").json()
    assert described["components"]["securitySchemes"]["API key"]["scheme"] == "bearer"
    assert described["paths"]["/v1/models"]["get"]["security"] == [{"API key": []}]
    assert "security" not in described["paths"]["/healthz"]["get"]


def test_a_file_of_keys_that_holds_none_is_refused(quick_model: Path, tmp_path: Path):
    (tmp_path / "keys").write_text("\n")
    with pytest.raises(UsageError, match="holds no key"):
        Keys(ServeConfig(model=(str(quick_model),), api_key_file=tmp_path / "keys"))
    with pytest.raises(UsageError, match="cannot be read"):
        Keys(ServeConfig(model=(str(quick_model),), api_key_file=tmp_path / "none"))


def test_pages_of_other_hosts_are_let_in_by_name(start_for_all: Start):
    client = start_for_all(cors_origins=("https://example.org",))
    asked = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    assert client.options("/recognition", headers=asked).headers["access-control-allow-origin"] == "https://example.org"
    assert "access-control-allow-origin" not in client.options("/recognition", headers=asked | {"Origin": "https://example.com"}).headers


def test_docs_come_from_this_server_alone(client: TestClient):
    page = client.get("/docs")
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    for file in files:
        assert client.get(f"/{file}").status_code == 200
    assert "default-src 'self'" in page.headers["content-security-policy"]
    described = client.get("/openapi.json").json()["paths"]
    assert "security" not in described["/v1/models"]["get"]  # this server asks for no key
    fields = described["/v1/audio/transcriptions"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"file", "model", "language", "stream", "timestamp_granularities"} <= set(fields)
    assert {parameter["name"] for parameter in described["/recognition"]["post"]["parameters"]} >= {"to_simple", "remove_pun", "language"}
    assert fields["language"] == {
        "type": "string",
        "title": "Language",
        "description": fields["language"]["description"],
    }  # forms have no null
    assert "422" not in json.dumps(described)


def test_several_models_of_which_one_knows_languages(quick_model: Path, quick_base_model: Path, jfk: Path):
    service = Service(ServeConfig(model=(str(quick_model), f"many={quick_base_model}"), threads=1))
    with TestClient(create_app(service), base_url=HOST) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["quick", "many"]
        assert service.models.loaded == ("quick",)

        written = io.BytesIO()
        soundfile.write(written, audio.read(jfk)[:32_000], 16_000, format="WAV")

        def heard(address: str, model: str) -> dict[str, Any]:
            fields = {"model": model, "response_format": "verbose_json", "temperature": "0"}
            answer = client.post(address, files={"file": written.getvalue()}, data=fields)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        assert heard("/v1/audio/transcriptions", "whisper-1")["language"] == "english"
        assert heard("/v1/audio/transcriptions", "many")["language"] == "english"
        translated = heard("/v1/audio/translations", "many")
        assert (translated["task"], translated["language"]) == ("translate", "english")
        assert service.models.loaded == ("quick", "many")


def test_requests_have_ids_and_are_counted(client: TestClient, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "finewhisper.requests"):
        answer = client.get("/v1/models", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    (record,) = [record for record in caplog.records if record.name == "finewhisper.requests"]
    fields = record.__dict__["fields"]
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/v1/models", 200)
    line = json.loads(logs._Json().format(record))
    assert line["path"] == "/v1/models"
    assert re.fullmatch("[0-9a-f]{32}", client.get("/healthz", headers={"X-Request-ID": "no\tid"}).headers["x-request-id"])
    assert 'finewhisper_requests_total{method="GET",route="/v1/models",status="200"}' in client.get("/metrics").text


def test_a_defect_is_logged_and_told_as_one(client: TestClient, sound: dict[str, Any], monkeypatch, caplog: pytest.LogCaptureFixture):
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a detail")

    monkeypatch.setattr(client.service, "transcript", broken)  # type: ignore[attr-defined]
    answer = client.post("/recognition", files=sound)
    assert answer.status_code == answer.json()["code"] == 500
    assert "a detail" not in answer.text
    assert answer.headers["x-request-id"]
    assert any("a detail" in str(record.exc_info) for record in caplog.records if record.exc_info)


def test_whoever_sends_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "PATIENCE_S", 0.05)

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def read() -> None:
        request = limits.limited_body(Request({"type": "http", "headers": []}, never), 1000)
        with pytest.raises(ClientGoneError, match="nothing was received"):
            await request.body()

    asyncio.run(read())


def test_whoever_sends_a_byte_now_and_then_is_given_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "PATIENCE_S", 0.05)

    async def drip() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read() -> None:
        request = limits.limited_body(Request({"type": "http", "headers": []}, drip), 1000, slowest_bytes_s=500.0)
        with pytest.raises(ClientGoneError, match="bytes were received in 0 s"):
            await request.body()

    asyncio.run(read())


def test_whoever_does_not_read_an_answer_frees_its_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(streams, "PATIENCE_S", 0.05)
    freed: list[str] = []

    async def stuck(_: Message) -> None:
        await asyncio.Event().wait()

    async def pieces() -> AsyncGenerator[bytes, None]:
        yield b"text"

    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def answer() -> None:
        held = AsyncExitStack()
        held.callback(freed.append, "place")
        scope = {"type": "http", "headers": [], "asgi": {"spec_version": "2.3"}}
        response = await streams.streamed(Request(scope, never), pieces(), held, "text/plain", lambda _: b"")
        await asyncio.wait_for(response(scope, never, stuck), 30)

    asyncio.run(answer())
    assert freed == ["place"]
