"""The demo, shrunk through the environment: it ends with its report and summary, and does not make again what is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from finewhisper import manifest

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "demo.py"

SHRUNK = {
    "FINEWHISPER_PREPARE_DEV_SHARE": "0.01",
    "FINEWHISPER_PREPARE_TEST_SHARE": "0.02",
    "FINEWHISPER_EVALUATE_LIMIT": "4",
    "FINEWHISPER_FINETUNE_MAX_STEPS": "2",
    "FINEWHISPER_FINETUNE_FULL_WINDOW_SHARE": "0",
    "FINEWHISPER_CONVERT_VERIFY": "false",  # a model after two steps is too unsure for int8 to say the same
    "OMP_NUM_THREADS": "1",
}


def demo(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=500, check=False)


@pytest.fixture
def workplace(tmp_path, monkeypatch, base_model, captions, cache):
    """An empty folder, but for what the demo would download."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "whisper-base").symlink_to(base_model)
    (tmp_path / ".cache").symlink_to(cache)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "demo"


def test_the_demo_shows_its_commands_and_ends_with_report_summary_and_model(workplace):
    done = demo(**SHRUNK)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = re.findall(r"^\$ finewhisper (\w+)", done.stdout, re.MULTILINE)
    assert shown == ["download", "prepare", "evaluate", "finetune", "merge", "evaluate", "convert", "transcribe"]
    summary = json.loads((workplace / "summary.json").read_text(encoding="utf-8"))
    assert summary["language"] == "bg"
    assert all(summary[model][rate] > 0 for model in ("base", "tuned") for rate in ("wer", "cer"))
    assert summary["seconds"] == pytest.approx(sum(summary["steps"].values()), abs=0.1)
    assert 1e8 < summary["peak_memory_bytes"] < 6e9
    assert done.stdout.count("  heard: ") == 3
    assert "<html" in (workplace / "report.html").read_text(encoding="utf-8")
    assert (workplace / "model" / "model.safetensors").is_file()
    test, train = (manifest.read(workplace / "data" / f"{split}.jsonl") for split in ("test", "train"))
    assert not {utterance.sentence for utterance in test} & {utterance.sentence for utterance in train}

    again = demo(**SHRUNK)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("is there already") == 8
    assert json.loads((workplace / "summary.json").read_text(encoding="utf-8"))["base"] == summary["base"]


def test_another_language_starts_over_and_a_failure_says_how_to_go_on(workplace):
    (workplace / "data").mkdir(parents=True)
    (workplace / "data" / "test.jsonl").touch()
    (workplace / "demo.json").write_text('{"language": "bg", "seconds": {}, "peak_bytes": 0}', encoding="utf-8")
    done = demo("--language", "Romanian", "--stamps", "nowhere")
    assert done.returncode == 2
    assert "holds a demo in another language (bg); starting over" in done.stdout
    assert "$ finewhisper prepare tuxpaint nowhere --language ro" in done.stdout
    assert not (workplace / "data" / "test.jsonl").exists()
    assert "make demo STAMPS=" in done.stderr
    assert "goes on here" in done.stderr
    assert "Traceback" not in done.stderr
