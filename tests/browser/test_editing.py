"""Corrections in place, and what is copied and downloaded of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from finewhisper.transcript import Segment, Transcript
from finewhisper.transcript.writers import WRITERS
from pages import SEGMENTS, STREAM, answer, reload, text, write


@pytest.fixture
def page(visit, clip):
    """Two known segments."""
    body = answer(*(segment.text for segment in SEGMENTS))
    page = visit(
        before=lambda page: page.route(STREAM, lambda route: route.fulfill(body=body)), permissions=["clipboard-read", "clipboard-write"]
    )
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done")
    return page


def downloaded(page: Any, kind: str) -> str:
    page.click("#download summary")
    with page.expect_download() as download:
        page.click(f"[data-format={kind}]")
    assert download.value.suggested_filename == f"modern.{kind}"
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_an_edit_is_kept_and_can_be_taken_back(page):
    write(page, 1, "Good morning.", "Enter")
    assert text(page, 1).text_content() == "Good morning."
    write(page, 2, "Something else", "Escape")
    assert text(page, 2).text_content() == SEGMENTS[1].text
    reload(page)
    page.wait_for_selector("#segments li")
    assert text(page, 1).text_content() == "Good morning."
    page.hover("#segments li")
    page.click("#segments li:first-child [aria-label^=Restore]")
    assert text(page, 1).text_content() == SEGMENTS[0].text
    assert page.locator("[aria-label^=Restore]").count() == 0


def test_an_edit_stays_where_transcribing_again_brings_nothing(page):
    write(page, 1, "Good morning.", "Enter")
    page.unroute(STREAM)
    page.route(STREAM, lambda route: route.fulfill(status=500, body="{}"))
    page.click("#again")
    page.click("#again-form .primary")
    page.wait_for_selector("#problem .notice")
    assert text(page, 1).text_content() == "Good morning."
    reload(page)
    assert text(page, 1).text_content() == "Good morning."


def test_markup_that_is_pasted_is_text(page):
    page.evaluate("navigator.clipboard.write([new ClipboardItem({'text/html': new Blob(['<b id=bold>bold</b>'], {type: 'text/html'}), "
                  "'text/plain': new Blob(['bold'], {type: 'text/plain'})})])")  # fmt: skip
    text(page, 1).dblclick()
    page.keyboard.press("Control+A")
    page.keyboard.press("Control+V")
    page.keyboard.press("Enter")
    assert text(page, 1).inner_html() == "bold"


@pytest.mark.parametrize("kind", ["txt", "srt", "vtt", "json"])
def test_a_download_is_what_the_command_writes_of_the_edited_text(page, clip, kind):
    write(page, 1, "Good <b>morning</b> &amp; --> 早上好", "Enter")
    edited = (Segment("Good <b>morning</b> &amp; --> 早上好", 0.0, 0.9), SEGMENTS[1])
    found = downloaded(page, kind)
    duration_s = json.loads(found)["duration"] if kind == "json" else 0.0
    expected = WRITERS[kind](Transcript(edited, "", duration_s))
    assert (json.loads(found) == json.loads(expected)) if kind == "json" else (found == expected)


def test_the_text_is_copied(page):
    write(page, 1, "Good morning.", "Enter")
    page.click("#copy")
    page.wait_for_selector("#toast", state="visible")
    assert page.evaluate("navigator.clipboard.readText()") == f"Good morning.\n{SEGMENTS[1].text}\n"


def test_a_hostile_transcript_is_only_text(visit, tmp_path):
    """In every place where something of the server or of a file appears."""
    hostile = "<img src=x onerror=\"document.title='broken into'\"><script>document.title='broken into'</script>"
    body = answer(hostile)
    page = visit(before=lambda page: page.route(STREAM, lambda route: route.fulfill(body=body)))
    path = tmp_path / "<img src=x onerror=alert(1)>.wav"
    path.write_bytes(b"no sound")
    page.set_input_files("#files", path)
    page.wait_for_selector("#history li.done")
    assert text(page, 1).text_content() == hostile
    assert page.text_content("#recording-title") == path.name

    message = json.dumps({"code": 400, "msg": hostile})
    page.unroute(STREAM)
    page.route(STREAM, lambda route: route.fulfill(status=400, body=message))
    page.click("#again")
    page.click("#again-form .primary")
    page.wait_for_selector("#problem .notice")
    assert hostile in page.text_content("#problem .notice")
    assert page.locator("main img, nav img, main script").count() == 0
    assert "broken into" not in page.title()
