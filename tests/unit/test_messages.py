"""The table of two languages, and which of them is chosen."""

from __future__ import annotations

import io
import re
import string
import sys
from pathlib import Path

import pytest

from finewhisper import messages
from finewhisper.messages import local, say


def fields(text: str) -> list[tuple[str, str | None]]:
    return sorted((name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name is not None)


def test_both_languages_say_the_same_and_nothing_is_left_over():
    source = "".join(
        path.read_text(encoding="utf-8") for path in Path(messages.__file__).parent.rglob("*.py") if path.name != "messages.py"
    )
    source = re.sub(r'"\s*\n\s*"', "", source)  # literals side by side are one
    for english, chinese in messages._CHINESE.items():
        assert fields(english) == fields(chinese)
        assert f'"{english.strip()}"' in source or f'"{english}"' in source, f"nobody says {english!r}"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "转写"),
        ({"LANG": "zh_TW"}, "转写"),
        ({"LANG": "en_GB.UTF-8", "LC_MESSAGES": "zh_CN"}, "转写"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "de_DE"}, "transcribe"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "transcribe"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": ""}, "转写"),
        ({}, "transcribe"),
    ],
)
def test_the_locale_chooses(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert say("transcribe") == local("transcribe") == expected
    assert local("talk.mp3") == "talk.mp3"


def test_a_terminal_that_cannot_show_it_is_told_in_english(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LC_ALL", "zh_CN")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert say("{count} recordings", count=2) == "2 recordings"


def test_what_the_table_lacks_is_found_out_in_any_language():
    with pytest.raises(KeyError):
        say("no such line")
