"""The margin of silence after a clip: tried on a dev set, chosen by a stated rule, and kept with the model."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finewhisper import cli, manifest
from finewhisper.engines import load_engine
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.run import run
from finewhisper.evaluation.sweep import MARGINS_S, Sweep, Trial, store
from finewhisper.model import Context, ModelCard, ModelFolder
from finewhisper.scoring.rates import ErrorRate
from finewhisper.scoring.scores import Score


@pytest.fixture
def short_model(random_model: Path, tmp_path: Path) -> Path:
    """A small model of random weights that says it has learnt short contexts, and says more than this version knows."""
    folder = tmp_path / "short"
    shutil.copytree(random_model, folder)
    card = ModelCard(context=Context(trimmed=True, margin_s=0.75, trained_margin_s=(0.1, 2.0)), languages=("en",))
    content = card.model_dump(mode="json", exclude_none=True)
    content["context"]["from_the_future"] = 1
    (folder / "finewhisper.json").write_text(json.dumps(content | {"note": "mine"}), encoding="utf-8")
    return folder


def config(model: Path, dev: Path, **options: object) -> EvaluateConfig:
    given = {"model": model, "manifest": dev, "output": dev.parent / "out", "device": "cpu", "threads": 1, "players": 0}
    return EvaluateConfig.model_validate(given | {"context_sweep": True} | options)


@pytest.fixture
def dev(speech_folder: Path) -> Path:
    """Three clips in which so much is said that random weights are wrong in every word, whatever the context."""
    said = [replace(one, sentence="щука " * 200) for one in manifest.read(speech_folder / "dev.jsonl")]
    manifest.write(speech_folder / "long.jsonl", said)
    return speech_folder / "long.jsonl"


def test_the_margin_is_stored_and_used(short_model: Path, dev: Path) -> None:
    evaluation = run(config(short_model, dev))
    found = evaluation.sweep
    assert found is not None
    assert [trial.context.margin_s for trial in found.trials[:-1]] == sorted([*MARGINS_S, 0.75]), "the model's own is tried too"
    lengths = [trial.mean_context_s for trial in found.trials]
    assert lengths == sorted(lengths)
    assert lengths[0] == pytest.approx((0.5 + 1.0 + 1.5) / 3), "clips of 0.5, 0.79 and 1.07 s, rounded up to half seconds"
    assert (found.trials[-1].context.trimmed, lengths[-1]) == (False, 30.0)
    assert found.margin_s == 0.0

    card = json.loads((short_model / "finewhisper.json").read_text(encoding="utf-8"))
    assert card["context"]["margin_s"] == 0.0
    calibration = card["context"]["calibration"]
    assert (calibration["previous_margin_s"], calibration["utterances"], calibration["score"]) == (0.75, 3, "wer")
    assert calibration["manifest"]["path"] == str(dev)
    assert (card["context"]["from_the_future"], card["context"]["trained_margin_s"]) == (1, [0.1, 2.0])
    assert (card["note"], card["languages"]) == ("mine", ["en"])
    engine = load_engine(ModelFolder.open(short_model), device="cpu")
    assert engine.frames(np.zeros(16_000, dtype=np.float32)) == 100, "the clip and nothing after it"

    output = evaluation.config.output
    assert json.loads((output / "result.json").read_text(encoding="utf-8"))["context_sweep"]["trials"] == calibration["trials"]
    assert str(evaluation).count("chosen") == 1
    assert "Chosen: margin 0 s, the smallest that is not worse than the best (margin 0 s)" in str(evaluation)
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "Silence after a clip" in page
    assert "Error rate by margin" in page
    again = run(config(short_model, dev, context_sweep=False, overwrite=True))
    assert [row.hypothesis for row in again.rows] == [row.hypothesis for row in evaluation.rows], "scores are those of the chosen margin"
    assert again.signature("WER") == evaluation.signature("WER")


def test_a_model_that_knows_only_full_windows(random_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (random_model / "finewhisper.json").read_bytes()
    arguments = ["evaluate", str(random_model), "--manifest", str(speech_folder / "dev.jsonl"), "-o", str(speech_folder / "out")]
    assert cli.main([*arguments, "--context-sweep"]) == 2
    assert f"--context-sweep: {random_model} has not learnt short contexts" in capsys.readouterr().err
    assert (random_model / "finewhisper.json").read_bytes() == before
    assert not (speech_folder / "out").exists()


def test_a_set_without_speech(short_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    silent = [manifest.Utterance(one.path, "") for one in manifest.read(speech_folder / "dev.jsonl")]
    manifest.write(speech_folder / "silent.jsonl", silent)
    arguments = ["evaluate", str(short_model), "--manifest", str(speech_folder / "silent.jsonl"), "-o", str(speech_folder / "out")]
    assert cli.main([*arguments, "--context-sweep"]) == 2
    assert "nothing is said in" in capsys.readouterr().err


def swept(*errors: list[int]) -> Sweep:
    """Trials of some utterances of ten words with so many errors each: margins of 0, 1, 2 … s, and full windows last."""
    trials = []
    for index, counts in enumerate(errors):
        rates = tuple(ErrorRate("word", substitutions=count, reference_units=10) for count in counts)
        trials.append(Trial(Context(trimmed=index < len(errors) - 1, margin_s=index), (), 1.0, Score("word", rates), 1.0))
    return Sweep(tuple(trials))


@pytest.mark.parametrize(
    ("errors", "margin_s", "best"),
    [
        pytest.param([[9] * 20, [5] * 19 + [6], [5] * 20, [6] * 20], 1.0, 2, id="one error more in one of twenty utterances is chance"),
        pytest.param([[9] * 100, [5] * 95 + [6] * 5, [5] * 100, [6] * 100], 2.0, 2, id="always more errors, never fewer, is no chance"),
        pytest.param([[9] * 4, [7, 3, 7, 5], [5] * 4, [6] * 4], 2.0, 2, id="a tenth more in a set too small to tell"),
        pytest.param([[1] * 4, [1] * 4, [1] * 4], 0.0, 0, id="all alike"),
        pytest.param([[5] * 4, [4] * 4, [1] * 4], None, 2, id="only full windows will do"),
    ],
)
def test_rule(errors: list[list[int]], margin_s: float | None, best: int) -> None:
    found = swept(*errors)
    assert found.margin_s == margin_s
    assert found.best is found.trials[best]


def test_nothing_is_stored_where_no_margin_is_safe(short_model: Path) -> None:
    before = (short_model / "finewhisper.json").read_bytes()
    found = swept([5, 5, 5, 5], [1, 1, 1, 1])
    store(ModelFolder.open(short_model), found, {})
    assert (short_model / "finewhisper.json").read_bytes() == before
    assert "Every margin is worse" in found.conclusion
