"""A hub on this machine: the three requests that the client library makes, and a line that breaks on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves ``files`` of one repository at one commit.

    Attributes:
        requests: what was asked of files: method, name and first byte.
        break_after: cut the connection after so many bytes of the weights, and be down from then on.
        refusal: answer everything with this status and error code.
    """

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, int]] = []
        self.break_after: int | None = None
        self.refusal: tuple[int, str] | None = None
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def sent(self, name: str) -> list[int]:
        """From which byte on a file was sent, for each time that it was."""
        return [first for method, requested, first in self.requests if (method, requested) == ("GET", name)]

    def model_info(self) -> dict[str, object]:
        siblings = []
        for name, content in self.files.items():
            entry: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": _blob(content)}
            if name.endswith(".safetensors"):
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 135}
            siblings.append(entry)
        return {
            "_id": "1",
            "id": self.repository,
            "modelId": self.repository,
            "sha": COMMIT,
            "siblings": siblings,
            "tags": [],
            "private": False,
        }

    def tree(self) -> list[dict[str, object]]:
        entries = []
        for name, content in self.files.items():
            entry: dict[str, object] = {"type": "file", "oid": _blob(content), "size": len(content), "path": name}
            if name.endswith(".safetensors"):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 135}
            entries.append(entry)
        return entries

    def _handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - the handler below has its own self
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None: ...

            def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                if hub.refusal is not None:
                    status, code = hub.refusal
                    self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})
                elif path in (f"/api/models/{hub.repository}", f"/api/models/{hub.repository}/revision/{COMMIT}"):
                    self.answer(200, json.dumps(hub.model_info()).encode(), {"Content-Type": "application/json"})
                elif path.startswith(f"/api/models/{hub.repository}/tree/"):
                    self.answer(200, json.dumps(hub.tree()).encode(), {"Content-Type": "application/json"})
                elif path.startswith(f"/{hub.repository}/resolve/{COMMIT}/"):
                    self.send_file(path.split(COMMIT + "/")[1])
                elif path.startswith(f"/api/models/{hub.repository}/revision/"):
                    self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                else:
                    self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

            def send_file(self, name: str) -> None:
                content = hub.files[name]
                first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
                hub.requests.append((self.command, name, first))
                etag = hashlib.sha256(content).hexdigest() if name.endswith(".safetensors") else _blob(content)
                headers = {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
                if first:
                    headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
                rest = content[first:]
                if self.command == "GET" and name.endswith(".safetensors") and hub.break_after is not None:
                    rest, hub.break_after, hub.refusal = rest[: hub.break_after], None, (500, "Down")
                    headers["Content-Length"] = str(len(content) - first)
                    self.close_connection = True
                self.answer(206 if first else 200, rest, headers)

        return Handler


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub("someone/their-whisper")
    thread = threading.Thread(target=found.server.serve_forever, daemon=True)
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
