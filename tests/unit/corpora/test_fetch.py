"""Downloads against a server of our own that behaves as badly as real ones."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from finewhisper.corpora import fetch
from finewhisper.corpora.fetch import download
from finewhisper.errors import CorpusError, StorageError

CONTENT = bytes(range(256)) * 8000  # 2 MB
MD5 = hashlib.md5(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; ``faults`` are used up one request at a time, ``ranges`` remembers what was asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[str] = []
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data.tgz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault.isdigit():
            self.send_error(int(fault))
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and fault != "no ranges" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        body = CONTENT[start:] if fault != "other content" else b"x" * len(CONTENT)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "drop" else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def test_a_download_and_no_second_one(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "new" / "data.tgz"
    assert download(server.url, path, MD5).read_bytes() == CONTENT
    download(server.url, path, MD5)
    assert server.ranges == [None]
    assert list(path.parent.iterdir()) == [path]


def test_a_dropped_connection_is_taken_up_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.faults = ["drop", "drop", "503", "drop"]
    assert download(server.url, tmp_path / "data.tgz", MD5, waits_s=(0.01, 0.01)).read_bytes() == CONTENT
    half, three_quarters = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    assert server.ranges[:4] == [None, f"bytes={half}-", f"bytes={three_quarters}-", f"bytes={three_quarters}-"]


def test_a_later_run_goes_on(server: Server, tmp_path: Path) -> None:
    server.faults = ["drop"]
    with pytest.raises(CorpusError, match=r"the connection broke off after 1,024,000 of 2,048,000 bytes.*run this again to go on with it"):
        download(server.url, tmp_path / "data.tgz", MD5, waits_s=())
    assert not (tmp_path / "data.tgz").exists()
    assert download(server.url, tmp_path / "data.tgz", MD5).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1024000-"]


def test_a_run_that_was_killed_before_the_last_rename(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.tgz.part").write_bytes(CONTENT)
    assert download(server.url, tmp_path / "data.tgz", MD5).read_bytes() == CONTENT


def test_a_server_that_cannot_resume_starts_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data.tgz.part").write_bytes(b"old" * 1000)
    server.faults = ["no ranges"]
    assert download(server.url, tmp_path / "data.tgz", MD5).read_bytes() == CONTENT


def test_wrong_content_is_deleted(server: Server, tmp_path: Path) -> None:
    server.faults = ["other content"]
    with pytest.raises(CorpusError, match=f"the download has MD5 [0-9a-f]{{32}}, not {MD5}, and was deleted"):
        download(server.url, tmp_path / "data.tgz", MD5)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_gone_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    server.faults = ["404"] * 5
    with pytest.raises(CorpusError, match=r"data\.tgz: cannot be downloaded \(Not Found\).*give it as SOURCE"):
        download(server.url, tmp_path / "data.tgz", MD5)
    assert server.ranges == [None]


def test_no_server(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"cannot be downloaded .*refused"):
        download("http://127.0.0.1:9/data.tgz", tmp_path / "data.tgz", MD5, waits_s=(0.01, 0.01))


def test_a_disk_that_is_too_small_is_noticed_before_it_is_full(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage(0, 0, 1_000_000))
    with pytest.raises(StorageError, match=r"0\.0 GB are to be downloaded, but only 0\.0 GB are free; choose another --cache"):
        download(server.url, tmp_path / "data.tgz", MD5)


def test_a_cache_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be written"):
        download(server.url, tmp_path / "file" / "data.tgz", MD5)
