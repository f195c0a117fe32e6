"""Pictures of the server's page for the documentation: a real server, a real browser, real speech.

    python scripts/screenshots.py MODEL SPEECH [-o docs/images]

MODEL is a folder that ``finewhisper serve`` takes, SPEECH a recording in a language that it knows; its first minute is used. Needs the
package playwright, Chromium, and the fonts Inter and WenQuanYi Micro Hei where the pictures are to look as they do everywhere.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import soundfile
from playwright.sync_api import Browser, Page, sync_playwright

from finewhisper import audio
from finewhisper.files import atomic_file

MINUTE_S = 60.0
DESKTOP: dict[str, Any] = {"viewport": {"width": 1180, "height": 760}, "locale": "en-GB"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 780}, "locale": "en-GB", "is_mobile": True, "has_touch": True}
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include ignore_missing="yes">/etc/fonts/fonts.conf</include>
<match><test name="family" compare="not_eq"><string>monospace</string></test>
<edit name="family" mode="prepend_first" binding="strong"><string>Inter</string><string>WenQuanYi Micro Hei</string></edit></match>
</fontconfig>"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clip = Path(scratch) / f"{given.speech.stem}.wav"
        soundfile.write(clip, audio.read(given.speech, 0.0, MINUTE_S), audio.SAMPLE_RATE, subtype="PCM_16")
        fonts = Path(scratch) / "fonts.conf"
        fonts.write_text(FONTS, encoding="utf-8")
        with _server(given.model, Path(scratch) / "log") as address, _browser(clip, fonts) as browser:
            _pictures(browser, address, clip, given.output)


@contextmanager
def _server(model: Path, log: Path) -> Iterator[str]:
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, "-m", "finewhisper", "serve", "-m", model, "--port", "0"], stdout=output, stderr=output)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text(encoding="utf-8"))):
            if process.poll() is not None:
                sys.exit(log.read_text(encoding="utf-8"))
            time.sleep(0.2)
        yield found[0]
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _browser(clip: Path, fonts: Path) -> Iterator[Browser]:
    """A browser whose microphone is the clip."""
    microphone = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={clip}%noloop",
    ]
    with sync_playwright() as driver:
        yield driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu", "--mute-audio", "--hide-scrollbars", *microphone],
            env=os.environ | {"FONTCONFIG_FILE": str(fonts)},
        )


def _pictures(browser: Browser, address: str, clip: Path, folder: Path) -> None:
    page = _opened(browser, address, DESKTOP)
    _picture(page, folder, "page-home")
    _transcribe(page, clip)
    _listen_to(page, 4)
    _picture(page, folder, "page-transcript")
    page.emulate_media(color_scheme="dark")
    page.click("#switch-language")
    page.mouse.move(0, 0)
    _picture(page, folder, "page-transcript-dark-zh")
    page.context.close()

    page = _opened(browser, address, DESKTOP)
    page.click("#record")
    page.wait_for_selector("#said li", timeout=2 * MINUTE_S * 1000)
    page.wait_for_selector("#unsure:not(:empty)", timeout=2 * MINUTE_S * 1000)
    _picture(page, folder, "page-live")
    page.click("#discard")
    page.context.close()

    page = _opened(browser, address, PHONE)
    _transcribe(page, clip)
    _listen_to(page, 3)
    _picture(page, folder, "page-phone")
    page.context.close()

    page = _opened(browser, address, PHONE)
    page.route("**/recognition_stream", lambda route: route.fulfill(status=429, headers={"Retry-After": "12"}, body="{}"))
    page.set_input_files("#files", clip)
    page.wait_for_selector("#problem .notice")
    _picture(page, folder, "page-busy")


def _opened(browser: Browser, address: str, options: dict[str, Any]) -> Page:
    page = browser.new_context(**options).new_page()
    page.goto(address)
    page.wait_for_selector("html[data-ready]")
    return page


def _transcribe(page: Page, clip: Path) -> None:
    page.set_input_files("#files", clip)
    page.wait_for_selector("#history li.done", state="attached", timeout=10 * MINUTE_S * 1000)


def _listen_to(page: Page, segment: int) -> None:
    page.click(f"#segments li:nth-child({segment}) p")
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)


def _picture(page: Page, folder: Path, name: str) -> None:
    page.wait_for_timeout(500)  # colours that change slowly
    with atomic_file(folder / f"{name}.png") as place:
        place.write_bytes(page.screenshot())


if __name__ == "__main__":
    main()
