"""For everybody: names of controls, contrast, keyboard, phones, dark, Chinese."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pages import reload, until

CHECKS = (Path(__file__).parent / "checks.js").read_text(encoding="utf-8")
VIEWS = ["home", "recording", "live", "problem", "settings", "shortcuts"]


def shown(page: Any, view: str, clip: Path) -> None:
    """Bring a part of the page up."""
    if view == "problem":
        page.route("**/recognition_stream", lambda route: route.fulfill(status=500, body="{}"))
    if view in {"recording", "problem"}:
        page.set_input_files("#files", clip)
        page.wait_for_selector("#history li.done" if view == "recording" else "#problem .notice", state="attached")
    if view == "live":
        page.click("#record")
        page.wait_for_selector("#said li")
    if view == "shortcuts":
        page.keyboard.press("?")
    if view == "settings":
        page.click("#open-settings")


@pytest.mark.parametrize("view", VIEWS)
def test_every_control_has_a_name_and_every_text_a_contrast(page, clip, view):
    shown(page, view, clip)
    assert page.evaluate(CHECKS) == []
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light dark"
    page.wait_for_timeout(300)  # colours that change slowly
    assert page.evaluate(CHECKS) == []


@pytest.mark.parametrize("view", ["home", "recording", "live", "problem", "settings"])
def test_a_phone_needs_no_sideways_scrolling(visit, clip, view):
    page = visit(viewport={"width": 320, "height": 640}, has_touch=True, is_mobile=True)
    shown(page, view, clip)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    assert page.evaluate(CHECKS) == []
    buttons = "[...document.querySelectorAll('main button, header button')].filter((button) => button.checkVisibility())"
    assert page.evaluate(f"Math.min(...{buttons}.map((button) => button.getBoundingClientRect().height))") >= 24


def test_on_a_phone_the_recordings_come_from_the_side(visit, clip):
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done", state="attached")
    assert not page.locator("#history a").is_visible()
    page.click("#open-history")
    page.click("#history a")
    page.wait_for_selector("#sidebar:not(.open)", state="attached")
    assert page.locator("#segments li").count() > 0


def test_chinese_is_spoken_where_the_browser_does(visit, clip):
    page = visit(locale="zh-CN")
    assert page.get_attribute("html", "lang") == "zh-Hans"
    assert page.text_content("#record") == "录音"
    assert page.locator("#language option", has_text="保加利亚语").count() == 1
    shown(page, "recording", clip)
    assert page.text_content("#copy") == "复制文字"
    assert page.evaluate(CHECKS) == []
    page.click("#switch-language")
    assert page.get_attribute("html", "lang") == "en"
    assert page.text_content("#copy") == "Copy text"
    reload(page)
    until(page, 'document.querySelector("#copy").textContent === "Copy text"')


def test_light_and_dark_follow_the_switch(page):
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    page.click("#switch-theme")
    dark = page.evaluate(background)
    assert light != dark
    reload(page)
    assert page.evaluate(background) == dark


def test_everything_is_reached_by_keyboard(page, clip):
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done")
    page.keyboard.press("Space")
    page.wait_for_selector("#play[aria-label=Pause]")
    page.keyboard.press("Space")
    page.focus("#waveform")
    page.keyboard.press("End")
    assert float(page.get_attribute("#waveform", "aria-valuenow")) > 1.5
    page.keyboard.press("Home")
    assert page.get_attribute("#waveform", "aria-valuenow") == "0.0"
    page.keyboard.press("e")
    assert page.evaluate("document.activeElement.isContentEditable")
    page.keyboard.press("Control+A")
    page.keyboard.type("Typed: n, r and ? are letters here")
    page.keyboard.press("Enter")
    assert page.text_content("#segments p") == "Typed: n, r and ? are letters here"
    page.keyboard.press("?")
    assert page.locator("#shortcuts-dialog").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    assert page.locator("#home").is_visible()


def test_keys_are_the_browsers_where_there_is_nothing_to_play(page, clip):
    taken = "(key) => !document.body.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}))"
    keys = [" ", "ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"]
    assert [key for key in keys if page.evaluate(taken, key)] == []
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done")
    until(page, "document.querySelector('#media').readyState > 0")
    assert [key for key in keys if page.evaluate(taken, key)] == keys


def test_tab_goes_through_the_home_page_in_reading_order(page):
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    order = [
        "skip",
        "home-link",
        "switch-language",
        "switch-theme",
        "open-shortcuts",
        "open-settings",
        "new",
        "record",
        "choose",
        "language",
    ]
    assert [name for name in reached if name in order] == order
