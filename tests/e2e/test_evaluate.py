"""The command on real weights and real speech, and its page in a real browser."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from browser import Page, chromium, require_chromium
from finewhisper import manifest

pytestmark = pytest.mark.real

#: Lines of the test sets: two English sentences, two Chinese words, and music that holds no speech.
CLIPS = {"en_misc": ["LJ001-0002", "LJ001-0008"], "hsk_words_zh": ["5102", "2092"], "noise_rir": ["speechbrain_noise2"]}


def finewhisper(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "finewhisper", *map(str, arguments)], capture_output=True, text=True, encoding="utf-8", timeout=500
    )


@pytest.fixture(scope="module")
def folder(data: Path, base_model: Path, base_ct2_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluations of the same clips: ``base`` by transformers, and ``again`` by CTranslate2 with the first as its baseline."""
    folder = tmp_path_factory.mktemp("evaluate")
    chosen = [
        utterance for name, ids in CLIPS.items() for utterance in manifest.read(data / name / "manifest.jsonl") if utterance.id in ids
    ]
    assert manifest.write(folder / "test.jsonl", chosen) == 5
    first = finewhisper("evaluate", base_model, "--manifest", folder / "test.jsonl", "-o", folder / "base", "--title", "Base")
    assert first.returncode == 0, first.stderr
    (folder / "base.txt").write_text(first.stdout, encoding="utf-8")
    options = ["-o", folder / "again", "--baseline", folder / "base", "--players", 3]
    second = finewhisper("evaluate", base_ct2_model, "--manifest", folder / "test.jsonl", *options)
    assert second.returncode == 0, second.stderr
    return folder


def test_scores(folder: Path) -> None:
    result = json.loads((folder / "base" / "result.json").read_text(encoding="utf-8"))
    english = result["languages"]["English"]
    assert english["wer"]["reference_units"] == 8
    assert english["wer"]["percent"] == 0.0, "whisper-base knows these sentences"
    assert result["languages"]["Chinese"]["wer"] is None
    assert result["languages"]["Chinese"]["normalize"] == "simplified+numerals+lower+punctuation+no_spaces"
    assert result["no_speech"] == 1
    assert 5 < result["audio_s"] < 20
    assert result["engine"] == "transformers float32"


def test_printed(folder: Path) -> None:
    printed = (folder / "base.txt").read_text(encoding="utf-8")
    result = json.loads((folder / "base" / "result.json").read_text(encoding="utf-8"))
    assert result["signature"]["wer"] in printed
    assert "timestamps:no,context:from-20s" in printed
    assert printed.rstrip().endswith(f"report: {folder / 'base' / 'report.html'}")


def test_table(folder: Path) -> None:
    with (folder / "base" / "utterances.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    assert rows["LJ001-0002"]["normalized_hypothesis"] == "in being comparatively modern"
    assert rows["LJ001-0002"]["speaker"] == "lj_linda_johnson"
    assert rows["5102"]["language"] == "zh"
    assert rows["speechbrain_noise2"]["normalized_reference"] == ""


def test_two_engines_and_a_baseline(folder: Path) -> None:
    result = json.loads((folder / "again" / "result.json").read_text(encoding="utf-8"))
    assert result["engine"].startswith("ctranslate2 ")
    assert result["baseline"]["title"] == "Base"
    for score in (result["wer"], result["cer"]):
        low, high = score["baseline"]["difference_interval"]
        assert low <= score["percent"] - score["baseline"]["percent"] <= high


def test_page_asks_for_nothing(folder: Path) -> None:
    for name in ("base", "again"):
        page = (folder / name / "report.html").read_text(encoding="utf-8")
        assert "http://" not in page
        assert "https://" not in page


def choose(page: Page, control: str, value: str) -> None:
    """Type or choose in one of the page's controls."""
    page.run(f"document.getElementById({control!r}).value = {value!r}")
    page.run(f"document.getElementById({control!r}).dispatchEvent(new Event('input', {{bubbles: true}}))")


def test_page_in_a_browser(folder: Path, tmp_path: Path) -> None:
    require_chromium()
    with chromium(tmp_path) as page:
        page.open((folder / "again" / "report.html").as_uri())
        assert page.run("document.querySelectorAll('#list li').length") == 5
        assert page.run("document.querySelectorAll('#list button').length") == 3, "three players"

        page.run("document.querySelector('#list button').click()")
        page.wait("document.querySelector('.player.playing input').value > 5")
        page.run("document.querySelector('#list button').click()")
        assert page.run("document.querySelectorAll('.playing').length") == 0

        choose(page, "search", "modern")
        assert page.run("document.querySelector('#list dd').textContent") == "in being comparatively modern"
        assert page.run("document.getElementById('count').textContent") == "1 of 5 utterances"

        choose(page, "search", "")
        choose(page, "sort", "line")
        assert page.run("document.querySelector('#list .about').textContent").endswith("line 1")
        page.run("document.getElementById('original').click()")
        assert "in being comparatively modern." in page.run("document.getElementById('list').textContent")

        assert page.run("document.documentElement.scrollWidth <= innerWidth"), "nothing is wider than the window"
        assert page.errors == []
        assert page.requests == [(folder / "again" / "report.html").as_uri()]


def test_bad_clips(base_model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not audio", encoding="utf-8")
    lines = [{"audio": name, "sentence": "one", "language": "en"} for name in ("empty.wav", "text.wav", "gone.wav")]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = finewhisper("evaluate", base_model, "--manifest", tmp_path / "test.jsonl", "-o", tmp_path / "out")
    assert found.returncode == 2
    assert found.stdout == ""
    assert "Traceback" not in found.stderr
    for line, reason in enumerate(["is empty (0 bytes)", "text.wav", "no such file"], start=1):
        assert any(f"test.jsonl:{line}:" in said and reason in said for said in found.stderr.splitlines()), found.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone", "--manifest", "x.jsonl", "-o", "out"], "gone: there is no such model; get one with: finewhisper download base"),
        (["gone", "-o", "out"], "--manifest"),
        (["gone", "--manifest", "x.jsonl", "-o", "out", "--normalize", "upper"], "--normalize: there is no step 'upper'"),
    ],
)
def test_mistakes(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where no model is near, as there is after make demo
    found = finewhisper("evaluate", *arguments)
    assert found.returncode == 2
    assert message in found.stderr
    assert "Traceback" not in found.stderr
