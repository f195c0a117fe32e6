"""Hostile uploads to every form of a real server: each is answered as wrong, or taken; none brings it down, and none is a defect.

1,100 of them in ``make fuzz``. A failure names the seed.
"""

from __future__ import annotations

import io
import random
import re
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from besieging import PATIENCE_S, besieged
from fuzzing import damaged, seeds

pytestmark = pytest.mark.real

FORMS = {
    "/recognition": "audio",
    "/recognition_stream": "audio",
    "/v1/audio/transcriptions": "file",
    "/v1/audio/translations": "file",
    "/v1/jobs": "file",
}
FIELDS = (
    "model", "language", "task", "prompt", "temperature", "response_format", "timestamp_granularities[]", "stream", "to_simple",
    "remove_pun",    "webhook", "beam_size", "vad", "hotwords", "audio", "file", "", "__proto__", "x" * 300,
)  # fmt: skip
VALUES = (
    b"", b"0", b"-1", b"1e400", b"nan", b"-inf", b"9" * 5000, b"None", b"null", b"true", b"[]", b"{}", b"[" * 5000, b"\0", b"\xff\xfe",
    b"\xed\xa0\x80", "中文\u202e".encode(), b"a\r\nb", b"%s%n", b"../../etc/passwd", b"x" * 70_000, b"word", b"json", b"en", b"translate",
    b"http://127.0.0.1/", b"file:///etc/passwd", b"0x10", b"1_0", b" 1 ", b"<|endoftext|><|0.00|>",
)  # fmt: skip
FILENAMES = (
    b"a.wav", b"", b"../../etc/passwd", b"a\0b", b'a"b', b"a\r\nX: y", b"\xff\xfe.wav", "声音.mp3".encode(), b"x" * 9000, b"CON",
    b"a;b=c", b"|id",
)  # fmt: skip
VALID = (b"language", b"en")
ODD_TYPES = (
    b"multipart/form-data", b"multipart/form-data; boundary=", b'multipart/form-data; boundary="', b"multipart/form-data; boundary=other",
    b"multipart/form-data; boundary=" + b"y" * 5000, b"multipart/mixed; boundary=x", b"application/json", b"",
    b"multipart/form-data; charset=utf-7; boundary=x",
    b"multipart/form-data; boundary=x; charset=\xff", b"multipart/form-data;;;=", b"multipart/form-data; boundary=x; charset=no-such",
)  # fmt: skip


