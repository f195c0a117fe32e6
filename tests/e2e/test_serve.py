"""The server as a process: started, asked by many, abused, and ended."""

from __future__ import annotations

import importlib.util
import itertools
import json
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import soxr
from hypothesis import HealthCheck, given, settings, strategies
from hypothesis.errors import Unsatisfiable
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

import serving
from finewhisper import audio
from listening import pcm

pytestmark = pytest.mark.real
WAIT_S = 120.0


@pytest.fixture(scope="module")
def server(tiny_en_ct2_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[serving.Running]:
    options = ("--max-upload", "1", "--log-format", "json", "--jobs.folder", str(tmp_path_factory.mktemp("jobs")))
    with serving.running(tiny_en_ct2_model, *options) as server:
        yield server


@pytest.fixture
def jfk(data: Path) -> Path:
    return data / "en_misc" / "audio" / "jfk.opus"


def until(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def running_requests(address: str) -> int:
    return httpx.get(f"{address}/readyz", timeout=WAIT_S).json()["running"]


def test_what_runs_is_finished_and_new_work_refused(tiny_en_ct2_model: Path, data: Path):
    long = (data / "longform" / "audio" / "shakespeare_sonnet001.mp3").read_bytes()
    with serving.running(tiny_en_ct2_model, "--shutdown-timeout", "100") as server, httpx.Client(timeout=WAIT_S) as client:
        answers: list[httpx.Response] = []
        ask = threading.Thread(target=lambda: answers.append(client.post(f"{server.address}/recognition", files={"audio": long})))
        ask.start()
        until(lambda: running_requests(server.address) == 1)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: any("being finished" in line for line in server.log))
        assert httpx.post(f"{server.address}/recognition", files={"audio": long}, timeout=WAIT_S).status_code == 503
        ask.join(WAIT_S)
        assert answers[0].status_code == 200
        assert "fairest creatures" in str(answers[0].json())
        assert server.process.wait(WAIT_S) == 0


def test_live_sockets_get_what_was_said(tiny_en_ct2_model: Path, jfk: Path):
    """Of both protocols, with an utterance that goes on, and one that has only been opened."""
    spoken = audio.read(jfk)[:40_000]  # And so, my fellow Amer
    options = ("--precision", "int8", "--shutdown-timeout", "100")
    with serving.running(tiny_en_ct2_model, *options) as running, ExitStack() as opened:
        paths = ("/v1/listen?language=en", "/v1/realtime", "/v1/listen")
        sockets = [opened.enter_context(live(running, path)) for path in paths]
        listening, realtime, silent = sockets
        listening.send(pcm(spoken))
        sound = b64encode(pcm(soxr.resample(spoken, 16_000, 24_000))).decode()
        realtime.send(json.dumps({"type": "input_audio_buffer.append", "audio": sound}))
        heard = [until_told(listening, "partial"), until_told(realtime, "input_audio_buffer.speech_started"), until_told(silent, "ready")]
        assert "finewhisper_live_sockets 3.0" in httpx.get(f"{running.address}/metrics", timeout=WAIT_S).text
        running.process.send_signal(signal.SIGTERM)
        started_s = time.monotonic()
        for messages, connection in zip(heard, sockets, strict=True):
            messages += [json.loads(message) for message in to_the_end(connection)]
            assert connection.close_code == 1012
        assert running.process.wait(WAIT_S) == 0
        assert time.monotonic() - started_s < 60
    kinds = [[message["type"] for message in messages] for messages in heard]
    assert kinds[0][-2:] == ["final", "done"]
    assert "fellow" in heard[0][-2]["text"].lower()
    assert kinds[1][-1] == "conversation.item.input_audio_transcription.completed"
    assert "fellow" in heard[1][-1]["transcript"].lower()
    assert kinds[2] == ["ready", "done"]
    assert any("0 requests and 3 live sockets are being finished" in line for line in running.log)
    assert not [line for line in running.log if "Traceback" in line]


def test_live_sockets_that_cannot_be_heard_in_time_are_told_so(tiny_en_ct2_model: Path, jfk: Path):
    with serving.running(tiny_en_ct2_model, "--shutdown-timeout", "0") as running, live(running, "/v1/listen?language=en") as connection:
        connection.send(pcm(audio.read(jfk)[:40_000]))
        until_told(connection, "partial")
        running.process.send_signal(signal.SIGTERM)
        last = json.loads(list(to_the_end(connection))[-1])
        assert (last["type"], last["code"], connection.close_code) == ("error", "server_error", 1013)
        assert running.process.wait(WAIT_S) == 0
    assert not [line for line in running.log if "Traceback" in line]


def live(running: serving.Running, path: str) -> connect:
    return connect(f"ws{running.address.removeprefix('http')}{path}", open_timeout=WAIT_S, ping_timeout=None)


def until_told(connection: ClientConnection, kind: str) -> list[dict[str, Any]]:
    """All messages up to the first of a kind."""
    found = [json.loads(connection.recv(WAIT_S))]
    while found[-1]["type"] != kind:
        found.append(json.loads(connection.recv(WAIT_S)))
    return found


def to_the_end(connection: ClientConnection) -> Iterator[str | bytes]:
    """All messages until the socket is closed."""
    with suppress(ConnectionClosed):
        while True:
            yield connection.recv(WAIT_S)


def test_a_port_that_is_taken_and_a_model_that_is_none(tiny_en_ct2_model: Path, tmp_path: Path):
    def refused(model: Path, port: int) -> str:
        command = [sys.executable, "-m", "finewhisper", "serve", "-m", str(model), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, check=False)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        return done.stderr

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "choose another port" in refused(tiny_en_ct2_model, taken.getsockname()[1])
    assert "is not a model folder" in refused(tmp_path, 0)


def test_clients_that_break_off_leave_no_work(server: serving.Running, data: Path):
    """In the headers, in the body, while they wait and while they are answered."""
    host, port = urlsplit(server.address).hostname, urlsplit(server.address).port
    sound = (data / "longform" / "audio" / "shakespeare_sonnet001.mp3").read_bytes()[:900_000]
    head = b'--x\r\nContent-Disposition: form-data; name="audio"; filename="a"\r\n\r\n'
    body = head + sound + b"\r\n--x--\r\n"
    for address, share in itertools.product((b"/recognition", b"/recognition_stream"), (0.0, 0.5, 1.0)):
        lines = [
            b"POST " + address + b" HTTP/1.1",
            b"Host: 127.0.0.1",
            b"Content-Type: multipart/form-data; boundary=x",
            b"Content-Length: %d",
        ]
        request = b"\r\n".join(lines) % len(body) + b"\r\n\r\n" + body
        with socket.create_connection((host, port), WAIT_S) as client:
            client.sendall(request[: max(round(len(request) * share), 40)])
            if share == 1.0:
                until(lambda: running_requests(server.address) == 1)
    until(lambda: running_requests(server.address) == 0)
    metrics = httpx.get(f"{server.address}/metrics", timeout=WAIT_S).text
    assert 'status="500"' not in metrics
    assert not [line for line in server.log if "Traceback" in line]


def test_generated_requests_meet_no_defect(server: serving.Running, jfk: Path):
    """Whatever is made of the description of the addresses, or against it: an answer as described, or a refusal in the API's shape."""
    if importlib.util.find_spec("schemathesis") is None:
        pytest.skip("needs the package schemathesis")
    import schemathesis
    from schemathesis.specs.openapi import checks

    jobs = [finished_job(server.address, jfk) for _ in range(3)]
    described = [checks.status_code_conformance, checks.content_type_conformance, checks.response_schema_conformance]
    tried: dict[str, set[int]] = {}

    def ask(case: schemathesis.Case, job: str | None) -> None:
        if job is not None:
            case.path_parameters["job"] = job
        answer = case.call(timeout=WAIT_S)
        assert answer.status_code < 500, (case.as_curl_command(), answer.text)
        case.validate_response(answer, checks=described)
        if answer.status_code >= 400:
            assert {"error"} == set(answer.json()) or {"code", "msg"} == set(answer.json()), answer.text
        tried.setdefault(f"{case.method} {case.path}", set()).add(answer.status_code)

    bounded = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    operations = [operation.ok() for operation in schemathesis.openapi.from_url(f"{server.address}/openapi.json").get_all_operations()]
    for operation, mode in itertools.product(operations, schemathesis.GenerationMode):
        job = strategies.sampled_from([*jobs, None]) if "{job}" in operation.path else strategies.none()
        with suppress(Unsatisfiable):  # nothing can be wrong about a request without parameters
            bounded(given(case=operation.as_strategy(generation_mode=mode), job=job)(ask))()
    assert tried["POST /v1/jobs"] >= {202, 400}
    assert tried["GET /v1/jobs"] == {200, 400}
    assert tried["GET /v1/jobs/{job}"] >= {200, 400, 404}
    assert tried["DELETE /v1/jobs/{job}"] >= {200, 404}
    assert len(tried) == len(operations)
    assert not [line for line in server.log if "Traceback" in line]


def finished_job(address: str, sound: Path) -> str:
    """The id of a job that has a result."""
    job = httpx.post(f"{address}/v1/jobs", files={"file": sound.read_bytes()}, timeout=WAIT_S).json()["id"]
    until(lambda: httpx.get(f"{address}/v1/jobs/{job}", timeout=WAIT_S).json()["state"] == "done")
    return str(job)


def test_a_thousand_broken_uploads(server: serving.Running, jfk: Path):
    """Cut anywhere, with bytes changed anywhere: an answer, or a sentence about the recording."""
    chance, whole = random.Random(0), jfk.read_bytes()[:2000]
    seen: dict[int, int] = {}
    with httpx.Client(timeout=WAIT_S) as client:
        for _ in range(1000):
            broken = bytearray(whole[: chance.randrange(len(whole))])
            for _ in range(chance.randrange(20)):
                if broken:
                    broken[chance.randrange(len(broken))] = chance.randrange(256)
            answer = client.post(f"{server.address}/recognition", files={"audio": bytes(broken)})
            seen[answer.status_code] = seen.get(answer.status_code, 0) + 1
    assert set(seen) <= {200, 400}
    assert seen[400] > 500
    assert running_requests(server.address) == 0
