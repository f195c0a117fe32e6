"""The matrix holds the rates that evaluate finds, and says which differences are sure."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from finewhisper.cli import main
from finewhisper.conversion import to_ggml, to_onnx
from finewhisper.errors import ManifestError, UsageError
from finewhisper.evaluation.baseline import Baseline
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.run import run as evaluate
from finewhisper.evaluation.several import Compared
from finewhisper.files import sha256
from finewhisper.manifest import Utterance
from finewhisper.model import ModelCard, ModelFolder
from finewhisper.outputs import RECORD
from finewhisper.scoring.matrix import Matrix, ModelScores
from finewhisper.scoring.plot import plot
from finewhisper.scoring.rates import ErrorRate
from finewhisper.scoring.scores import Score
from finewhisper.scoring.sets import SpeechSet, read_sets, short_names


def cell(*errors: int) -> Score:
    """A set of utterances of ten words each, with so many wrong ones."""
    return Score("word", tuple(ErrorRate("word", substitutions=count, reference_units=10) for count in errors))


@pytest.fixture
def matrix() -> Matrix:
    utterances = tuple(Utterance(Path("a.wav"), "ten words", "en") for _ in range(8))
    return Matrix(
        (SpeechSet("target", utterances), SpeechSet("kept", utterances)),
        (
            ModelScores("base", "", (cell(9, 8, 9, 8, 9, 8, 9, 8), cell(1, 2, 3, 2, 1, 2, 3, 2))),
            ModelScores("tuned", "", (cell(1, 2, 1, 2, 1, 2, 1, 2), cell(2, 1, 2, 3, 2, 1, 3, 2))),
        ),
    )


def test_an_arrow_stands_where_the_difference_is_sure_and_only_there(matrix: Matrix) -> None:
    base, tuned = matrix.markdown().splitlines()[2:4]
    assert base.startswith("| base | 85.0 (")
    assert "↓" not in base
    target, kept = tuned.split("|")[2:4]
    assert target.strip().startswith("15.0 (")
    assert target.strip().endswith("↓")
    assert kept.strip().startswith("20.0 (")
    assert not set("↑↓") & set(kept)
    changes = {model["name"]: model["scores"]["target"]["change"] for model in matrix.json()["models"]}
    assert changes["base"] is None
    assert changes["tuned"][0] < -70 < changes["tuned"][1] + 1e-6


def test_the_table_for_programs_has_a_line_for_each_model_and_set(matrix: Matrix) -> None:
    rows = list(csv.DictReader(matrix.csv().splitlines()))
    assert [(row["model"], row["set"]) for row in rows] == [(model, speech) for model in ("base", "tuned") for speech in ("target", "kept")]
    assert rows[2]["percent"] == "15.0"
    assert rows[2]["errors"] == "12"


def test_the_picture_has_a_bar_for_each_model_and_set(matrix: Matrix, tmp_path: Path) -> None:
    plot(matrix, tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").read_bytes().startswith(b"\x89PNG")


def test_names_tell_paths_apart() -> None:
    assert short_names([Path("kept/es.jsonl"), Path("kept/fr.jsonl")]) == ["es", "fr"]
    assert short_names([Path("data/es/test.jsonl"), Path("data/fr/test.jsonl")]) == ["es/test", "fr/test"]


def test_words_are_counted_unless_a_script_has_none() -> None:
    words = SpeechSet("es", (Utterance(Path("a.wav"), "hola", "es"),))
    characters = SpeechSet("zh", (Utterance(Path("a.wav"), "你好", "Chinese"),))
    assert (words.unit(), characters.unit(), words.unit("character")) == ("word", "character", "character")


def test_clips_that_cannot_be_decoded_are_named(speech_folder: Path) -> None:
    (speech_folder / "audio" / "clip1.wav").write_text("this is not sound")
    with pytest.raises(ManifestError, match=r"dev\.jsonl:2:"):
        read_sets([speech_folder / "dev.jsonl"])


def test_the_command_finds_what_evaluate_finds(random_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = shutil.copytree(random_model, speech_folder / "other")
    dev, train, output = speech_folder / "dev.jsonl", speech_folder / "train.jsonl", speech_folder / "out"
    arguments = ["evaluate", str(random_model), str(other), "--manifest", str(dev), str(train), "-o", str(output), "--limit", "3"]
    assert main([*arguments, "--names", "base", "copy"]) == 0
    printed = capsys.readouterr()
    assert "dev WER" in printed.out
    assert "dev: WER|normalize:basic+spaces|decoding:greedy," in printed.out
    assert "goes away" not in printed.err
    assert {path.name for path in output.iterdir()} == {RECORD, "result.json", "matrix.csv", "matrix.md", "matrix.png"}
    models = {model["name"]: model for model in json.loads((output / "result.json").read_text())["models"]}
    expected = evaluate(EvaluateConfig(model=random_model, manifest=dev, output=speech_folder / "evaluated")).scores["WER"]
    for name in ("base", "copy"):
        assert models[name]["scores"]["dev"]["percent"] == pytest.approx(expected.rate.percent, abs=1e-3)
    assert models["copy"]["scores"]["train"]["change"] == [0, 0]
    with pytest.raises(UsageError, match=r"is a table of several models; give the -o folder of an evaluate of one"):
        Baseline.read(output)


def test_one_model_on_two_sets_is_a_table_too(random_model: Path, speech_folder: Path) -> None:
    paths = [speech_folder / "dev.jsonl", speech_folder / "train.jsonl"]
    table = evaluate(EvaluateConfig(model=random_model, manifest=paths, output=speech_folder / "out", limit=1, threads=1))
    assert isinstance(table, Compared)
    assert [score.name for score in table.matrix.rows[0].scores] == ["WER", "WER"]
    assert str(table).endswith(f"written to {speech_folder / 'out'}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["a", "b", "--baseline", "c"], "--baseline: is for one model on one manifest; with several name the earlier model first"),
        (["a", "b", "--context-sweep"], "--context-sweep: is for one model on one manifest; with several leave it out"),
        (["a", "b", "--names", "one"], "--names: 1 names for 2 models; give one for each"),
        (["a", "--names", "one"], "--names: is for a table of several models or manifests; --title names the report of one"),
        (["a", "b", "a"], "MODEL: a is given twice; give each once"),
        (["a", "b", "--names", "one", "one"], "--names: one is given twice; give each once"),
        ([], "--model: is required"),
    ],
)
def test_what_does_not_go_with_several(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *options, "--manifest", "m.jsonl", "-o", "out"]) == 2
    assert message in capsys.readouterr().err


def test_the_earlier_verb_works_and_says_what_to_type(random_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [str(random_model), "--manifest", str(speech_folder / "dev.jsonl"), "-o", str(speech_folder / "out"), "--limit", "1"]
    assert main(["compare", *arguments]) == 0
    told = capsys.readouterr().err.splitlines()[0]
    assert told == f"finewhisper compare: goes away with the next version; type: finewhisper evaluate {' '.join(arguments)}"
    assert (speech_folder / "out" / "matrix.csv").is_file()


def test_a_model_that_learnt_a_set_is_told(random_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dev, train = speech_folder / "dev.jsonl", speech_folder / "train.jsonl"
    tuned = shutil.copytree(random_model, speech_folder / "tuned")
    ModelCard(training={"manifest_sha256": sha256(train)}).write(tuned)
    paths = ["--manifest", str(dev), str(train), "-o", str(speech_folder / "out"), "--limit", "1", "--threads", "1"]
    assert main(["evaluate", str(random_model), str(tuned), *paths]) == 0
    assert capsys.readouterr().err.count(f"{tuned} was trained on this very manifest") == 1


def test_ggml_and_onnx_copies_are_evaluated_and_compared(random_model: Path, speech_folder: Path) -> None:
    copies = {"whispercpp f16": speech_folder / "ggml", "onnx float32": speech_folder / "onnx"}
    for copy in copies.values():
        copy.mkdir()
    to_ggml.write(ModelFolder.open(random_model), speech_folder / "ggml", "f16")
    to_onnx.write(ModelFolder.open(random_model), speech_folder / "onnx", "float32")
    options = ["--manifest", str(speech_folder / "dev.jsonl"), "--limit", "1", "--device", "cpu", "--threads", "1"]
    for name, copy in copies.items():
        assert main(["evaluate", str(copy), *options, "-o", str(speech_folder / name)]) == 0
        assert json.loads((speech_folder / name / "result.json").read_text())["engine"] == name
    assert main(["evaluate", *map(str, copies.values()), *options, "-o", str(speech_folder / "out")]) == 0
    models = json.loads((speech_folder / "out" / "result.json").read_text())["models"]
    assert [model["name"] for model in models] == ["ggml", "onnx"]
