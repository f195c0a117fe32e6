"""Times: whether they come in pairs, and how far they are from the given ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluations import Make
from finewhisper import cli
from finewhisper.evaluation import report, table
from finewhisper.evaluation.baseline import Baseline
from finewhisper.evaluation.curves import Curves
from finewhisper.evaluation.timing import Times, times, together
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.transcript import Segment, Transcript

Phrases = list[tuple[float, float, str]]

SAID: Phrases = [(0.1, 1.0, "one two three"), (1.5, 2.5, "four five"), (3.0, 4.0, "six")]


def errors(said: Phrases, heard: Phrases, *, spaced: bool = True) -> tuple[float, ...]:
    utterance = Utterance(Path("a.wav"), "", sentences=tuple(TimedSentence(*phrase) for phrase in said))
    segments = tuple(Segment(text, start_s, end_s) for start_s, end_s, text in heard)
    found = times(utterance, Transcript(segments, "en", 5.0), str.lower, spaced=spaced)
    assert found.given == 2 * sum(bool(text) for *_, text in said)
    return found.errors_s


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        pytest.param([(0.0, 1.1, "One two three"), (1.4, 2.7, "four five"), (3.0, 4.3, "six")], (0.1, 0.1, 0.1, 0.2, 0.0, 0.3), id="each"),
        pytest.param([(0.0, 2.4, "one two three four five"), (2.9, 4.0, "six")], (0.1, 0.1, 0.1, 0.0), id="two joined"),
        pytest.param([(0.0, 0.6, "one"), (0.6, 4.2, "two three four five six")], (0.1, 0.2), id="cut elsewhere"),
        pytest.param([(0.0, 1.1, "uh one two tree"), (1.4, 2.7, "for fife")], (0.1, 0.1, 0.1, 0.2), id="misheard, and the last not heard"),
        pytest.param(
            [(0.0, 1.1, "two three"), (1.4, 2.7, "five"), (3.0, 4.3, "six it is")], (0.1, 0.1, 0.1, 0.2, 0.0, 0.3), id="lost words"
        ),
        pytest.param([], (), id="nothing heard"),
    ],
)
def test_boundaries_are_compared_where_both_texts_have_one(heard: Phrases, expected: tuple[float, ...]) -> None:
    assert errors(SAID, heard) == pytest.approx(expected)


def test_a_phrase_that_was_not_heard_has_no_times() -> None:
    """Its neighbours' times would be seconds away, and are their own."""
    assert errors(SAID, [(0.1, 1.0, "one two three"), (3.0, 4.0, "six")]) == (0.0, 0.0, 0.0, 0.0)


def test_characters_of_chinese() -> None:
    assert errors([(0.0, 1.0, "设定"), (1.2, 2.0, "二十 九度")], [(0.1, 1.1, "设定"), (1.1, 2.0, "三十九度")], spaced=False) == (
        0.1,
        0.1,
        0.1,
        0.0,
    )


def test_rows_without_given_times() -> None:
    assert errors([], SAID) == ()
    assert errors([(0.0, 1.0, "")], SAID) == ()


def test_summary() -> None:
    found = together([Times(2, 1, 4, (0.1, 0.2, 0.6)), None, Times(1, 1, 2, (0.3,))])
    assert found is not None
    assert found.well_timed_percent == pytest.approx(200 / 3)
    assert (found.mean_s, found.median_s, found.near_percent) == (pytest.approx(0.3), pytest.approx(0.25), 50.0)
    assert together([None]) is None
    nothing = Times(0, 0, 0, ())
    assert set(nothing.json().values()) == {0, None}


def test_before_and_after(evaluated: Make) -> None:
    said = [("en", "one two", "one two")]
    sentences = (TimedSentence(0.2, 0.5, "one two"),)
    earlier, _ = evaluated(said, timestamps=True, sentences=sentences, well_timed=(False,))
    baseline = Baseline(Path("b"), "Base", "m", "x", "1" * 64, "basic+spaces", {}, "1", {row.line: row for row in earlier.rows})
    evaluation, utterances = evaluated(said, timestamps=True, sentences=sentences, well_timed=(True, True), baseline=baseline)
    found = evaluation.json()["timestamps"]
    assert (found["windows"], found["well_timed_percent"], found["baseline"]["well_timed_percent"]) == (2, 100.0, 0.0)
    assert (found["boundaries"], found["compared"], found["mean_error_s"], found["within_0.2_s_percent"]) == (2, 2, 0.1, 100.0)
    printed = [" ".join(line.split()) for line in str(evaluation).splitlines()]
    assert "baseline 1 0.0 % 2 2 0.10 s 0.10 s 100.0 %" in printed
    assert "this model 2 100.0 % 2 2 0.10 s 0.10 s 100.0 %" in printed
    page = report.render(evaluation, utterances, Curves())
    assert "Windows whose times come in pairs" in page
    assert "Distance from the given times" in page


def test_no_times_without_the_flag(random_model: Path, speech_folder: Path) -> None:
    def evaluate(*options: str) -> Path:
        output = speech_folder / f"out{len(options)}"
        arguments = ["evaluate", str(random_model), "--manifest", str(speech_folder / "dev.jsonl"), "-o", str(output), "--threads", "1"]
        assert cli.main([*arguments, *options]) == 0
        return output

    plain, timed = evaluate(), evaluate("--timestamps")
    assert "timestamps" not in json.loads((plain / "result.json").read_text(encoding="utf-8"))
    assert [row.times for row in table.read(plain / table.NAME)] == [None] * 3
    found = json.loads((timed / "result.json").read_text(encoding="utf-8"))["timestamps"]
    assert found["windows"] >= found["well_timed"]
    assert found["boundaries"] == 0


@pytest.mark.real
def test_whisper_base_times_real_sentences(data: Path, base_model: Path, tmp_path: Path) -> None:
    """Three sentences of a reader, joined with a quarter of a second between them."""
    name = "audio/ljspeech_LJ001_0001-0032.opus"
    given = json.loads((data / "longform" / "segments.json").read_text(encoding="utf-8"))[name][:3]
    row = {"audio": {"path": str(data / "longform" / name), "end_time": given[-1]["end"]}, "language": "en", "sentences": given}
    (tmp_path / "timed.jsonl").write_text(json.dumps(row | {"sentence": " ".join(one["text"] for one in given)}) + "\n", encoding="utf-8")
    arguments = ["evaluate", str(base_model), "--manifest", str(tmp_path / "timed.jsonl"), "-o", str(tmp_path / "out"), "--timestamps"]
    assert cli.main([*arguments, "--threads", "1", "--players", "0"]) == 0
    found = together(row.times for row in table.read(tmp_path / "out" / table.NAME))
    assert found is not None
    assert (found.windows, found.well_timed, found.given) == (1, 1, 6)
    assert len(found.errors_s) >= 2
    assert found.mean_s is not None
    assert found.mean_s < 0.5
