"""The page: complete, self-contained, and safe whatever was said."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evaluations import Make
from finewhisper import audio
from finewhisper.evaluation import report
from finewhisper.evaluation.baseline import Baseline
from finewhisper.evaluation.curves import Curves
from finewhisper.evaluation.figures import confusions
from finewhisper.evaluation.scores import Row

SAID = [("bg", "едно две", "едно три"), ("bg", "да", "да"), ("bg", "", "не"), ("bg", "котка", "котка куче птица")]
#: Elements without an end tag.
VOID = {"meta", "link", "input", "br", "line", "rect", "circle", "polyline"}


class Outline(HTMLParser):
    """Checks that elements nest, and collects what may ask for something outside the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value or "" for name, value in attributes if name in {"src", "href", "action", "data", "poster", "srcset"}]
        self.ids += [value or "" for name, value in attributes if name == "id"]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in {"src", "href", "action"}]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def data(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def baseline(rows: tuple[Row, ...]) -> Baseline:
    found = {row.line: row for row in rows}
    return Baseline(Path("runs/base"), "Whisper base", "m", "x", "1" * 64, "basic+spaces", {"wer": "WER|old", "cer": "CER|old"}, "1", found)


def test_page_is_well_formed_and_self_contained(evaluated: Make) -> None:
    evaluation, utterances = evaluated(SAID, title="Before & <after>")
    page = report.render(evaluation, utterances, Curves(((1, 2.0), (2, 1.0)), ((2, 80.0),), ((2, 30.0),)))
    parsed = outline(page)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert set(parsed.links) <= {"data:,"}
    assert "default-src 'none'" in page
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "<title>Before &amp; &lt;after&gt;</title>" in page
    assert evaluation.signature("WER") in page
    assert "Training loss" in page


def test_rows_are_worst_first_with_their_edits(evaluated: Make) -> None:
    evaluation, utterances = evaluated(SAID)
    content = data(report.render(evaluation, utterances, Curves()))
    assert content["baseline"] is False
    rows = content["rows"]
    assert [row["line"] for row in rows] == [3, 4, 1, 2], "heard in silence, 200 %, 50 %, right"
    assert rows[2]["edits"] == [[0, "едно", "едно"], [1, "две", "три"]]
    assert rows[1]["edits"] == [[0, "котка", "котка"], [3, "", "куче птица"]]
    assert (rows[0]["units"], rows[0]["errors"], rows[0]["said"], rows[0]["heard"]) == (0, 1, "", "не")


def test_players_hold_the_audio_of_the_worst(evaluated: Make) -> None:
    evaluation, utterances = evaluated(SAID, players=2)
    page = report.render(evaluation, utterances, Curves())
    rows = data(page)["rows"]
    assert ["sound" in row for row in rows] == [True, True, False, False]
    heard = audio.read(base64.b64decode(rows[0]["sound"]))
    assert len(heard) / audio.SAMPLE_RATE == pytest.approx(audio.duration(utterances[2].path), abs=0.15)
    assert "it holds the audio of 2 utterances, the worst; 2 have none" in " ".join(page.split())


def test_no_players_and_long_clips(evaluated: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation, utterances = evaluated(SAID, players=0)
    assert not any("sound" in row for row in data(report.render(evaluation, utterances, Curves()))["rows"])
    monkeypatch.setattr(report, "LONGEST_PLAYED_S", 1.0)
    evaluation, utterances = evaluated(SAID)
    assert [row["line"] for row in data(report.render(evaluation, utterances, Curves()))["rows"] if "sound" in row] == [1]


def test_no_more_rows_than_a_page_can_hold(evaluated: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "LISTED", 2)
    evaluation, utterances = evaluated(SAID)
    page = report.render(evaluation, utterances, Curves())
    assert [row["line"] for row in data(page)["rows"]] == [3, 4]
    assert "The 2 worst utterances are listed; utterances.csv holds all 4." in page


@pytest.mark.parametrize("text", ["</script><script>alert(1)</script>", "<!-- <script>", "{{ evaluation }}", "&lt;b&gt;", "\u2028", '"'])
def test_text_stays_text(evaluated: Make, text: str) -> None:
    evaluation, utterances = evaluated([("bg", text, text + " x"), ("bg", text, "")], normalize="none", title=text)
    page = report.render(evaluation, utterances, Curves())
    outline(page)
    assert data(page)["rows"][0]["said"] == text
    assert page.count("<script") == 2


def test_before_and_after(evaluated: Make) -> None:
    earlier, _ = evaluated([("bg", "едно две", "а б в г"), ("bg", "да", "да"), ("bg", "", ""), ("bg", "котка", "куче куче куче птица")])
    evaluation, utterances = evaluated(SAID, baseline=baseline(earlier.rows))
    page = report.render(evaluation, utterances, Curves())
    outline(page)
    rows = {row["line"]: row for row in data(page)["rows"]}
    assert (rows[1]["before"]["errors"], rows[1]["errors"]) == (4, 1)
    assert rows[1]["before"]["heard"] == "а б в г"
    text = " ".join(page.split())
    assert "2 improved · 1 worsened · 1 as before" in text
    assert "baseline: Whisper base" in text
    assert "WER|old" in text
    assert '<option value="improved">most improved first</option>' in text
    assert "−50.0 % relative" in text, "from 200 % to 100 %"


def test_skipped_clips_are_listed(evaluated: Make) -> None:
    evaluation, utterances = evaluated(SAID, skipped=["m.jsonl:7: <a>.wav: is empty (0 bytes)"])
    page = report.render(evaluation, utterances, Curves())
    assert "m.jsonl:7: &lt;a&gt;.wav: is empty (0 bytes)" in page
    assert "1 clip could not be decoded" in page


def test_characters_of_chinese(evaluated: Make) -> None:
    evaluation, utterances = evaluated([("zh", "设定29度", "设定三十度"), ("en", "one", "one")])
    page = report.render(evaluation, utterances, Curves())
    row = data(page)["rows"][0]
    assert row["unit"] == "character"
    assert "".join(edit[1] for edit in row["edits"]) == "设定二十九度"
    assert "leaves out the 1 utterances of languages written without spaces" in page
    assert '<option value="zh">Chinese</option>' in page


def test_confusions(evaluated: Make) -> None:
    evaluation, _ = evaluated([("bg", "а б", "а в")] * 3 + [("bg", "а", "а не")] * 2 + [("bg", "г", "")])
    assert [(one.said, one.heard, one.times) for one in confusions(evaluation.rows, "auto")] == [("б", "в", 3), ("", "не", 2)]


def test_speakers(evaluated: Make) -> None:
    evaluation, utterances = evaluated(SAID[:2], extra=[{"speaker": "<Ann>"}, {"speaker": "Bo"}])
    page = report.render(evaluation, utterances, Curves())
    outline(page)
    assert "&lt;Ann&gt; <small>(1)</small>" in page
    assert "<details>" not in page
    many, utterances = evaluated(SAID[:1] * 21, extra=[{"speaker": str(index)} for index in range(21)], players=0)
    page = report.render(many, utterances, Curves())
    outline(page)
    assert "21 speakers</h3></summary>" in page
