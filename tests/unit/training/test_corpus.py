"""What is told of the sets that a run learns from, is scored on and is to keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from finetuning import quick_run
from finewhisper import manifest
from finewhisper.errors import ManifestError
from finewhisper.manifest import Utterance
from finewhisper.scoring.sets import SpeechSet
from finewhisper.training import corpus
from finewhisper.training.batches import Window
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.dataset import SpeechDataset
from finewhisper.training.labels import Labeller
from finewhisper.training.run import run
from finewhisper.vocabulary import Vocabulary


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


@pytest.mark.parametrize("workers", [0, 2])
def test_of_a_large_corpus_sound_is_checked_while_it_is_learnt_from(
    workers: int, random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(corpus, "DECODED_FIRST_S", 0.0)
    train = speech_folder / "train.jsonl"
    utterances = manifest.read(train)
    bad = [utterances[1].path, utterances[4].path]
    for path, length in zip(bad, map(manifest.Utterance.length_s, (utterances[1], utterances[4])), strict=True):
        soundfile.write(path, np.zeros(round(length * 16_000)), 16_000)  # silence, with a sentence: the headers are right
    with pytest.raises(ManifestError) as raised:
        run(quick_run(speech_folder, random_model, epochs=1, workers=workers))
    assert "2 clips cannot be used; correct these lines and begin again, or leave them out with --skip-bad --resume" in str(raised.value)
    assert all(f"{train}:{line}: {path}: is digital silence" in str(raised.value) for line, path in zip((2, 5), bad, strict=True))
    capsys.readouterr()
    result = run(quick_run(speech_folder, random_model, epochs=2, skip_bad=True, workers=workers, output=speech_folder / "other"))
    said = capsys.readouterr().err
    assert result.steps == 4
    assert [said.count(f"{train}:{line}: {path}: is digital silence") for line, path in zip((2, 5), bad, strict=True)] == [1, 1]


def test_a_window_without_a_usable_clip_is_noise_in_which_nobody_speaks(random_model: Path, speech_folder: Path) -> None:
    utterances = manifest.read(speech_folder / "train.jsonl")[:2]
    utterances[0].path.write_bytes(b"not audio")
    dataset = SpeechDataset(utterances, Labeller(Vocabulary.load(random_model), languages=("en",)))
    alone, both = dataset[Window((0,), 300, 1)], dataset[Window((0, 1), 600, 1)]
    assert [row for row, _ in alone.faults] == [row for row, _ in both.faults] == [0]
    assert alone.waveform.any()
    assert len(alone.labels.inputs) < len(both.labels.inputs)
    assert len(dataset[Window((1,), 600, 1)].labels.inputs) == len(both.labels.inputs)
