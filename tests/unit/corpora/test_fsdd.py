from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from finewhisper import manifest
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.fsdd import DIGITS
from finewhisper.corpora.run import run
from finewhisper.errors import CorpusError, UsageError

MakeClip = Callable[..., Path]


def test_indices_below_five_are_the_test_set(tmp_path: Path, clip: MakeClip) -> None:
    for digit in range(10):
        for index in (0, 4, 5, 49):
            clip(tmp_path / "fsdd" / "recordings" / f"{digit}_jackson_{index}.wav", 0.3, rate=8000)
    clip(tmp_path / "fsdd" / "recordings" / "noise.wav")
    run(PrepareConfig(corpus="fsdd", source=tmp_path / "fsdd", output=tmp_path / "out"))
    test, train = (manifest.read(tmp_path / "out" / f"{name}.jsonl") for name in ("test", "train"))
    assert {row.path.stem.split("_")[2] for row in test} == {"0", "4"}
    assert {row.path.stem.split("_")[2] for row in train} == {"5", "49"}
    assert [row.sentence for row in train if "_5." in row.path.name] == list(DIGITS)
    assert {(row.language, row.extra["speaker"], row.duration_s) for row in test} == {("en", "jackson", 0.3)}
    assert not (tmp_path / "out" / "dev.jsonl").exists()


def test_real_recordings(data: Path, tmp_path: Path) -> None:
    prepared = run(PrepareConfig(corpus="fsdd", source=data / "fsdd_en_digits" / "audio", output=tmp_path / "out"))
    lines = (data / "fsdd_en_digits" / "manifest.jsonl").read_text().splitlines()
    known = {row["audio"]["path"].removeprefix("audio/"): row for row in map(json.loads, lines)}
    assert sum(summary.utterances for summary in prepared.splits.values()) == len(known)
    for name in prepared.splits:
        for row in manifest.read(prepared.manifest(name)):
            assert row.sentence == known[row.path.name]["sentence"]
            assert row.extra["speaker"] == known[row.path.name]["speaker"]
            assert row.duration_s == pytest.approx(known[row.path.name]["duration"], abs=0.002)


def test_what_cannot_be(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="--source: is required for fsdd"):
        run(PrepareConfig(corpus="fsdd", output=tmp_path / "out"))
    with pytest.raises(CorpusError, match="no such folder"):
        run(PrepareConfig(corpus="fsdd", source=tmp_path / "gone", output=tmp_path / "out"))
    with pytest.raises(CorpusError, match="holds no recordings named like"):
        run(PrepareConfig(corpus="fsdd", source=empty, output=tmp_path / "out"))
    with pytest.raises(UsageError, match="spoken in English"):
        run(PrepareConfig(corpus="fsdd", source=empty, output=tmp_path / "out", language="de"))
