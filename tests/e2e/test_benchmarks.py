"""The benchmarks run, and say so where there is nothing to compare."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from finewhisper.model import Context, ModelCard

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "decode_speed.py"


def decode_speed(model: Path, manifest: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--model", str(model), "--manifest", str(manifest), "--limit", "2", "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_decode_speed_compares_two_contexts_of_one_model(random_model, speech_folder, tmp_path):
    model = shutil.copytree(random_model, tmp_path / "model")
    ModelCard(context=Context(trimmed=True)).write(model)
    done = decode_speed(model, speech_folder / "train.jsonl")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(trimmed|30 s) +\d+\.\d ", done.stdout, re.MULTILINE) == ["trimmed", "30 s"]
    assert re.search(r"30 s windows take \d+\.\d times as long", done.stdout)


def test_decode_speed_refuses_a_model_that_never_learnt_short_contexts(random_model, speech_folder):
    done = decode_speed(random_model, speech_folder / "train.jsonl")
    assert done.returncode == 2
    assert "has not learnt short contexts" in done.stderr
