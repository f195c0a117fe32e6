"""A headless Chromium driven over its debugging pipe: pages opened, script run, and everything it logged or asked the network for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TIMEOUT_S = 60.0


def require_chromium() -> str:
    """The path of a Chromium; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is installed")
    return found


@dataclass
class Page:
    """One tab. ``errors`` are script errors and console messages of the error level; ``requests`` the addresses it asked for."""

    _write: int
    _read: Iterator[dict[str, Any]]
    _session: str = ""
    _sent: int = 0
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command of the Chrome DevTools Protocol and its result."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters} | ({"sessionId": self._session} if self._session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        for answer in self._read:
            self._note(answer)
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError("the browser ended")

    def open(self, address: str) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + TIMEOUT_S
        while not self.run(condition):
            assert time.monotonic() < end, f"not within {TIMEOUT_S:.0f} s: {condition}"
            time.sleep(0.05)

    def _note(self, event: dict[str, Any]) -> None:
        found = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(found["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if found["type"] in {"error", "assert"}:
                self.errors.append(str(found["args"]))
            case "Log.entryAdded" if found["entry"]["level"] == "error":
                self.errors.append(str(found["entry"]))
            case "Network.requestWillBeSent":
                self.requests.append(found["request"]["url"][:200])


@contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """Start a browser that ends with the block; ``profile`` is an empty folder for its files."""
    from_browser, browser_writes = os.pipe()
    browser_reads, to_browser = os.pipe()

    def connect() -> None:  # the browser reads commands from 3 and writes answers to 4
        reads, writes = os.dup(browser_reads), os.dup(browser_writes)
        os.dup2(reads, 3)
        os.dup2(writes, 4)

    command = [require_chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--mute-audio", "--remote-debugging-pipe"]
    browser = subprocess.Popen(
        [*command, f"--user-data-dir={profile}", "--no-first-run", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=connect,
    )
    os.close(browser_reads)
    os.close(browser_writes)
    try:
        yield Page(to_browser, _messages(from_browser))
    finally:
        browser.terminate()
        browser.wait(TIMEOUT_S)
        os.close(to_browser)
        os.close(from_browser)


def _messages(descriptor: int) -> Iterator[dict[str, Any]]:
    """Messages that end with a zero byte."""
    held = b""
    while block := os.read(descriptor, 1 << 16):
        *whole, held = (held + block).split(b"\0")
        yield from map(json.loads, whole)
