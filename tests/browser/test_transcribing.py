"""Files in, text out: upload, playback, history, stopping; and a microphone that is transcribed while it hears."""

from __future__ import annotations

import io
import shutil
from typing import Any

import numpy as np
import pytest
import soundfile

from pages import STREAM, heard, kept_sound, reload, until

TEXT = "being comparatively modern"
HEARD_TWO = '{"result": "Two words.", "start": 0.0, "end": 0.9}\0{"result": "Some more.", "start": 1.0, "end": 1.8}\0'


def test_a_file_becomes_text(transcribed, clip):
    page = transcribed
    assert TEXT in heard(page)
    assert page.title() == "modern.wav – finewhisper"
    assert float(page.get_attribute("#waveform", "aria-valuemax")) == pytest.approx(soundfile.info(clip).duration, abs=0.1)
    assert kept_sound(page) == clip.read_bytes()


def test_the_segment_that_plays_is_marked_and_a_click_goes_there(visit, clip):
    page = visit(before=lambda page: page.route(STREAM, lambda route: route.fulfill(body=HEARD_TWO)))
    page.set_input_files("#files", clip)
    rows = page.locator("#segments li")
    rows.nth(1).locator("p").click()
    until(page, "Math.abs(document.querySelector('#media').currentTime - 1) < 0.01")
    assert [row.get_attribute("aria-current") for row in rows.all()] == [None, "true"]
    rows.nth(0).locator(".from").click()  # plays from there
    page.wait_for_selector("#segments li:first-child[aria-current=true]")
    page.wait_for_selector("#segments li:last-child[aria-current=true]")  # playback came to it
    until(page, "document.querySelector('#media').ended")


def test_several_files_one_after_the_other_and_history_after_a_reload(page, clip, tmp_path):
    other = shutil.copy(clip, tmp_path / "second.wav")
    page.set_input_files("#files", [clip, other])
    until(page, "document.querySelectorAll('#history li.done').length === 2")
    reload(page)
    assert page.locator("#history .name").all_text_contents() == ["second.wav", "modern.wav"]
    page.click("#history a:has-text('second.wav')")
    assert TEXT in heard(page)
    assert kept_sound(page) == clip.read_bytes()

    page.click("#delete")
    until(page, "document.querySelectorAll('#history li').length === 1")
    page.click("#toast button")  # undo
    until(page, "document.querySelectorAll('#history li').length === 2")
    page.focus("#history li:first-child button")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('#history li').length === 1")
    assert page.evaluate("document.activeElement.textContent").startswith("modern.wav")  # the one that is left
    page.click("#delete-all")
    page.click("#clear-dialog .danger")
    page.wait_for_selector("#no-history", state="visible")
    assert page.evaluate("document.activeElement.id") == "new"
    reload(page)
    page.wait_for_selector("#no-history", state="visible")


def test_a_drop_anywhere_takes_the_file(page, clip):
    script = """(bytes) => {
      const held = new DataTransfer();
      held.items.add(new File([new Uint8Array(bytes)], "dropped.wav", {type: "audio/wav"}));
      for (const name of ["dragenter", "dragover", "drop"])
        document.querySelector("#sidebar").dispatchEvent(new DragEvent(name, {dataTransfer: held, bubbles: true, cancelable: true}));
    }"""
    page.evaluate(script, list(clip.read_bytes()))
    page.wait_for_selector("#segments li")
    assert page.text_content("#recording-title") == "dropped.wav"
    assert page.locator("#dropping").is_hidden()


def test_the_options_are_asked_for_and_kept(visit, clip):
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.post_data_buffer.decode("latin-1"))
        route.fulfill(body=HEARD_TWO)

    page = visit(before=lambda page: page.route(STREAM, answer))
    page.select_option("#language", "zh")
    page.select_option("#task", "translate")
    assert page.locator("#simplified").is_disabled()  # a translation is English
    page.select_option("#task", "transcribe")
    page.check("#simplified")
    page.uncheck("#punctuation")
    reload(page)
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done")
    fields = {"language": "zh", "task": "transcribe", "to_simple": "1", "remove_pun": "1"}
    for name, value in fields.items():
        assert f'name="{name}"\r\n\r\n{value}\r\n' in asked[0]


def test_progress_says_how_long_it_takes_and_can_be_stopped(visit, clip):
    held: list[Any] = []
    page = visit(before=lambda page: page.route(STREAM, lambda route: held.append(route)))  # never answered
    page.set_input_files("#files", clip)
    page.wait_for_selector("#progress-bar", state="visible")
    assert "Transcribing" in page.text_content("#progress-text") or "Sending" in page.text_content("#progress-text")
    row = page.query_selector("#history li a")
    page.click("#stop")
    page.wait_for_selector("#history li.stopped")
    assert page.locator("#progress-bar").is_hidden()
    page.unroute(STREAM)
    page.click("#again")
    page.click("#again-form .primary")
    page.wait_for_selector("#history li.done")
    assert TEXT in heard(page)
    assert row.evaluate("(row) => row.isConnected")  # somebody may have been about to click it


