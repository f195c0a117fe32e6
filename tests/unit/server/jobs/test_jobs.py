"""``/v1/jobs`` of a real server, which is killed in the middle of its work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

import serving

pytestmark = pytest.mark.real

#: The machine may be busy with other things.
PATIENCE_S = 300.0


def submit(address: str, sound: Path | bytes, **fields: str) -> httpx.Response:
    content = sound if isinstance(sound, bytes) else sound.read_bytes()
    return httpx.post(f"{address}/v1/jobs", files={"file": content}, data=fields, timeout=PATIENCE_S)


def state(address: str, job: str) -> dict:
    return dict(httpx.get(f"{address}/v1/jobs/{job}", timeout=PATIENCE_S).json())


def wait(address: str, job: str, wanted: Callable[[dict], bool] = lambda job: job["state"] not in {"queued", "running"}) -> dict:
    end_s = time.monotonic() + PATIENCE_S
    while not wanted(found := state(address, job)):
        assert time.monotonic() < end_s, found
        time.sleep(0.1)
    return found


def test_a_killed_server_loses_nothing(quick_model: Path, jfk: Path, tmp_path: Path):
    options = ("--jobs.folder", str(tmp_path / "jobs"), "--jobs.together", "1")
    with serving.running(quick_model, *options) as running:
        jobs = [submit(running.address, jfk, language="en").json()["id"] for _ in range(4)]
        first = wait(running.address, jobs[0])
        assert first["state"] == "done"
        running.process.kill()
        running.process.wait(PATIENCE_S)
    with serving.running(quick_model, *options) as running:
        assert state(running.address, jobs[0]) == first
        found = [wait(running.address, job) for job in jobs]
    assert [job["state"] for job in found] == ["done"] * 4
    assert {job["result"]["text"] for job in found} == {first["result"]["text"]}
    assert list((tmp_path / "jobs" / "finewhisper-recordings").iterdir()) == []


class Hook(BaseHTTPRequestHandler):
    """Refuses the first result, to see it come again."""

    bodies: list[bytes] = []  # noqa: RUF012 - one for the server, whose class this is
    taken = threading.Event()

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(503 if len(self.bodies) == 1 else 204)
        self.end_headers()
        if len(self.bodies) > 1:
            self.taken.set()

    def log_message(self, *_: object) -> None: ...


def test_from_submission_to_removal(quick_model: Path, jfk: Path, tmp_path: Path):
    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    options = ("--jobs.folder", str(tmp_path / "jobs"), "--jobs.together", "1", "--jobs.webhook-hosts", "127.0.0.1", "--jobs.most", "4")
    with serving.running(quick_model, *options) as running:
        address = running.address
        answer = submit(
            address, jfk, language="en", webhook=f"http://127.0.0.1:{hook.server_port}/", **{"timestamp_granularities[]": "word"}
        )
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
        done = wait(address, answer.json()["id"])
        assert done["progress"] == 1.0
        assert done["created_at"] <= done["started_at"] <= done["finished_at"]
        assert done["result"]["segments"][0]["words"]
        texts = {form: httpx.get(f"{address}{answer.headers['location']}?format={form}").text for form in ("json", "text", "srt", "vtt")}
        assert "Americans" in texts["text"]
        assert texts["srt"].startswith("1\n00:00:")
        assert texts["vtt"].startswith("WEBVTT\n")
        assert '"segments"' in texts["json"]
        assert Hook.taken.wait(PATIENCE_S)
        assert Hook.bodies[0] == Hook.bodies[1]
        assert done["id"].encode() in Hook.bodies[1]

        broken = wait(address, submit(address, b"no sound at all").json()["id"])
        assert broken["state"] == "failed"
        assert broken["error"]["type"] == "invalid_request_error"
        assert str(tmp_path) not in broken["error"]["message"]
        assert httpx.get(f"{address}/v1/jobs/{broken['id']}?format=text").status_code == 409

        counted = httpx.get(f"{address}/metrics").text.splitlines()
        numbers = {"queued": 0, "running": 0, "done": 1, "failed": 1, "cancelled": 0}
        assert {f'finewhisper_jobs{{state="{state}"}} {number}.0' for state, number in numbers.items()} <= set(counted)
        assert 'finewhisper_jobs_finished_total{state="done"} 1.0' in counted

        waiting = [submit(address, jfk) for _ in range(8)]
        assert {answer.status_code for answer in waiting} == {202, 429}
        last = [answer.json()["id"] for answer in waiting if answer.status_code == 202][-1]
        assert httpx.delete(f"{address}/v1/jobs/{last}").json()["state"] == "cancelled"
        assert httpx.delete(f"{address}/v1/jobs/{last}").json()["deleted"] is True
        assert httpx.get(f"{address}/v1/jobs/{last}").status_code == 404
        listed = httpx.get(f"{address}/v1/jobs?limit=100").json()["data"]
        assert last not in {job["id"] for job in listed}
        assert all("result" not in job for job in listed)

        refused = [
            submit(address, jfk, webhook="http://10.0.0.1/"),
            submit(address, jfk, language="klingon"),
            submit(address, jfk, temperature="hot"),
        ]
        assert [answer.status_code for answer in refused] == [400, 400, 400]
        assert submit(address, jfk, model="large").status_code == 404
        assert "limit: Input should be less" in httpx.get(f"{address}/v1/jobs?limit=101").json()["error"]["message"]
        assert httpx.get(f"{address}/v1/jobs/{last}?format=doc").status_code == 400
        assert httpx.get(f"{address}/v1/jobs/../../etc/passwd").status_code == 404
        assert not [line for line in running.log if "Traceback" in line]
    hook.shutdown()
    hook.server_close()


def test_a_server_without_a_folder_takes_no_jobs(quick_model: Path, jfk: Path):
    with serving.running(quick_model) as running:
        answer = submit(running.address, jfk)
    assert answer.status_code == 404
    assert "--jobs.folder" in answer.json()["error"]["message"]
