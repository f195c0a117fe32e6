"""``finewhisper augment`` from the command line: clips to listen to, and a manifest with what was done."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile

from finewhisper import manifest
from finewhisper.cli import main

SHIFTED = "shift: {probability: 1, seconds: [0.5, 0.5]}\n"


def command(folder: Path, *options: str, output: str = "examples") -> list[str]:
    return ["augment", str(folder / "train.jsonl"), "--augment", str(folder / "augment.yaml"), "-o", str(folder / output), *options]


def test_clips_are_written_beside_their_originals(speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (speech_folder / "augment.yaml").write_text(SHIFTED)
    assert main(command(speech_folder, "--count", "3")) == 0
    written = manifest.read(speech_folder / "examples" / "augmented.jsonl")
    assert manifest.check(written, speech_folder / "examples" / "augmented.jsonl", decode=True) == []
    assert len(written) == 3
    for number, example in enumerate(written, start=1):
        original = soundfile.info(speech_folder / "examples" / f"{number:03}-original.wav").duration
        assert example.path.name == f"{number:03}-augmented.wav"
        assert len(example.waveform()) / 16_000 == example.duration_s == pytest.approx(original + 0.5, abs=1e-3)
        assert example.extra["augmented"] == "shift 0.50 s"
        assert example.sentence.startswith("the tone number")
    assert "002-augmented.wav: shift 0.50 s" in capsys.readouterr().out


def test_a_seed_repeats_the_examples(speech_folder: Path) -> None:
    (speech_folder / "augment.yaml").write_text("volume: {probability: 0.7}\nspeed: {probability: 0.7}\n")
    for output, seed in (("one", "1"), ("again", "1"), ("other", "2")):
        assert main(command(speech_folder, "--seed", seed, "--count", "20", output=output)) == 0
    one, again, other = ((speech_folder / name / "augmented.jsonl").read_text() for name in ("one", "again", "other"))
    assert one == again != other
    assert len(one.splitlines()) == 8, "there are no more clips"
    assert (speech_folder / "one" / "003-augmented.wav").read_bytes() == (speech_folder / "again" / "003-augmented.wav").read_bytes()


def test_a_clip_that_chance_leaves_alone_says_so(speech_folder: Path) -> None:
    (speech_folder / "augment.yaml").write_text("shift: {probability: 0}\n")
    assert main(command(speech_folder, "--count", "1")) == 0
    assert manifest.read(speech_folder / "examples" / "augmented.jsonl")[0].extra["augmented"] == "nothing"


def test_a_mistake_leaves_nothing_behind(speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (speech_folder / "augment.yaml").write_text("shift: {probability: 2}\n")
    assert main(command(speech_folder)) == 2
    assert "augment.yaml: shift.probability: must be 1 or less, not 2" in capsys.readouterr().err
    assert not (speech_folder / "examples").exists()


def test_examples_are_replaced_only_when_asked(speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (speech_folder / "augment.yaml").write_text(SHIFTED)
    assert main(command(speech_folder)) == 0
    assert main(command(speech_folder)) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(command(speech_folder, "--overwrite", "--count", "2")) == 0
    assert len(list((speech_folder / "examples").glob("*.wav"))) == 4
