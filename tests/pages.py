"""Asking the web page of the server, in a browser driven by Playwright."""

from __future__ import annotations

import json
import time
from typing import Any

from finewhisper.transcript import Segment

#: What the page asks for a file's text; tests that need a certain answer give it themselves.
STREAM = "**/recognition_stream"
#: The machine may be busy with something else.
PATIENCE_S = 120.0


#: What tests that need a certain answer have the server say.
SEGMENTS = (Segment("Good mourning.", 0.0, 0.9), Segment("It costs < 5 & > 3 --> maybe", 1.0, 1.8))


def answer(*texts: str) -> str:
    """Texts as the server streams them, with the times of :data:`SEGMENTS`."""
    times = [(segment.start_s, segment.end_s) for segment in SEGMENTS]
    return "".join(
        json.dumps({"result": text, "start": start, "end": end}) + "\0" for text, (start, end) in zip(texts, times, strict=False)
    )


def text(page: Any, number: int) -> Any:
    """The text of a segment, counted from 1."""
    return page.locator(f"#segments li:nth-child({number}) p")


def write(page: Any, number: int, words: str, end: str) -> None:
    """Edit a segment's text, and end with a key."""
    text(page, number).dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.type(words)
    page.keyboard.press(end)


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
