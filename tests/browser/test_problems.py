"""What goes wrong is said in plain words, with what to do, and most of it passes by itself or at one press."""

from __future__ import annotations

from typing import Any

import pytest

from pages import STREAM, heard, until


def refused(visit: Any, clip: Any, **answer: Any) -> Any:
    """A page whose first request is answered so; later ones reach the server."""
    page = visit(before=lambda page: page.route(STREAM, lambda route: route.fulfill(**answer), times=1))
    page.set_input_files("#files", clip)
    page.wait_for_selector("#problem .notice")
    return page


@pytest.mark.parametrize(
    ("status", "title", "next_step"),
    [
        (413, "too large", "Send a part"),
        (400, "could not transcribe this", "change the options"),
        (404, "does not have that model", "Choose another"),
        (500, "went wrong on the server", "Try again"),
    ],
)
def test_a_refusal_says_what_to_do(visit, clip, status, title, next_step):
    page = refused(visit, clip, status=status, body='{"code": 1, "msg": "the reason of the server"}')
    assert title in page.text_content("#problem .notice b")
    assert next_step in page.text_content("#problem .advice")
    assert "the reason of the server" in page.text_content("#problem details")
    assert page.locator("#problem button:has-text('Try again')").is_visible()


def test_a_refusal_may_come_after_the_first_words(visit, clip):
    body = '{"result": "Two words.", "start": 0.0, "end": 0.9}\0{"code": 413, "msg": "longer than the server takes"}\0'
    page = refused(visit, clip, body=body)
    assert "too large" in page.text_content("#problem .notice b")
    assert "longer than the server takes" in page.text_content("#problem details")
    assert heard(page) == "two words."


def test_a_busy_server_is_asked_again_after_the_time_it_names(visit, clip):
    page = refused(visit, clip, status=429, headers={"Retry-After": "2"}, body="{}")
    assert "busy" in page.text_content("#problem .notice b")
    until(page, "document.querySelector('#problem .advice')?.textContent.includes('in 1 s')")
    page.wait_for_selector("#history li.done")


def test_one_need_not_wait_for_a_busy_server(visit, clip):
    page = refused(visit, clip, status=429, headers={"Retry-After": "3600"}, body="{}")
    page.click("#problem button:has-text('Try now')")
    page.wait_for_selector("#history li.done")


def test_a_key_is_sent_and_kept_only_if_one_says_so(visit, clip):
    keys: list[str | None] = []

    def answer(route: Any) -> None:
        keys.append(route.request.headers.get("authorization"))
        route.fulfill(body='{"result": "In.", "start": 0, "end": 1}\0') if keys[-1] else route.fulfill(status=401, body="{}")

    page = visit(before=lambda page: page.route(STREAM, answer))
    page.set_input_files("#files", clip)
    page.click("#problem button:has-text('Enter the key')")
    page.keyboard.type("secret-key")
    page.keyboard.press("Enter")
    page.click("#problem button:has-text('Try again')")
    page.wait_for_selector("#history li.done")
    assert keys == [None, "Bearer secret-key"]
    assert "secret-key" not in page.evaluate("JSON.stringify(localStorage)")
    page.click("#open-settings")
    page.check("#keep-key")
    page.keyboard.press("Escape")
    assert "secret-key" in page.evaluate("JSON.stringify(localStorage)")
    page.click("#open-settings")
    page.uncheck("#keep-key")
    assert "secret-key" not in page.evaluate("JSON.stringify(localStorage)")


def test_a_lost_connection_loses_nothing(page, clip):
    page.context.set_offline(True)
    page.set_input_files("#files", clip)
    page.wait_for_selector("#problem .notice")
    assert "cannot be reached" in page.text_content("#problem .notice b")
    page.context.set_offline(False)  # it goes on by itself
    page.wait_for_selector("#history li.done")


def test_a_file_without_sound_is_refused_by_the_real_server(page, tmp_path):
    path = tmp_path / "notes.mp3"
    path.write_text("these are no sounds", encoding="utf-8")
    page.set_input_files("#files", path)
    page.wait_for_selector("#problem .notice")
    assert "could not transcribe this" in page.text_content("#problem .notice b")
    assert page.locator("#problem details[open] span").text_content()


@pytest.mark.parametrize(("error", "words"), [("NotAllowedError", "not allowed"), ("NotFoundError", "No microphone was found")])
def test_without_a_microphone_one_is_told_why(visit, error, words):
    script = f"navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', '{error}'))"
    page = visit(before=lambda page: page.add_init_script(script))
    page.click("#record")
    page.wait_for_selector("#notices .notice")
    assert words in page.text_content("#notices .notice b")
    assert page.locator("#home").is_visible()
    page.click("#switch-language")
    assert "麦克风" in page.text_content("#notices .notice b")
    page.click("#notices [aria-label=关闭提示]")
    assert page.locator("#notices .notice").count() == 0


def test_the_microphone_is_let_go_where_recording_cannot_begin(visit):
    script = """const { getUserMedia } = MediaDevices.prototype;
      MediaDevices.prototype.getUserMedia = async function (...asked) {
        window.microphone = await getUserMedia.apply(this, asked);
        return window.microphone;
      };
      AudioWorklet.prototype.addModule = () => Promise.reject(new DOMException("", "AbortError"));"""
    page = visit(before=lambda page: page.add_init_script(script))
    page.click("#record")
    page.wait_for_selector("#notices .notice")
    assert "cannot be reached" in page.text_content("#notices .notice b")
    assert page.evaluate("window.microphone.getTracks().map(({ readyState }) => readyState)") == ["ended"]


def test_where_the_browser_keeps_nothing_the_page_works_all_the_same(visit, clip):
    page = visit(before=lambda page: page.add_init_script("indexedDB.open = () => { throw new DOMException('', 'SecurityError') }"))
    page.wait_for_selector("#notices .notice")
    assert "keeps no history" in page.text_content("#notices .notice b")
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done")
    assert page.locator("#segments li").count() > 0
