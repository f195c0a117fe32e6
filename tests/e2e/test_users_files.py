"""Whatever a user types, nothing of theirs is written over: each of these commands once destroyed data and exited with 0."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from clips import generated_speech
from finewhisper import outputs
from finewhisper.cli import main
from finewhisper.training.trainer import SpeechTrainer

pytestmark = pytest.mark.real


def tree(folder: Path) -> dict[str, bytes]:
    """Every file with its bytes."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def made(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech in ``data``, a model of ours in ``run/model``, an adapter in ``adapter``."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "data").mkdir()
    generated_speech(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        model = outputs.atomic_folder(folder / "run" / "model")
        with model as target:
            shutil.copytree(random_model, target, dirs_exist_ok=True)
        train = ["--train", "data/train.jsonl", "--max-steps", "1", "--tracker", "none", "--device", "cpu"]
        assert main(["finetune", "run/model", *train, "-o", "adapter"]) == 0
    return folder


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to work in; the adapter's base is in it."""
    work = shutil.copytree(made, tmp_path / "work")
    card = work / "adapter" / "finewhisper.json"
    card.write_text(card.read_text().replace(str(made), str(work)))
    monkeypatch.chdir(work)
    return work


DESTRUCTIVE = [
    "convert run/model run/model --to ctranslate2 --overwrite",
    "convert run/model run --to ctranslate2 --overwrite",
    "convert run/model run/model/copy --to ctranslate2",
    "convert run/model data --to ctranslate2 --manifest data/dev.jsonl --overwrite",
    "finetune run/model --train data/train.jsonl -o run/model --overwrite",
    "finetune run/model --train data/train.jsonl -o data --overwrite",
    "finetune run/model --train data/train.jsonl -o run --overwrite",
    "evaluate run/model --manifest data/dev.jsonl -o run/model --overwrite",
    "evaluate run/model --manifest data/dev.jsonl -o run/model/evaluation",
    "evaluate run/model --manifest data/dev.jsonl -o data --overwrite",
    "evaluate run/model --manifest data/dev.jsonl data/train.jsonl -o run --overwrite",
    "merge adapter -o adapter --overwrite",
    "merge adapter -o run/model --overwrite",
    "merge adapter -o run --overwrite",
    "parity run/model --manifest data/dev.jsonl --to ctranslate2:float32 --keep run/model",
    "parity run/model --manifest data/dev.jsonl --to ctranslate2:float32 --json data/dev.jsonl",
    "prepare manifest data/train.jsonl -o data --overwrite",
    "prepare audiofolder data -o data --overwrite",
    "transcribe data/audio/clip0.wav -m run/model -o run/model",
    "finetune --config adapter/config.yaml -o adapter --overwrite",
]


@pytest.mark.parametrize("command", DESTRUCTIVE)
def test_an_output_that_is_an_input_is_refused_in_one_sentence(work: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    before = tree(work)
    capsys.readouterr()
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert "which is only to be read; choose another" in error
    assert "Traceback" not in error
    assert tree(work) == before


@pytest.mark.parametrize("name", ["config.yaml", "result.json", "finewhisper.json"])
@pytest.mark.parametrize(
    "command",
    [
        "convert run/model thesis --to ctranslate2 --overwrite",
        "finetune run/model --train data/train.jsonl -o thesis --overwrite",
        "merge adapter -o thesis --overwrite",
        "evaluate run/model --manifest data/dev.jsonl -o thesis --overwrite",
        "evaluate run/model --manifest data/dev.jsonl data/train.jsonl -o thesis --overwrite",
        "augment data/train.jsonl --augment augment.yaml -o thesis --overwrite",
        "download tiny.en -o thesis --overwrite",
    ],
)
def test_a_thesis_is_not_replaced(work: Path, capsys: pytest.CaptureFixture[str], name: str, command: str) -> None:
    (work / "thesis" / "recordings").mkdir(parents=True)
    (work / "thesis" / name).write_text("{}")
    (work / "thesis" / "recordings" / "interview.wav").write_bytes(b"RIFF")
    (work / "augment.yaml").write_text("speed: {share: 1}\n")
    before = tree(work)
    assert main(command.split()) == 2
    assert "so it cannot be told what of it finewhisper wrote" in capsys.readouterr().err
    assert tree(work) == before


def test_manifests_of_the_user_are_not_replaced_and_corrected_ones_neither(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "out").mkdir()
    (work / "out" / "train.jsonl").write_text("mine\n")
    command = ["prepare", "manifest", "data/train.jsonl", "--dev-share", "0.3", "-o", "out", "--overwrite"]
    assert main(command) == 2
    assert "train.jsonl: exists already, and prepare did not write it" in capsys.readouterr().err
    assert (work / "out" / "train.jsonl").read_text() == "mine\n"
    (work / "out" / "train.jsonl").unlink()
    assert main(command) == 0
    corrected = (work / "out" / "train.jsonl").read_text().replace("tone", "corrected tone")
    (work / "out" / "train.jsonl").write_text(corrected)
    assert main(command) == 2
    assert "train.jsonl: was changed after prepare wrote it, and is not replaced" in capsys.readouterr().err
    assert (work / "out" / "train.jsonl").read_text() == corrected


def test_every_verb_still_replaces_what_it_wrote(work: Path) -> None:
    for command in (
        "convert run/model copy --to ctranslate2 --no-verify",
        "evaluate run/model --manifest data/dev.jsonl -o evaluation --limit 1",
        "merge adapter -o merged",
        "finetune run/model --train data/train.jsonl -o adapter2 --max-steps 1 --tracker tensorboard --device cpu",
    ):
        assert main(command.split()) == 0
        assert main(command.split()) == 2, "not without --overwrite"
        assert main([*command.split(), "--overwrite"]) == 0


def test_a_model_is_not_gone_before_the_run_that_replaces_it_has_ended(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(work / "adapter")
    train = "--train data/train.jsonl --max-steps 1 --tracker none --device cpu"
    command = f"finetune run/model {train} -o adapter --overwrite".split()

    def breaks_off(self: SpeechTrainer, **options: object) -> None:
        assert tree(work / "adapter-2") == before
        raise RuntimeError("the run breaks off")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeechTrainer, "train", breaks_off)
        with pytest.raises(RuntimeError, match="breaks off"):
            main(command)
    assert tree(work / "adapter") == before, "it is back in its place"
    assert not (work / "adapter-2").exists()
    assert main(command) == 0
    assert "the earlier model stands in" in capsys.readouterr().err
    assert not (work / "adapter-2").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is killed like that there")
def test_a_training_that_was_killed_is_offered_to_be_resumed(work: Path) -> None:
    command = [sys.executable, "-m", "finewhisper", "finetune", "run/model", "--train", "data/train.jsonl", "-o", "killed"]
    command += ["--epochs", "200", "--save-steps", "1", "--device", "cpu", "--tracker", "none"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((work / "killed").glob("checkpoints/checkpoint-*/trainer_state.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = {name for name in tree(work) if name.startswith("killed/checkpoints")}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2
    assert "repeat the command with --resume to go on from its last checkpoint" in again.stderr
    assert {name for name in tree(work) if name.startswith("killed/checkpoints")} == before
