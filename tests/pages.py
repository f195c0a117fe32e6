"""Asking the web page of the server, in a browser driven by Playwright."""

from __future__ import annotations

import time
from typing import Any

#: What the page asks for a file's text; tests that need a certain answer give it themselves.
STREAM = "**/recognition_stream"
#: The machine may be busy with something else.
PATIENCE_S = 120.0


def until(page: Any, condition: str) -> None:
    """Wait for a JavaScript expression to be true. Playwright's own waiting is refused by the page's Content-Security-Policy."""
    end = time.monotonic() + PATIENCE_S
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"not within {PATIENCE_S:.0f} s: {condition}"
        page.wait_for_timeout(30)


def reload(page: Any) -> None:
    """Load the page again, as soon as the browser has stored what it shows; ends when the page has read that."""
    page.evaluate(_SETTLED)
    page.reload()
    page.wait_for_selector("html[data-ready]")


def heard(page: Any) -> str:
    """The transcript that is shown, in lower case."""
    return " ".join(page.locator("#segments p").all_text_contents()).lower()


def kept_sound(page: Any) -> bytes:
    """The sound of the recording that is shown, once it can be played, as the browser keeps it."""
    until(page, "document.querySelector('#media').readyState > 0")
    return bytes(page.evaluate(_STORED))


_STORED = """new Promise((resolve) => {
  indexedDB.open("finewhisper").onsuccess = ({ target: { result: database } }) => {
    database.transaction("sounds").objectStore("sounds").get(location.hash.slice(1)).onsuccess = async ({ target: { result: sound } }) => {
      database.close();
      resolve([...new Uint8Array(await sound.arrayBuffer())]);
    };
  };
})"""
#: A transaction over everything begins when all earlier ones have ended.
_SETTLED = """new Promise((resolve) => {
  indexedDB.open("finewhisper").onsuccess = ({ target: { result: database } }) => {
    const held = database.transaction([...database.objectStoreNames], "readwrite");
    held.oncomplete = () => (database.close(), resolve());
    held.objectStore(database.objectStoreNames[0]).count();
  };
})"""