def test_a_long_recording_is_left_with_the_server_while_the_page_is_closed(page, clip, tmp_path):
    """Ten minutes, of which the first seconds have speech."""
    samples, rate = soundfile.read(clip, dtype="int16")
    long = tmp_path / "meeting.wav"
    soundfile.write(long, np.pad(samples, (0, 601 * rate)), rate)
    with page.expect_response("**/v1/jobs") as answer:
        page.set_input_files("#files", long)
    assert answer.value.status == 202
    page.wait_for_selector("#history li.working")
    page.goto("about:blank")
    page.go_back()
    page.wait_for_selector("#history li.done")
    assert TEXT in heard(page)
    assert page.text_content("#all") == " / 10:02"


def test_a_text_stays_with_the_server_until_the_browser_has_stored_it(page, tmp_path):
    long = tmp_path / "meeting.wav"
    soundfile.write(long, np.zeros(601 * 1000, "int16"), 1000)
    segments = [{"start": 0.0, "end": 1.0, "text": "Kept."}]
    states: list[dict[str, Any]] = [{"state": "running", "progress": fraction} for fraction in (0.1, 0.4)]
    done = {"state": "done", "result": {"language": "en", "duration": 601.0, "segments": segments}}
    asked: list[str] = []

    def answer(route: Any) -> None:
        asked.append(route.request.method)
        route.fulfill(json={"id": "known"} if asked[-1] == "POST" else states.pop(0) if states else done)

    page.route("**/v1/jobs**", answer)
    page.evaluate("""() => {
      const { put } = IDBObjectStore.prototype;
      IDBObjectStore.prototype.put = function (value, ...key) {
        if (value.state === "done") throw new DOMException("", "QuotaExceededError");
        return put.call(this, value, ...key);
      };
    }""")
    page.set_input_files("#files", long)
    until(page, "/40 % · about \\d+ s left/.test(document.querySelector('#progress-text').textContent)")
    page.wait_for_selector("#history li.done")
    assert "no more room" in page.text_content("#notices .notice b")
    assert "DELETE" not in asked
    with page.expect_request(lambda request: request.method == "DELETE"):
        reload(page)  # now there is room
    assert heard(page) == "kept."


def test_what_was_deleted_in_progress_goes_on_when_it_comes_back(visit, clip):
    held: list[Any] = []
    page = visit(before=lambda page: page.route(STREAM, lambda route: held.append(route), times=1))  # never answered
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.working")
    page.click("#delete")
    page.wait_for_selector("#no-history")
    assert page.evaluate("document.activeElement.id") == "record"
    page.click("#toast button")  # undo
    page.wait_for_selector("#history li.done")
    assert page.evaluate("document.activeElement.id") == "recording-title"
    assert TEXT in heard(page)


def test_what_the_browser_cannot_play_is_read_by_the_server(page, tmp_path, clip):
    """Sound that Chromium has no decoder for: 24-bit big-endian AIFF."""
    waveform, rate = soundfile.read(clip)
    soundfile.write(tmp_path / "modern.aiff", waveform, rate, subtype="PCM_24")
    page.set_input_files("#files", tmp_path / "modern.aiff")
    page.wait_for_selector("#history li.done")
    assert TEXT in heard(page)
    until(page, "document.querySelector('#player-note').textContent.includes('cannot play')")
    assert page.locator("#play").is_disabled()


def test_the_microphone_is_captioned_while_it_hears_and_kept(page, clip):
    page.click("#record")
    page.wait_for_selector("#said li")
    assert "modern" in page.text_content("#said").lower()
    page.click("#stop-recording")
    page.wait_for_selector("#history li.done")
    assert "modern" in heard(page)
    sound, rate = soundfile.read(io.BytesIO(kept_sound(page)))
    assert rate == 16_000
    assert len(sound) / rate > soundfile.info(clip).duration
    assert abs(sound).max() > 0.05


def test_without_live_captions_the_recording_is_transcribed_at_its_end(visit):
    page = visit(before=lambda page: page.route_web_socket("**/v1/listen*", lambda socket: socket.close()))
    page.click("#record")
    until(page, "document.querySelector('#live-time').textContent >= '0:03'")
    assert "text follows" in page.text_content("#hint")
    page.keyboard.press("r")
    page.wait_for_selector("#history li.done")
    assert "modern" in heard(page)


def test_a_discarded_recording_leaves_nothing(page):
    page.click("#record")
    until(page, "document.querySelector('#live-time').textContent >= '0:01'")
    page.click("#discard")
    page.wait_for_selector("#home", state="visible")
    assert page.locator("#history li").count() == 0