def recordings() -> list[bytes]:
    """Half a second of noise in several formats."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000)
    found = []
    for form, subtype in (
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("FLAC", None),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", None),
        ("AIFF", None),
    ):
        written = io.BytesIO()
        soundfile.write(written, noise, 16_000, format=form, subtype=subtype)
        found.append(written.getvalue())
    return found


RECORDINGS = recordings()


def hostile(seed: int) -> tuple[bytes, bool]:
    """A request, and whether it is whole, so that there must be an answer."""
    chance = random.Random(f"upload{seed}")
    address = chance.choice(list(FORMS))
    body = form_of(chance, FORMS[address])
    content_type = b"multipart/form-data; boundary=x" if chance.random() < 0.9 else chance.choice(ODD_TYPES)
    if chance.random() < 0.2:
        body = damaged(body, chance)
    query = b""
    if chance.random() < 0.2:
        pairs = (chance.choice(FIELDS).encode() + b"=" + re.sub(rb"[^!-~]|[#%]", b"%ff", chance.choice(VALUES))[:3000] for _ in range(3))
        query = b"?" + b"&".join(pairs)
    framing, body, whole = framed(chance, body)
    head = b"POST " + address.encode() + query + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: " + content_type
    return head + b"\r\n" + framing + b"\r\n" + body, whole


def form_of(chance: random.Random, sound: str) -> bytes:
    parts = [
        field(*(VALID if chance.random() < 0.5 else (chance.choice(FIELDS).encode(), chance.choice(VALUES))))
        for _ in range(chance.choice((0, 0, 0, 1, 1, 2, 5, 100)))
    ]
    for _ in range(chance.choice((1,) * 10 + (0, 2))):
        name = sound if chance.random() < 0.95 else chance.choice(FIELDS)
        filename = FILENAMES[0] if chance.random() < 0.6 else chance.choice(FILENAMES)
        parts.insert(chance.randint(0, len(parts)), field(name.encode(), recording(chance), filename))
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


def field(name: bytes, value: bytes, filename: bytes | None = None) -> bytes:
    told = b"" if filename is None else b'; filename="' + filename + b'"'
    return b'Content-Disposition: form-data; name="' + name + b'"' + told + b"\r\n\r\n" + value


def recording(chance: random.Random) -> bytes:
    whole = chance.choice(RECORDINGS)
    kind = chance.random()
    if kind < 0.4:
        return whole
    if kind < 0.85:
        return damaged(whole, chance)
    return chance.choice(
        (
            b"",
            b"RIFF",
            bytes(200_000),
            chance.randbytes(5000),
            b"ffconcat version 1.0\nfile /etc/passwd\n",
            b"#EXTM3U\nhttp://127.0.0.1/",
            whole * 3,
        )
    )


def framed(chance: random.Random, body: bytes) -> tuple[bytes, bytes, bool]:
    """The headers that tell the body's length, the body, which may have another one, and whether it has not."""
    kind = chance.random()
    if kind < 0.75:
        return b"Content-Length: %d\r\n" % len(body), body, True
    if kind < 0.85:
        return b"Content-Length: %d\r\n" % chance.choice((len(body) // 2, len(body) + 1000, 0, 10**12)), body, False
    if kind < 0.9:
        return b"Content-Length: " + chance.choice((b"-1", b"1e9", b"9" * 400, b"0x10", b"5, 6")) + b"\r\n", body, False
    if kind < 0.95:
        return b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), True
    size = chance.choice((b"-1", b"ffffffffffffffffffff", b"zz", b"1"))
    return b"Transfer-Encoding: chunked\r\n", size + b"\r\n" + body + b"\r\n0\r\n\r\n", False


def asked(address: str, request: bytes, patience_s: float) -> bytes:
    """The status line of the answer; b"" where there was none."""
    host, _, port = address.removeprefix("http://").partition(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(request)
            connection.settimeout(patience_s)
            while block := connection.recv(1 << 16):
                received += block
        except (ConnectionResetError, BrokenPipeError, TimeoutError):
            pass
    return received.partition(b"\r\n")[0]


def test_hostile_uploads_are_answered_and_none_is_a_defect(random_model: Path, tmp_path: Path):
    counts: dict[str, int] = {}
    options = ("--jobs.folder", str(tmp_path / "jobs"), "--jobs.most", "5000", "--max-upload", "5", "--log-format", "text")
    with besieged(random_model, *options) as server:
        for seed in seeds(full=1100, sample=60):
            request, whole = hostile(seed)
            status = asked(server.address, request, PATIENCE_S if whole else 0.2)
            number = status.split(b" ")[1].decode() if status else "none"
            assert number < "5" or (number == "none" and not whole), f"seed {seed}: {status!r}"
            counts[number] = counts.get(number, 0) + 1
        assert counts.get("200", 0) + counts.get("202", 0) > 5, counts  # not all are so bad that nothing is tried
        assert counts.get("400", 0) > 5, counts
        assert {job["error"]["type"] for job in over(server.address) if job["state"] == "failed"} <= {
            "invalid_request_error",
            "not_found_error",
        }
    print(counts)


def over(address: str) -> list[dict[str, Any]]:
    """The newest jobs, when all are over."""
    end_s = time.monotonic() + PATIENCE_S
    while not re.search(r'jobs\{state="queued"\} 0\.0\n(?s:.*)jobs\{state="running"\} 0\.0', httpx.get(f"{address}/metrics").text):
        assert time.monotonic() < end_s
        time.sleep(0.1)
    return [dict(httpx.get(f"{address}/v1/jobs/{job['id']}").json()) for job in httpx.get(f"{address}/v1/jobs?limit=100").json()["data"]]
