"""What is told of manifests whose lines can all be read."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from finewhisper import findings, manifest
from finewhisper.findings import Finding, Named
from finewhisper.manifest import TimedSentence, Utterance

FIELD = Path(__file__).parents[1] / "field" / "manifests"


def texts(found: list[Finding]) -> list[str]:
    return [str(finding) for finding in found]


def field(name: str) -> Named:
    return Named(name, manifest.read(FIELD / name))


def test_blank_sentences_are_counted_as_no_speech() -> None:
    assert texts(findings.of_labels(field("empties.jsonl"))) == [
        "empties.jsonl:1: is empty; 2 of 3 utterances have no text and count as no speech"
    ]


def test_phrases_that_say_another_text_are_told_with_both() -> None:
    found = texts(findings.of_labels(field("ts.jsonl")))
    assert found == ["ts.jsonl:1: 'sentence' says 'the whole text', but 'sentences' say 'other text'"]
    same = Utterance(Path("a.wav"), "The whole, text", sentences=(TimedSentence(0, 1, "The whole,"), TimedSentence(1, 2, "text.")), line=1)
    assert not findings.of_labels(Named("m", [same]))


def test_special_tokens_are_refused_and_tags_and_tabs_told() -> None:
    usable, problems = manifest.scan(FIELD / "tok.jsonl")
    assert [problem.split(":")[1] for problem in problems] == ["1", "2"]
    found = texts(findings.of_labels(Named("tok", usable)))
    assert [text.split(": ")[0] for text in found] == ["tok:3", "tok:4"]
    assert "holds '{noise}'" in found[0]
    assert "holds a tab or a line break" in found[1]


@pytest.mark.parametrize("text", ["nan", "None", " NULL ", "<NA>", "NaN"])
def test_what_pandas_writes_for_nothing_is_told(text: str) -> None:
    found = findings.of_labels(Named("m", [Utterance(Path("a.wav"), text, line=3)]))
    assert any(str(finding).startswith("m:3: the text is") and "pandas" in finding.text for finding in found)


def test_ordinary_sentences_are_not_told() -> None:
    sentences = [
        "None of them came.",
        "Null and void, she said.",
        "Nan, come here!",
        "He was < 5 and > 3.",
        "C'est (presque) fini…",
        "你好，世界。",
    ]
    assert not findings.of_labels(Named("m", [Utterance(Path(f"{text}.wav"), text) for text in sentences]))


def test_text_without_letters_is_told() -> None:
    assert len(findings.of_labels(field("punct.jsonl"))) == 5


def test_a_pace_that_nobody_keeps_up_is_told_and_an_impossible_one_refused() -> None:
    def level(text: str, duration_s: float) -> list[str]:
        return [finding.level for finding in findings.of_pace(Named("m", [Utterance(Path("a.wav"), text, duration_s=duration_s, line=1)]))]

    assert level("and so we went on home", 1.2) == []  # 18 letters a second
    assert level("and so we went on home", 0.5) == ["tell"]
    assert level("and so we went on home " * 30, 1.0) == ["refuse"]
    assert level("我们今天去北京", 1.0) == []
    assert level("我们今天去北京开会了吗你知道不知道", 1.0) == ["tell"]
    assert level("", 0.01) == []
    assert level("yes", 0.01) == ["refuse"]


def row(path: Path, text: str, line: int, start_s: float = 0.0, end_s: float | None = None) -> Utterance:
    return Utterance(path, text, line=line, start_s=start_s, end_s=end_s)


def test_a_double_says_duplicate(tmp_path: Path) -> None:
    one = tmp_path / "one.wav"
    one.write_bytes(bytes(range(256)) * 100)
    copy = tmp_path / "copy.wav"
    copy.write_bytes(one.read_bytes())
    other = tmp_path / "other.wav"
    other.write_bytes(bytes(range(255, -1, -1)) * 100)
    train = Named("train", [row(one, "Hello.", 1), row(other, "x", 2), row(copy, "hello", 3), row(one, "bye", 4)])
    test = Named("test", [row(tmp_path / "." / "copy.wav", "hello", 1)])
    assert texts(findings.of_doubles(train, test)) == [
        "train:3: duplicate: the same clip and text as train:1",
        "train:4: duplicate: the same clip as train:1 with another text ('Hello.' there, 'bye' here)",
        "test:1: duplicate: the same clip as train:1",
    ]


def test_slices_that_share_sound_are_told_between_sets_only(tmp_path: Path) -> None:
    talk = tmp_path / "talk.wav"
    train = Named("train", [row(talk, "a", 1, 0, 10), row(talk, "b", 2, 8, 20), row(talk, "c", 3, 50, 60)])
    test = Named("test", [row(talk, "d", 1, 20, 30), row(talk, "e", 2, 19, 21), row(talk, "f", 3, 59, 61), row(talk, "g", 4, 61, None)])
    assert [(finding.where, finding.text.split(",")[0]) for finding in findings.of_doubles(train, test)] == [
        ("test:2", "duplicate: shares sound with train:2"),
        ("test:3", "duplicate: shares sound with train:3"),
    ]


def test_one_manifest_given_twice_is_told(tmp_path: Path) -> None:
    one, copy, other = (tmp_path / name for name in ("one.jsonl", "copy.jsonl", "other.jsonl"))
    for path, text in [(one, "a"), (copy, "a"), (other, "b")]:
        path.write_text(json.dumps({"audio": "a.wav", "sentence": text}))
    found = texts(findings.of_files(("--train", one), ("--dev", tmp_path / "." / "one.jsonl"), ("--dev", copy), ("--keep", other)))
    assert found[0] == f"--dev {one}: duplicate: the same file as --train"
    assert found[1] == f"--dev {copy}: duplicate: the same content as --train {one}"
    assert len(found) == 3


def test_doubles_among_many_slices_take_time_in_proportion(tmp_path: Path) -> None:
    def seconds(count: int) -> float:
        talk = tmp_path / "talk.wav"
        sets = [Named(name, [row(talk, "a", line, line, line + 2.0) for line in range(1, count)]) for name in ("train", "test")]
        began = time.process_time()
        findings.of_doubles(*sets)
        return time.process_time() - began

    assert seconds(20_000) < 40 * seconds(2000) + 0.1, "a hundred times as long where every pair is looked at"


def test_many_findings_of_one_kind_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    findings.tell([Finding("label", f"m:{line}", "is odd") for line in range(1, 10)])
    told = capsys.readouterr().err
    assert "look at these lines (label):" in told
    assert "m:5: is odd" in told
    assert "m:6: is odd" not in told
    assert "… and 4 more" in told
