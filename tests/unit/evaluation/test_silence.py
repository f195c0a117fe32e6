"""What is invented where nothing is said, before and after."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluations import Make
from finewhisper import cli, manifest
from finewhisper.evaluation import report, table
from finewhisper.evaluation.baseline import Baseline
from finewhisper.evaluation.curves import Curves
from finewhisper.evaluation.silence import silences

SAID = [("en", "yes", "yes"), ("en", "", "Thank you."), ("en", "", "[Music] …"), ("en", "", "you")]
LABELS = [{}, {"label": "music"}, {"label": "music"}, {}]


def test_counts_by_label(evaluated: Make) -> None:
    evaluation, _ = evaluated(SAID, extra=LABELS)
    everything, unlabelled, music = evaluation.silences
    assert [one.name for one in evaluation.silences] == ["all", "no label", "music"]
    assert (everything.clips, everything.with_text, everything.characters) == (3, 2, len("thank you") + len("you"))
    assert everything.audio_s == 1.5 + 2.5 + 3.5
    assert everything.per_minute == pytest.approx(12 * 60 / 7.5)
    assert (music.clips, music.with_text, music.characters) == (2, 1, 9), "punctuation and asides are no text"
    assert (unlabelled.characters, unlabelled.per_minute) == (3, pytest.approx(3 * 60 / 3.5))
    assert everything.before is None


def test_speech_everywhere(evaluated: Make) -> None:
    evaluation, _ = evaluated(SAID[:1])
    assert evaluation.silences == ()
    assert "no_speech_report" not in evaluation.json()
    assert "no speech" not in str(evaluation)


def test_before_and_after(evaluated: Make) -> None:
    earlier, _ = evaluated([(language, said, "a loop " * 9) for language, said, _ in SAID], extra=LABELS)
    baseline = Baseline(Path("b"), "Base", "m", "x", "1" * 64, "basic+spaces", {}, "1", {row.line: row for row in earlier.rows})
    evaluation, utterances = evaluated(SAID, extra=LABELS, baseline=baseline)
    found = evaluation.json()["no_speech_report"]
    assert (found["clips_with_text"], found["baseline"]["clips_with_text"]) == (2, 3)
    assert found["baseline"]["characters"] == 3 * (9 * 7 - 1)
    assert found["characters_per_minute"] == pytest.approx(96.0)
    assert found["labels"]["music"]["baseline"]["characters_per_minute"] == pytest.approx(2 * 62 * 60 / 4.0)
    printed = str(evaluation).splitlines()
    headings = next(index for index, line in enumerate(printed) if line.startswith("no speech"))
    assert printed[headings + 1].split() == ["all", "3", "8", "s", "2", "12", "96.0", "3", "1488.0"]
    assert printed[headings + 3].startswith("music")
    page = " ".join(report.render(evaluation, utterances, Curves()).split())
    assert "2 of 3 clips without speech have text, 3 in the baseline" in page
    assert '<td class="number">1488.0</td> <td class="number"><strong>96.0</strong></td>' in page


def test_clips_that_only_the_baseline_misheard_can_be_listened_to(evaluated: Make) -> None:
    earlier, _ = evaluated([("en", "yes", "yes"), ("en", "", "you")])
    baseline = Baseline(Path("b"), "Base", "m", "x", "1" * 64, "basic+spaces", {}, "1", {row.line: row for row in earlier.rows})
    evaluation, utterances = evaluated([("en", "yes", "no"), ("en", "", "")], baseline=baseline, players=1)
    page = report.render(evaluation, utterances, Curves())
    assert page.index('"line":1,') < page.index('"line":2,') < page.index('"sound":'), "this one is right now, and was wrong"


def test_labels_outlive_the_table(evaluated: Make, tmp_path: Path) -> None:
    evaluation, _ = evaluated(SAID, extra=LABELS)
    table.write(tmp_path / "rows.csv", evaluation.rows)
    assert silences(table.read(tmp_path / "rows.csv"), None) == list(evaluation.silences)


@pytest.mark.real
def test_whisper_base_invents_chinese_on_real_noise(data: Path, base_model: Path, tmp_path: Path) -> None:
    chosen = [one for one in manifest.read(data / "noise_rir" / "manifest.jsonl") if one.id in {"speechbrain_noise3", "digital_silence"}]
    manifest.write(tmp_path / "noise.jsonl", chosen)
    arguments = ["evaluate", str(base_model), "--manifest", str(tmp_path / "noise.jsonl"), "-o", str(tmp_path / "out"), "--no-vad"]
    assert cli.main([*arguments, "--language", "Chinese", "--threads", "1", "--players", "0"]) == 0
    characters = {one.name: one.characters for one in silences(table.read(tmp_path / "out" / "utterances.csv"), None)}
    assert characters["background noise"] > 0, "it credits a maker of subtitles"
    assert characters["digital silence"] == 0
