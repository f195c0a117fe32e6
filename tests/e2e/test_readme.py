"""Every command of the README does what the README says, and both languages hold the same commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
import soundfile

from serving import running

ROOT = Path(__file__).parent.parent.parent


def commands(page: str) -> list[str]:
    """The lines of the shell blocks."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_both_languages_hold_the_same_commands():
    assert commands("README.md") == commands("README.zh.md")


def test_both_languages_have_the_same_headings_tables_and_links():
    english, chinese = ((ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "README.zh.md"))
    for pattern in (r"^#+ ", r"^\|", r"^- ", r"^```"):
        assert len(re.findall(pattern, english, re.MULTILINE)) == len(re.findall(pattern, chinese, re.MULTILINE))
    targets = re.compile(r"\]\((?!README)([^)]+)\)")
    assert targets.findall(english) == targets.findall(chinese)
    assert not [target for target in targets.findall(english) if not (ROOT / target.partition("#")[0]).exists()]


def test_the_first_commands_are_the_demo_and_the_tests():
    assert commands("README.md")[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("line", [line for line in commands("README.md") if line.startswith("make ")])
def test_a_make_target_exists_and_starts_what_it_says(line):
    done = subprocess.run([*shlex.split(line), "--dry-run", "--always-make"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"make demo": "scripts/demo.py --language bg", "make test": "-m pytest"}[line] in done.stdout


#: Makes the commands small without changing them.
SHRUNK = {
    "FINEWHISPER_FINETUNE_MAX_STEPS": "2",
    "FINEWHISPER_FINETUNE_FULL_WINDOW_SHARE": "0",
    "FINEWHISPER_CONVERT_LIMIT": "2",
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture
def workplace(tmp_path, monkeypatch, base_model, captions):
    """A folder as the README supposes it: recordings with their table, and an interview; the base model is downloaded already."""
    from finewhisper import manifest

    utterances = [utterance for utterance in manifest.read(captions / "train.jsonl") if utterance.length_s() < 2][:48]
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    rows = ["file_name,transcription"]
    for utterance in utterances:
        name = f"{utterance.id}.flac"
        soundfile.write(recordings / name, utterance.waveform(), 16_000)
        rows.append(f'{name},"{utterance.sentence}"')
    (recordings / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    soundfile.write(tmp_path / "interview.mp3", np.concatenate([utterance.waveform() for utterance in utterances[:12]]), 16_000)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "whisper-base").symlink_to(base_model)
    for name, value in SHRUNK.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_works_as_it_stands(workplace):
    for line in commands("README.md"):
        words = shlex.split(line)
        if words[0] != "finewhisper":
            assert words[0] == "make"  # checked above
            continue
        if words[1] == "serve":  # it would never end
            with running(words[words.index("-m") + 1]) as server, urlopen(server.address, timeout=60) as answer:
                assert b"<html" in answer.read()
            continue
        done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    for made in ("data/train.jsonl", "runs/adapter/adapter_config.json", "runs/model/model.safetensors", "runs/evaluation/report.html"):
        assert (workplace / made).is_file()
    assert re.search(r"00:00:\d\d,\d\d\d --> ", (workplace / "interview.srt").read_text(encoding="utf-8"))


def test_the_extras_that_the_readme_installs_exist():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"'\.\[(\w+)\]'", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert extras
    assert not [extra for extra in extras if not re.search(rf"^{extra} = \[", project, re.MULTILINE)]
