"""Large downloads: resumed where they stopped, with a bar, kept only when their checksum is right."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path

from finewhisper.errors import CorpusError, StorageError
from finewhisper.files import storage_errors
from finewhisper.progress import bar, note

_BLOCK = 1 << 20  # bytes
_TIMEOUT_S = 60.0
_WAITS_S = (1.0, 4.0, 15.0)  # before each further attempt; progress starts the count afresh


def download(url: str, path: Path, md5: str, *, waits_s: tuple[float, ...] = _WAITS_S) -> Path:
    """Fetch ``url`` to ``path`` unless it is there; an interrupted download is continued by the next call.

    Raises:
        CorpusError: the server cannot be reached, refuses, or sent something else than ``md5`` promises.
        StorageError: the disk is full or too small.
    """
    if path.is_file():
        return path
    part = path.with_name(path.name + ".part")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        waits = list(waits_s)
        while True:
            before = _size(part)
            try:
                _continue(url, part)
                break
            except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
                if _size(part) > before:
                    waits = list(waits_s)
                if not waits or (isinstance(error, urllib.error.HTTPError) and error.code < 500):
                    raise CorpusError(
                        f"{url}: cannot be downloaded ({_reason(error)}); run this again to go on with it, "
                        "or download the file yourself and give it as SOURCE"
                    ) from error
                note(f"{url}: {_reason(error)}; trying again")
                time.sleep(waits.pop(0))
        _verify(part, md5, url)
        part.replace(path)
    return path


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error or type(error).__name__)


def _continue(url: str, part: Path) -> None:
    """One request for what is missing, appended to ``part``."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310 - our own constants
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing; the checksum decides
        raise
    with response:
        resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
        missing = int(response.headers.get("Content-Length") or 0)
        total = missing + (have if resumed else 0)
        _require_room(part.parent, missing)
        with part.open("ab" if resumed else "wb") as file, bar(f"Downloading {part.stem}", total or None, "B") as progress:
            progress.update(file.tell() if resumed else 0)
            while block := response.read(_BLOCK):
                file.write(block)
                progress.update(len(block))
        if total and _size(part) < total:
            raise ConnectionError(f"the connection broke off after {_size(part):,} of {total:,} bytes")


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise StorageError(
            f"{folder}: {size / 1e9:.1f} GB are to be downloaded, but only {free / 1e9:.1f} GB are free; choose another --cache"
        )


def _verify(part: Path, md5: str, url: str) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file, bar(f"Checking {part.stem}", _size(part), "B") as progress:
        while block := file.read(_BLOCK):
            digest.update(block)
            progress.update(len(block))
    if digest.hexdigest() != md5:
        part.unlink()
        raise CorpusError(f"{url}: the download has MD5 {digest.hexdigest()}, not {md5}, and was deleted; run this again")
