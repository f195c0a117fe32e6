"""Every command of the README does what the README says, and both languages hold the same commands."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

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
    assert not [target for target in targets.findall(english) if not (ROOT / target).exists()]


def test_the_first_commands_are_the_demo_and_the_tests():
    assert commands("README.md")[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("line", [line for line in commands("README.md") if line.startswith("make ")])
def test_a_make_target_exists_and_starts_what_it_says(line):
    done = subprocess.run([*shlex.split(line), "--dry-run", "--always-make"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"make demo": "scripts/demo.py --language bg", "make test": "-m pytest"}[line] in done.stdout
