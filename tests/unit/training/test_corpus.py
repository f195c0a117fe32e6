"""What is told of the sets that a run learns from, is scored on and is to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from finewhisper import manifest
from finewhisper.manifest import Utterance
from finewhisper.matrix import SpeechSet
from finewhisper.training import corpus
from finewhisper.training.config import FinetuneConfig


def clips(folder: Path, name: str, *numbers: int, sentence: str = "one two three") -> Path:
    """A manifest of clips, each of the sound of its number."""
    rows = []
    for number in numbers:
        path = folder / f"{number}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(number).standard_normal(16_000), 16_000)
        rows.append(Utterance(path, sentence, "en", 1.0))
    manifest.write(folder / f"{name}.jsonl", rows)
    return folder / f"{name}.jsonl"


def told(train: Path, dev: list[Path], keep: list[Path], capsys: pytest.CaptureFixture[str]) -> str:
    config = FinetuneConfig.model_validate({"model": "m", "train": train, "dev": dev, "keep": keep, "output": "o"})
    sets = [[SpeechSet(path.stem, tuple(manifest.read(path))) for path in paths] for paths in (dev, keep)]
    corpus.look(config, manifest.read(train), *sets)
    return capsys.readouterr().err


def test_sets_of_different_clips_are_not_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, dev, keep = clips(tmp_path, "train", 1, 2), clips(tmp_path, "dev", 3), clips(tmp_path, "keep", 4)
    assert told(train, [dev], [keep], capsys) == ""


@pytest.mark.parametrize("role", ["dev", "keep"])
def test_a_clip_that_is_learnt_and_measured_is_told_with_both_lines(role: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, other = clips(tmp_path, "train", 1, 2), clips(tmp_path, "other", 3, 2)
    said = told(train, [other] if role == "dev" else [], [other] if role == "keep" else [], capsys)
    assert "look at these lines (duplicate between sets):" in said
    assert f"{other}:2: duplicate: the same clip as {train}:2" in said
    assert said.count("the same clip") == 1


def test_each_set_is_looked_at_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, dev, keep = clips(tmp_path, "train", 1, 1), clips(tmp_path, "dev", 3, sentence=""), clips(tmp_path, "keep", 4, sentence="nan")
    said = told(train, [dev], [keep], capsys)
    assert f"{train}:2: duplicate: the same clip and text as {train}:1" in said
    assert f"{dev}:1: is empty" in said
    assert f"{keep}:1: the text is" in said


def test_one_manifest_as_two_sets_is_told_once_and_not_clip_by_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train = clips(tmp_path, "train", 1, 2)
    said = told(train, [train], [], capsys)
    assert "--dev" in said
    assert "--train" in said
    assert "the same clip" not in said
