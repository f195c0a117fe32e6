"""Several tabs with the same recordings, and a page that is closed while it transcribes: nothing that was written is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pages import SEGMENTS, answer, reload, text, until, write

#: In place of the connection that brings segments: one that brings those of `window.pieces` as they are put there, and does not end.
UNENDING = """
window.pieces = [];
window.XMLHttpRequest = class {
  upload = {};
  status = 200;
  responseText = "";
  open() {}
  setRequestHeader() {}
  getResponseHeader() { return null; }
  abort() { this.onabort(); }
  send() {
    setInterval(() => {
      if (!window.pieces.length) return;
      this.responseText += window.pieces.splice(0).map((piece) => JSON.stringify(piece) + "\\0").join("");
      this.onprogress();
    }, 20);
  }
};
"""


def with_answer(page: Any) -> None:
    page.route("**/recognition_stream", lambda route: route.fulfill(body=answer(*(segment.text for segment in SEGMENTS))))


@pytest.fixture
def tabs(visit, clip) -> tuple[Any, Any]:
    """Two tabs that show the same transcript."""
    first = visit(before=with_answer)
    first.set_input_files("#files", clip)
    first.wait_for_selector("#history li.done")
    second = first.context.new_page()
    second.goto(first.url)
    second.wait_for_selector("#segments li")
    return first, second


def is_shown(page: Any, number: int, words: str) -> None:
    until(page, f"document.querySelector('#segments li:nth-child({number}) p')?.textContent === {words!r}")


def test_what_two_tabs_edit_is_kept_and_shown_in_both(tabs):
    first, second = tabs
    write(first, 1, "Of the first tab", "Enter")
    is_shown(second, 1, "Of the first tab")
    write(second, 2, "Of the second tab", "Enter")
    is_shown(first, 2, "Of the second tab")
    for page in tabs:
        reload(page)
        is_shown(page, 1, "Of the first tab")
        is_shown(page, 2, "Of the second tab")


def test_edits_of_tabs_that_do_not_hear_of_one_another_are_both_kept(visit, clip):
    deaf = "delete window.BroadcastChannel"
    first = visit(before=lambda page: (with_answer(page), page.context.add_init_script(deaf)))
    first.set_input_files("#files", clip)
    first.wait_for_selector("#history li.done")
    second = first.context.new_page()
    second.goto(first.url)
    second.wait_for_selector("#segments li")
    write(first, 1, "Of the first tab", "Enter")
    write(second, 2, "Of the second tab", "Enter")
    reload(second)
    is_shown(second, 1, "Of the first tab")
    is_shown(second, 2, "Of the second tab")
    write(first, 2, "Later", "Enter")  # of a text that is no longer what it shows
    first.wait_for_selector("[data-code=changed] >> text=Of the second tab")


def test_where_both_edit_the_same_text_the_later_one_is_told_of_the_other(tabs):
    first, second = tabs
    text(second, 1).dblclick()
    write(first, 1, "Of the first tab", "Enter")
    second.keyboard.press("Control+A")
    second.keyboard.type("Of the second tab")
    second.keyboard.press("Enter")
    second.wait_for_selector("[data-code=changed] >> text=Of the first tab")
    is_shown(first, 1, "Of the second tab")
    second.click("[data-code=changed] >> text=Take the other")
    for page in tabs:
        is_shown(page, 1, "Of the first tab")


def test_what_one_tab_deletes_is_gone_in_the_other(tabs):
    first, second = tabs
    first.click("#delete")
    second.wait_for_selector("#home:not([hidden])")
    assert second.locator("#history li").count() == 0
    reload(second)
    assert second.locator("#history li").count() == 0


def unending(visit: Any, clip: Path) -> Any:
    page = visit(before=lambda page: page.add_init_script(UNENDING))
    page.set_input_files("#files", clip)
    page.evaluate("window.pieces.push({result: 'The first', start: 0, end: 1, language: 'en'})")
    page.wait_for_selector("#segments li")
    page.wait_for_timeout(1100)
    page.evaluate("window.pieces.push({result: 'and the second', start: 1, end: 2, language: 'en'})")
    page.wait_for_selector("#segments li:nth-child(2)")
    return page


def test_a_page_that_is_loaded_again_while_it_transcribes_has_what_was_heard_and_offers_to_do_it_again(visit, clip):
    page = unending(visit, clip)
    reload(page)
    assert page.locator("#segments p").all_text_contents() == ["The first", "and the second"]
    assert "cut off" in page.text_content("#problem")
    page.click("#problem >> text=Transcribe again")
    until(page, "document.querySelector('#progress-bar').offsetParent !== null")
    page.evaluate("window.pieces.push({result: 'Anew', start: 0, end: 1, language: 'en'})")
    is_shown(page, 1, "Anew")


def test_another_tab_shows_what_is_transcribed_and_can_stop_it(visit, clip):
    page = unending(visit, clip)
    second = page.context.new_page()
    second.goto(page.url)
    is_shown(second, 2, "and the second")
    assert second.locator("#problem .notice").count() == 0  # it is not cut off
    second.click("#stop")
    page.wait_for_selector("#progress.idle")
    second.wait_for_selector("#progress.idle")
    page.close()


def test_what_a_closed_tab_left_is_told_in_the_other(visit, clip):
    page = unending(visit, clip)
    second = page.context.new_page()
    second.goto(page.url)
    is_shown(second, 2, "and the second")
    page.close()
    second.wait_for_selector("#problem [data-code=unfinished]")


def test_an_earlier_text_comes_back_where_transcribing_again_was_cut_off(visit, clip):
    page = visit(before=with_answer)
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done")
    write(page, 1, "Good morning.", "Enter")
    page.evaluate(UNENDING)
    page.click("#again")
    page.click("#again-dialog button[value=yes]")
    page.evaluate("window.pieces.push({result: 'Worse', start: 0, end: 1, language: 'en'})")
    is_shown(page, 1, "Worse")
    reload(page)
    is_shown(page, 1, "Good morning.")
    is_shown(page, 2, SEGMENTS[1].text)
