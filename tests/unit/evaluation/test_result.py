"""What is printed and what is written as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from evaluations import Make
from finewhisper import __version__
from finewhisper.evaluation.baseline import Baseline
from finewhisper.model import Context

SAID = [("bg", "едно две", "едно три"), ("bg", "да", "да")]


def baseline(rows: dict[int, object]) -> Baseline:
    return Baseline(Path("runs/base"), "Base", "m", "x.jsonl", "1" * 64, "basic+spaces", {"wer": "WER|…", "cer": "CER|…"}, "1", rows)


def test_signature(evaluated: Make) -> None:
    evaluation, _ = evaluated(SAID)
    assert evaluation.signature("WER") == (
        "WER|normalize:basic+spaces|decoding:greedy,loops:again,timestamps:no,context:trimmed+1.0s,silence:left-out|"
        "engine:transformers float32|"
        f"finewhisper {__version__}|manifest:111111111111"
    )


def test_signature_says_what_differs(evaluated: Make) -> None:
    evaluation, _ = evaluated(SAID, beam_size=5, timestamps=True, limit=2, skipped=["a: b"])
    changed = replace(evaluation.setting, context=Context(), detected=frozenset({"bg"}))
    signature = changed.sign(evaluation.config, len(evaluation.skipped))("character", "basic+spaces")
    assert signature.startswith(
        "CER|normalize:basic+spaces|decoding:beam 5,loops:again,timestamps:yes,context:from-20s,silence:left-out,language:detected bg|"
    )
    assert signature.endswith("|first:2|skipped:1")
    assert {score.signature[3:] for score in evaluation.scores.values()} == {evaluation.signature("WER").removeprefix("WER")}


def test_json_is_complete_and_valid(evaluated: Make) -> None:
    evaluation, _ = evaluated([*SAID, ("en", "", "you")], skipped=["m.jsonl:9: a.wav: is empty (0 bytes)"])
    result = json.loads(json.dumps(evaluation.json(), allow_nan=False))
    assert result["wer"] | {"interval": None} == {
        "percent": 66.6667, "errors": 2, "substitutions": 1, "deletions": 0, "insertions": 1, "reference_units": 3, "interval": None,
    }  # fmt: skip
    assert result["wer"]["interval"][0] <= 66.6667 <= result["wer"]["interval"][1]
    assert result["languages"]["English"]["wer"]["percent"] is None, "nothing was said, something was heard"
    assert (result["utterances"], result["no_speech"], result["seconds"]) == (3, 1, 2.0)
    assert result["skipped"] == ["m.jsonl:9: a.wav: is empty (0 bytes)"]
    assert set(result["signature"]) == {"wer", "cer"}
    assert result["created"] == "2026-01-02T00:00:00+00:00"


def test_json_of_a_language_without_words(evaluated: Make) -> None:
    evaluation, _ = evaluated([("zh", "二十九", "29")])
    result = evaluation.json()
    assert result["wer"] is None
    assert result["cer"]["percent"] == 0.0
    assert set(result["signature"]) == {"cer"}


def test_baseline_in_json(evaluated: Make) -> None:
    before, _ = evaluated([("bg", "едно две", "а б в"), ("bg", "да", "не")])
    evaluation, _ = evaluated(SAID, baseline=baseline({row.line: row for row in before.rows}))
    scores = evaluation.json()["wer"]
    assert scores["percent"] == 33.3333
    assert scores["baseline"]["percent"] == 133.3333
    assert scores["baseline"]["relative_change"] == -75.0
    low, high = scores["baseline"]["difference_interval"]
    assert low <= -100.0 <= high <= 0.0


def test_printed(evaluated: Make) -> None:
    before, _ = evaluated([("bg", "едно две", "а б в"), ("bg", "да", "не")])
    evaluation, _ = evaluated(SAID, baseline=baseline({row.line: row for row in before.rows}), skipped=["x"])
    headings, wer, cer, skipped, *signatures, report = str(evaluation).splitlines()
    assert headings.split() == [
        *["utterances", "audio", "score", "%"],
        "95",
        "%",
        "interval",
        *["sub", "del", "ins", "of", "baseline", "%", "change", "points"],
    ]
    assert wer.startswith("Bulgarian")
    assert wer.split()[1:6] == ["2", "2", "s", "WER", "33.33"]
    assert wer.split()[9:16] == ["1", "0", "0", "3", "133.33", "-75.0", "%"]
    assert "CER" in cer
    assert len(headings) == len(wer) == len(cer)
    assert skipped == "1 clips left out, listed in result.json"
    assert signatures == [evaluation.signature("WER"), evaluation.signature("CER")]
    assert report == f"report: {evaluation.config.output / 'report.html'}"


def test_a_notebook_shows_scores_and_signatures(evaluated: Make) -> None:
    evaluation, _ = evaluated(SAID)
    shown = evaluation._repr_html_()
    assert f"<td>{evaluation.scores['CER'].rate.percent:.2f}</td>" in shown
    assert all(evaluation.signature(name) in shown for name in evaluation.scores)
    assert shown.count("<th>") == 10


def test_speakers_are_printed_unless_they_are_many(evaluated: Make) -> None:
    def printed(speakers: int) -> str:
        said = [("zh", "二九", "二")] * speakers
        return str(evaluated(said, extra=[{"speaker": f"S{index:02d}"} for index in range(speakers)])[0])

    assert "speaker S" not in printed(1)
    assert [line.split()[:3] + line.split()[5:7] for line in printed(2).splitlines()[2:4]] == [
        ["speaker", "S00", "1", "CER", "50.00"],
        ["speaker", "S01", "1", "CER", "50.00"],
    ]
    assert "speaker S19" in printed(20)
    assert "speaker S" not in printed(21)
