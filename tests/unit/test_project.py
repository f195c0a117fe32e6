"""The files around the package: recipes that load, a fresh reference page, a lock without addresses, versions that agree."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from finewhisper import __version__
from finewhisper.config import resolve
from finewhisper.training.augment import Augmentation
from finewhisper.training.config import FinetuneConfig

ROOT = Path(__file__).parent.parent.parent
AUGMENTATION = ROOT / "recipes" / "augment.yaml"
RECIPES = sorted(set((ROOT / "recipes").rglob("*.yaml")) - {AUGMENTATION})


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_a_valid_fine_tuning(recipe):
    given = {("model",): "models/base", ("train",): "data/train.jsonl", ("output",): "runs/example"}
    config = resolve(FinetuneConfig, "finetune", flags=given, environment={}, recipe=recipe)
    assert config.model == Path("models/base")


@pytest.mark.parametrize("with_recordings", [False, True])
def test_the_augmentation_has_every_effect(tmp_path, with_recordings):
    """As it is, and with the lines for those who have recordings of noise and rooms."""
    text = AUGMENTATION.read_text(encoding="utf-8")
    path = tmp_path / "augment.yaml"
    path.write_text(re.sub(r"^# (noise|reverb):", r"\1:", text, flags=re.MULTILINE) if with_recordings else text, encoding="utf-8")
    for name in ("noise", "rir"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "click.wav", [1.0, 0.5], 16_000)
    augmentation = Augmentation.load(path)
    off = {name for name, effect in augmentation.general if not effect.probability}
    assert off == (set() if with_recordings else {"noise", "reverb"})
    assert augmentation.sources["telephone"].resample.probability == 0.8
    assert augmentation.sources["telephone"].speed == augmentation.general.speed


def test_the_command_line_reference_is_fresh():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "cli_reference.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_lock_has_exact_versions_and_no_address():
    lines = [line for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert not [line for line in lines if not re.match(r"[a-z0-9._-]+==[\w.+!]+( ; .+)?$", line)]


def test_the_changelog_tells_of_this_version():
    assert re.search(rf"^## \[({re.escape(__version__)}|Unreleased)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_no_pickle_is_ever_loaded():
    """Weights are safetensors: unpickling a stranger's file runs a stranger's code."""
    sources = (ROOT / "src").rglob("*.py")
    assert not [
        path
        for path in sources
        if re.search(r"torch\.load\((?!.*weights_only=True)|pickle\.load|import pickle\b", path.read_text(encoding="utf-8"))
    ]
