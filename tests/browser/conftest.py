"""The page as people use it: a real server process with real weights, and a real Chromium whose microphone is a recording."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

from browser import require_chromium
from finewhisper import audio
from pages import PATIENCE_S

playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests drive Chromium with the package playwright")

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio", "--autoplay-policy=no-user-gesture-required")
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")


@pytest.fixture(scope="session")
def clip(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of English that say "in being comparatively modern", as WAV."""
    waveform = audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus")
    path = tmp_path_factory.mktemp("clip") / "modern.wav"
    soundfile.write(path, waveform, 16_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="session")
def server(tiny_en_ct2_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of ``finewhisper serve`` in a process of its own."""
    for library in ("fastapi", "uvicorn", "websockets", "ctranslate2"):
        pytest.importorskip(library, reason="the server needs it")
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log.txt"
    command = [
        sys.executable,
        "-m",
        "finewhisper",
        "serve",
        "-m",
        f"tiny.en={tiny_en_ct2_model}",
        "--port",
        "0",
        "--threads",
        "1",
        "--jobs.folder",
        str(folder / "jobs"),
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text(encoding="utf-8"))
        if found:
            return found[0]
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.1)
    raise AssertionError(f"no address within {PATIENCE_S} s: {log.read_text(encoding='utf-8')}")


@pytest.fixture(scope="module")
def chromium(clip: Path) -> Iterator[Any]:
    """One browser for a module's tests; whoever asks for the microphone hears the clip once.

    Not for all modules: playwright runs an event loop in this thread for as long, and other tests want to run theirs.
    """
    microphone = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={clip}%noloop",
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=require_chromium(), args=[*FLAGS, *QUIET, *microphone])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any, server: str) -> Iterator[Callable[..., Any]]:
    """Open the page as a new visitor; afterwards nothing may have failed in it or left the server's origin."""
    contexts, failures, requests = [], [], []

    def opened(path: str = "/", before: Callable[[Any], None] = lambda page: None, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, "locale": "en-GB"} | options)
        context.set_default_timeout(PATIENCE_S * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda message: failures.append(message.text) if _is_violation(message) else None)
        page.on("request", lambda request: requests.append(request.url))
        before(page)
        page.goto(f"{server}{path}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not failures
    assert {url for url in requests if not url.startswith((f"{server}/", f"blob:{server}/"))} == set()


def _is_violation(message: Any) -> bool:
    return message.type == "error" and ("Content Security Policy" in message.text or "Trusted" in message.text)


@pytest.fixture
def page(visit: Callable[..., Any]) -> Any:
    """The page as a new visitor sees it first."""
    return visit()


@pytest.fixture
def transcribed(page: Any, clip: Path) -> Any:
    """The page with the clip's transcript."""
    page.set_input_files("#files", clip)
    page.wait_for_selector("#segments li")
    page.wait_for_selector("#progress-bar", state="hidden")
    return page
