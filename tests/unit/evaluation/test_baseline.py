"""A baseline stands beside the scores only if it was made alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluations import Make
from finewhisper.errors import UsageError
from finewhisper.evaluation import table
from finewhisper.evaluation.baseline import Baseline

MANIFEST = Path("x.jsonl")
REFERENCES = {1: "едно две", 2: "да"}


@pytest.fixture
def folder(evaluated: Make, tmp_path: Path) -> Path:
    evaluation, _ = evaluated([("bg", "Едно две.", "едно"), ("bg", "да", "да")])
    folder = tmp_path / "base"
    folder.mkdir()
    table.write(folder / "utterances.csv", evaluation.rows)
    (folder / "result.json").write_text(json.dumps(evaluation.json()), encoding="utf-8")
    return folder


def test_read(folder: Path) -> None:
    baseline = Baseline.read(folder)
    baseline.require_same(MANIFEST, "1" * 64, "basic+spaces", REFERENCES)
    assert baseline.rows[1].hypothesis == "едно"
    assert baseline.rows[1].words is not None
    assert baseline.rows[1].words.deletions == 1
    assert baseline.signature["wer"].startswith("WER|")


@pytest.mark.parametrize(
    ("digest", "normalizers", "references", "message"),
    [
        ("2" * 64, "basic+spaces", REFERENCES, r"was made on another manifest \(.*SHA-256 111111111111\) than x.jsonl \(222222222222\)"),
        ("1" * 64, "none", REFERENCES, "normalised by basic.spaces, not none; give both evaluations the same --normalize"),
        ("1" * 64, "basic+spaces", {1: "едно две"}, r"scored 2 utterances .* not the same 1 \(line 2 is in one only\).*--limit"),
        ("1" * 64, "basic+spaces", {1: "едно две", 2: "дa"}, "normalised line 2 to 'да', this version to 'дa'"),
    ],
)
def test_refused(folder: Path, digest: str, normalizers: str, references: dict[int, str], message: str) -> None:
    with pytest.raises(UsageError, match=f"--baseline {folder}.*{message}"):
        Baseline.read(folder).require_same(MANIFEST, digest, normalizers, references)


@pytest.mark.parametrize("name", ["result.json", "utterances.csv"])
def test_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UsageError, match=f"has no {name}; give the -o folder of an earlier evaluate"):
        Baseline.read(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"title": 1, "model": "m"}'])
def test_damaged_result(folder: Path, content: str) -> None:
    (folder / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"cannot be read \(.*run evaluate for the baseline again"):
        Baseline.read(folder)


def test_damaged_table(folder: Path) -> None:
    content = (folder / "utterances.csv").read_text(encoding="utf-8-sig")
    (folder / "utterances.csv").write_text(content.replace(",0.5,", ",half,"), encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        Baseline.read(folder)
