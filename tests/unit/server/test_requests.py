"""Who may ask, under which name, at which address and with which fields; the engine is the fake one, as nobody looks at the words."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from finewhisper.engines.fake import FakeEngine
from finewhisper.server import logs, service
from finewhisper.server.app import create_app
from finewhisper.server.config import ServeConfig
from finewhisper.server.jobs.config import JobsConfig
from finewhisper.server.service import Service
from finewhisper.transcript import DecodeOptions

FIELD = Path(__file__).parents[2] / "field" / "audio"
Start = Callable[..., TestClient]


class Fake(FakeEngine):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(self.heard)
        self.asked: list[DecodeOptions] = []

    def heard(self, _: Any, options: DecodeOptions) -> str:
        self.asked.append(options)
        return "hello"


@pytest.fixture(scope="module")
def engine() -> Fake:
    return Fake()


@pytest.fixture(scope="module")
def start(engine: Fake, quick_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with pytest.MonkeyPatch.context() as patch, ExitStack() as running:
        patch.setattr(service, "load_for", lambda *_, **__: engine)

        def started(address: str = "http://127.0.0.1:8000", **options: Any) -> TestClient:
            jobs = JobsConfig(folder=tmp_path_factory.mktemp("jobs"))
            served = Service(ServeConfig(model=(f"fake={quick_model}",), threads=1, jobs=jobs, **options))
            client = TestClient(create_app(served), base_url=address, raise_server_exceptions=False)
            client.served = served  # type: ignore[attr-defined]
            return running.enter_context(client)

        yield started


@pytest.fixture(scope="module")
def client(start: Start) -> TestClient:
    return start()


@pytest.fixture(scope="module")
def wav() -> bytes:
    written = io.BytesIO()
    soundfile.write(written, 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000, format="WAV")
    return written.getvalue()


FOREIGN_HOSTS = ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "user@127.0.0.1", "[::1", "")
OWN_HOSTS = ("127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "api.localhost", "[::1]:8000", "192.168.1.20:8000", "[fe80::1]")


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_server_without_keys_does_not_answer_to_names_that_others_may_point_to_it(client: TestClient, host: str):
    for method, path in (("GET", "/"), ("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("DELETE", "/v1/jobs/1"), ("POST", "/recognition")):
        answer = client.request(method, path, headers={"Host": host})
        assert answer.status_code == 421
        assert "--allowed-hosts" in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert client.get("/healthz", headers={"Host": host}).status_code == 200  # says nothing, and machines ask for it by any name


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_addresses_in_digits_and_local_names_are_the_servers(client: TestClient, host: str):
    assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200


def test_names_that_are_allowed_are_the_servers(start: Start):
    client = start(allowed_hosts=("Speech.Example.org", ".intranet.example"))
    for host, status in {"speech.example.org:443": 200, "a.b.intranet.example": 200, "intranet.example": 421, "example.org": 421}.items():
        assert client.get("/v1/models", headers={"Host": host}).status_code == status
    behind_a_proxy = {"Host": "127.0.0.1:8000", "Origin": "https://speech.example.org"}
    assert client.get("/v1/models", headers=behind_a_proxy).status_code == 200
    assert start(allowed_hosts=("*",)).get("/v1/models", headers={"Host": "any.example"}).status_code == 200


def test_of_a_server_with_keys_the_key_decides(start: Start):
    client, key = start(api_keys=("key",)), {"Authorization": "Bearer key"}
    assert client.get("/v1/models", headers={"Host": "any.example", "Origin": "https://evil.example"} | key).status_code == 200
    assert client.get("/v1/models", headers={"Host": "any.example"}).status_code == 401


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:3000", "http://localhost", "null", "https://[", "file://"])
def test_what_pages_of_other_origins_ask_for_is_refused(client: TestClient, wav: bytes, origin: str):
    job = client.post("/v1/jobs", files={"file": wav}).json()["id"]
    asked = (("POST", "/v1/jobs"), ("POST", "/recognition"), ("POST", "/v1/audio/transcriptions"), ("DELETE", f"/v1/jobs/{job}"))
    for method, path in (*asked, ("GET", "/v1/jobs"), ("GET", f"/v1/jobs/{job}"), ("GET", "/metrics")):
        answer = client.request(method, path, headers={"Origin": origin})
        assert answer.status_code == 403
        assert "--cors-origins" in answer.text
    with client.websocket_connect("ws://127.0.0.1:8000/v1/listen", headers={"Origin": origin}) as socket:
        assert "may not call" in socket.receive_json()["message"]
    assert client.get(f"/v1/jobs/{job}").status_code == 200


def test_sockets_ask_for_the_host_too(client: TestClient):
    with client.websocket_connect(
        "ws://127.0.0.1:8000/v1/realtime", headers={"Host": "evil.example", "Origin": "http://evil.example"}
    ) as socket:
        assert "not known as" in socket.receive_json()["error"]["message"]


def test_the_page_itself_and_pages_by_name_may_ask(client: TestClient, start: Start):
    assert client.get("/v1/jobs", headers={"Origin": "http://127.0.0.1:8000"}).status_code == 200
    allowed = start(cors_origins=("https://app.example",))
    assert allowed.get("/v1/jobs", headers={"Origin": "https://app.example"}).status_code == 200
    assert allowed.get("/v1/jobs", headers={"Origin": "https://app.example.evil"}).status_code == 403


ADDRESSES = {
    ("POST", "/v1/audio/transcription"): (404, "/v1/audio/transcriptions (POST)"),
    ("POST", "/audio/transcriptions"): (404, "/v1/audio/transcriptions (POST)"),
    ("POST", "/api/v1/audio/transcriptions"): (404, "/v1/audio/transcriptions (POST)"),
    ("POST", "/v1/v1/audio/transcriptions"): (404, "/v1/audio/transcriptions (POST)"),
    ("POST", "/v1/audio/transcriptions/"): (404, "/v1/audio/transcriptions (POST)"),
    ("POST", "//v1//audio/transcriptions"): (404, "/v1/audio/transcriptions (POST)"),
    ("POST", "/V1/Audio/Translations"): (404, "/v1/audio/translations (POST)"),
    ("POST", "/inference"): (404, "/v1/audio/transcriptions (POST)"),
    ("POST", "/recognise"): (404, "/recognition (POST)"),
    ("GET", "/models"): (404, "/v1/models (GET)"),
    ("GET", "/v1/job"): (404, "/v1/jobs (GET or POST)"),
    ("GET", "/v1/listn"): (404, "/v1/listen (as a WebSocket)"),
    ("GET", "/chat/completions"): (404, "/docs"),
    ("GET", "/favicon.ico"): (404, "/docs"),
    ("GET", "/v1/audio/transcriptions"): (405, "takes POST, not GET"),
    ("GET", "/recognition"): (405, "takes POST, not GET"),
    ("POST", "/v1/models"): (405, "takes GET, not POST"),
    ("PUT", "/v1/jobs/abc"): (405, "takes DELETE, GET, not PUT"),
    ("POST", "/healthz"): (405, "takes GET, not POST"),
    ("GET", "/v1/listen"): (426, "WebSocket"),
}


@pytest.mark.parametrize(("asked", "told"), ADDRESSES.items())
def test_a_wrong_address_is_told_the_right_one(client: TestClient, asked: tuple[str, str], told: tuple[int, str]):
    method, path = asked
    answer = client.request(method, f"http://127.0.0.1:8000{path}")
    assert answer.status_code == told[0]
    content = answer.json()
    assert told[1] in (content["msg"] if path.startswith("/recognition") else content["error"]["message"])
    if told[0] == 405:
        assert answer.headers["allow"]


def test_a_long_wrong_address_costs_nothing_and_is_not_repeated(client: TestClient):
    assert len(client.get("/" + "v1/" * 20_000).text) < 1000


def test_a_socket_at_a_wrong_address_is_closed(client: TestClient, caplog: pytest.LogCaptureFixture):
    with pytest.raises(WebSocketDisconnect) as closed, client.websocket_connect("ws://127.0.0.1:8000/v1/listens"):
        pass
    assert "/v1/listen or /v1/realtime" in closed.value.reason
    assert not [record for record in caplog.records if record.exc_info]


def test_head_is_answered_wherever_get_is(client: TestClient):
    for path in (
        "/",
        "/main.js",
        "/docs",
        "/openapi.json",
        "/health",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/models",
        "/v1/models/fake",
        "/v1/jobs",
    ):
        got, asked = client.get(path), client.head(path)
        assert (asked.status_code, asked.content) == (200, b"")
        assert asked.headers["content-type"] == got.headers["content-type"]
        if path not in {"/metrics", "/"}:  # their lengths change, or are left out
            assert asked.headers["content-length"] == str(len(got.content))
    assert client.head("/v1/jobs/none").status_code == 404
    assert client.head("/recognition").status_code == 405


def test_health_has_both_of_its_names(client: TestClient):
    assert client.get("/health").json() == client.get("/healthz").json()


FORMS = {
    "/recognition": ("audio", ("to_simple", "remove_pun", "task", "language", "model", "beam_size", "vad")),
    "/recognition_stream": ("audio", ("to_simple", "remove_pun", "task", "language", "model", "beam_size", "vad")),
    "/v1/audio/transcriptions": (
        "file",
        ("model", "prompt", "response_format", "temperature", "language", "timestamp_granularities[]", "stream", "beam_size", "vad"),
    ),
    "/v1/audio/translations": ("file", ("model", "prompt", "response_format", "temperature", "beam_size", "vad")),
    "/v1/jobs": (
        "file",
        ("model", "language", "task", "prompt", "temperature", "timestamp_granularities", "to_simple", "remove_pun", "webhook", "vad"),
    ),
}


@pytest.mark.parametrize(("address", "form"), FORMS.items())
def test_empty_fields_are_not_given(client: TestClient, wav: bytes, address: str, form: tuple[str, tuple[str, ...]]):
    sound, fields = form
    empty = dict.fromkeys(fields, "")
    answer = client.post(address, files={sound: wav}, data=empty)
    assert answer.status_code in {200, 202}, answer.text
    assert client.post(address, params=empty, files={sound: wav}).status_code in {200, 202}


def test_what_is_wrong_with_a_recording_is_told_at_every_address(client: TestClient):
    """The packets of this one have a hole of 0.38 s."""
    damaged = (FIELD / "drop6.m4a").read_bytes()
    told = ["a hole in its time stamps is read as silence: 0.38 s at 3.78 s"]
    assert client.post("/recognition", files={"audio": damaged}).json()["notices"] == told
    lines = [json.loads(line) for line in client.post("/recognition_stream", files={"audio": damaged}).content.split(b"\0") if line]
    assert [line.get("notices") for line in lines] == [None] * (len(lines) - 1) + [told]
    assert (lines[-1]["result"], lines[-1]["start"]) == ("", pytest.approx(9.66, abs=0.05))
    address = "/v1/audio/transcriptions"
    for form in ("json", "verbose_json"):
        assert client.post(address, files={"file": damaged}, data={"response_format": form}).json()["notices"] == told
    events = client.post(address, files={"file": damaged}, data={"stream": "true"}).text.strip().split("\n\n")
    assert json.loads(events[-1].removeprefix("data: "))["notices"] == told


def test_nothing_is_told_of_a_sound_recording(client: TestClient, wav: bytes):
    assert "notices" not in client.post("/recognition", files={"audio": wav}, data={"vad": "false"}).json()
    assert b"notices" not in client.post("/recognition_stream", files={"audio": wav}, data={"vad": "false"}).content


def test_empty_values_in_an_address_are_not_given(client: TestClient):
    assert client.get("/v1/jobs?limit=").status_code == 200
    assert client.get("/v1/jobs?limit").status_code == 200
    assert client.get("/v1/jobs?limit=x").status_code == 400
    with client.websocket_connect("ws://127.0.0.1:8000/v1/listen?language=&task=&sample_rate=&encoding=&model=&to_simple=&vad=") as socket:
        assert socket.receive_json()["type"] == "ready"
    with client.websocket_connect("ws://127.0.0.1:8000/v1/realtime?intent=&model=") as socket:
        assert socket.receive_json()["type"] == "session.created"


@pytest.mark.parametrize("address", FORMS)
def test_beams_and_voice_activity_are_fields_of_every_form(
    client: TestClient, engine: Fake, wav: bytes, address: str, monkeypatch: pytest.MonkeyPatch
):
    asked = []
    hearing = Service._hearing
    monkeypatch.setattr(
        Service, "_hearing", lambda self, requested, request: (asked.append(requested), hearing(self, requested, request))[1]
    )
    sound = FORMS[address][0]
    for fields, expected in (({}, (1, None)), ({"beam_size": "3", "vad": "true"}, (3, True)), ({"vad": "0"}, (1, False))):
        asked.clear()
        answer = client.post(address, files={sound: wav}, data=fields)
        assert answer.status_code in {200, 202}, answer.text
        if address == "/v1/jobs":
            while client.get(f"/v1/jobs/{answer.json()['id']}").json()["state"] in {"queued", "running"}:
                pass
        assert [(requested.beam_size, requested.vad) for requested in asked] == [expected]
    for value in ("0", "11", "-1", "many", "1e9", "9" * 5000):
        assert client.post(address, files={sound: wav}, data={"beam_size": value}).status_code == 400
    assert client.post(address, files={sound: wav}, data={"vad": "perhaps"}).status_code == 400


@pytest.mark.parametrize("address", ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/jobs"])
def test_a_temperature_is_a_number_from_0_to_1(client: TestClient, wav: bytes, address: str):
    for value in ("nan", "inf", "-inf", "1e400", "-0.1", "1.1", "0x1"):
        assert client.post(address, files={"file": wav}, data={"temperature": value}).status_code == 400


def test_subtitles_have_their_types(client: TestClient, wav: bytes):
    types = {"srt": "application/x-subrip", "vtt": "text/vtt", "text": "text/plain", "json": "application/json"}
    for form, expected in types.items():
        answer = client.post("/v1/audio/transcriptions", files={"file": wav}, data={"response_format": form})
        assert answer.headers["content-type"].partition(";")[0] == expected


def test_recognition_sends_the_whole_text_too(client: TestClient, wav: bytes):
    content = client.post("/recognition", files={"audio": wav}, data={"vad": "0"}).json()
    assert content["text"] == "hello"
    assert [found["result"] for found in content["results"]] == ["hello"]


def test_the_description_names_every_default(client: TestClient):
    described = client.get("/openapi.json").json()["paths"]

    def fields(address: str) -> dict[str, Any]:
        return dict(described[address]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"])

    upstream = fields("/recognition")
    defaults = {name: field.get("default") for name, field in upstream.items()}
    assert defaults | {"audio": None} == {
        "audio": None, "to_simple": True, "remove_pun": False, "task": "transcribe", "language": "zh", "model": "",
        "beam_size": None, "vad": None,
    }  # fmt: skip
    in_address = {parameter["name"]: parameter["schema"].get("default") for parameter in described["/recognition"]["post"]["parameters"]}
    assert in_address == {name: default for name, default in defaults.items() if name != "audio"}
    assert "default" not in fields("/v1/audio/transcriptions")["language"]
    assert fields("/v1/audio/transcriptions")["response_format"]["default"] == "json"
    for address in FORMS:
        assert "null" not in json.dumps(fields(address))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ('{"type": []}', "no event of the type []"),
        ('{"type": {}}', "no event of the type {}"),
        ('{"type": "\\ud800"}', "half a surrogate pair"),
        ('{"type": "session.update", "session": {"\\udfff": 1}}', "half a surrogate pair"),
        ('{"type": "session.update", "session": []}', "session"),
        ('{"type": "session.update", "session": {"audio": {"input": {"turn_detection": []}}}}', "turn_detection"),
        ('{"type": "input_audio_buffer.append", "audio": {}}', "base64"),
        ("[" * 100_000, "JSON object"),
        ('{"type": ' + "9" * 5000 + "}", "JSON object"),
    ],
)
def test_a_realtime_session_survives_messages_of_any_kind(client: TestClient, message: str, told: str, caplog: pytest.LogCaptureFixture):
    with client.websocket_connect("ws://127.0.0.1:8000/v1/realtime") as socket:
        assert socket.receive_json()["type"] == "session.created"
        socket.send_text(message)
        assert told in socket.receive_json()["error"]["message"]
        socket.send_text('{"type": "input_audio_buffer.clear", "event_id": "\\ud83d\\ude00"}')  # two halves are a character
        assert socket.receive_json()["type"] == "input_audio_buffer.cleared"
    assert not [record for record in caplog.records if record.exc_info]


FORGED = "/a\r\n2026-01-01 00:00:00 INFO 127.0.0.1 GET /b 200 0.001 s\x1b[2J\u202e\u2028\ud800 x"


def test_no_path_can_forge_a_line_of_the_log(client: TestClient, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.INFO, "finewhisper.requests"):
        client.get("/a%0D%0A2026-01-01%20INFO%20x%1B%5B2J%E2%80%AE%E2%80%A8/中文")
    (record,) = [record for record in caplog.records if record.name == "finewhisper.requests"]
    for line in (logs._Text().format(record), logs._Json().format(record)):
        assert len(line.splitlines()) == 1
        assert "\x1b" not in line
        assert "\u202e" not in line
        assert "中文" in line
        assert "INFO x" not in line


def test_nothing_that_is_logged_can_forge_a_line():
    try:
        raise ValueError(FORGED)
    except ValueError:  # half a character in pytest's own log would end its process
        record = logging.LogRecord("any", logging.ERROR, __file__, 1, "a model called %s", (FORGED,), sys.exc_info())
    first, *trace = logs._Text().format(record).split("\n")
    assert first.isprintable()
    assert all(line.startswith("  ") for line in trace)
    line = logs._Json().format(record)
    assert "\n" not in line
    line.encode()
    assert json.loads(line)["message"] == f"a model called {FORGED}"


def test_methods_that_clients_invent_are_counted_together(client: TestClient):
    for number in range(5):
        client.request(f"INVENTED{number}", "/v1/models")
    assert "INVENTED" not in client.get("/metrics").text


def test_a_model_is_a_path_wherever_that_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "lr=1e-5" / "model").mkdir(parents=True)
    (tmp_path / "plain").mkdir()
    config = ServeConfig(model=("runs/lr=1e-5/model", "named=runs/lr=1e-5/model", "other=plain"))
    assert config.folders == {
        "model": Path("runs/lr=1e-5/model"),
        "named": Path("runs/lr=1e-5/model"),
        "other": Path("plain"),
    }
