"""The table counts what differs, holds copies to their bars, and makes copies itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import finewhisper.parity.run as module
from finewhisper.cli import main
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import run as convert
from finewhisper.engines import Engine, load_engine
from finewhisper.errors import StorageError
from finewhisper.manifest import read, write
from finewhisper.model import ModelFolder
from finewhisper.parity.config import Copy, ParityConfig
from finewhisper.parity.result import Difference, Heard, Parity
from finewhisper.parity.run import run
from finewhisper.scoring.rates import ErrorRate
from finewhisper.scoring.scores import Score


def heard(precision: str, texts: list[str], wrong: int) -> Heard:
    """Four utterances of 50 words each, with so many wrong words in the first."""
    rates = tuple(ErrorRate("word", substitutions=count, reference_units=50) for count in (wrong, 0, 0, 0))
    return Heard(f"a {precision}", "engine", precision, tuple(texts), Score("word", rates, "WER|normalize:x|finewhisper 1"), 1.5, 2_000_000)


SOURCE = heard("float32", ["one", "two", "three", "four"], 10)


@pytest.mark.parametrize(
    ("precision", "texts", "wrong", "differing", "met"),
    [
        ("float32", ["one", "two", "three", "four"], 10, 0, True),
        ("f32", ["one", "two", "three", "four."], 10, 1, False),
        ("int8", ["one", "too", "three", "for"], 10, 2, True),
        ("int8_float16", ["one", "too", "three", "for"], 11, 2, True),
        ("q8_0", ["one", "too", "three", "for"], 12, 2, False),
        ("q8_0", ["one", "too", "three", "for"], 8, 2, False),
        ("q5_0", ["1", "2", "3", "4"], 50, 4, True),
    ],
)
def test_bars_by_precision(precision: str, texts: list[str], wrong: int, differing: int, met: bool) -> None:
    found = Difference(heard(precision, texts, wrong), SOURCE)
    assert (found.utterances, found.met) == (differing, met)
    assert found.json()["utterances_differing"] == differing
    assert found.json()["error"] == pytest.approx(wrong / 2)
    assert found.json()["source_error"] == 5.0


def test_the_table_has_a_line_for_each_copy() -> None:
    parity = Parity(SOURCE, (heard("int8", ["one", "two", "three", "fore"], 12), heard("q5_0", ["one"] * 4, 30)))
    headings, source, eight, five, signature = str(parity).splitlines()
    assert "WER %" in headings
    assert source.split()[-2:] == ["–", "–"]
    assert "1 of 4   6.00      5.00" in eight
    assert eight.endswith("MISSED: within 0.5 points")
    assert "3 of 4" in five
    assert signature == "WER|normalize:x|finewhisper 1"
    assert parity.missed == ["a int8"]
    assert not parity.json()["met"]


def test_kinds_are_made_in_the_precisions_worth_showing() -> None:
    config = ParityConfig(models=(Path("a"),), manifest=Path("m"), to=("ctranslate2", "ctranslate2:int8", "ctranslate2:int16"))
    assert config.copies == [Copy("ctranslate2", precision) for precision in ("float32", "int8", "int16")]
    assert ParityConfig(models=(Path("a"),), manifest=Path("m"), to="ctranslate2:int8, ctranslate2").copies[0].name == "ctranslate2-int8"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model"], "there is nothing to compare the model with"),
        (["model", "--to", "tflite"], "--to: there is no kind 'tflite'; the kinds are transformers, ctranslate2, ggml"),
        (["model", "--to", "ctranslate2:int3"], "--to: ctranslate2:int3: must be 'float32'"),
        (["model", "copy", "--keep", "folder"], "--keep: keeps the copies that --to makes"),
    ],
)
def test_what_cannot_be_compared_is_said_before_any_work(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", *arguments, "--manifest", "m.jsonl"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.real
def test_copies_of_real_weights_on_real_speech(tiny_en_model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made, compared, kept, written down; then compared again as folders, one of them wrong."""
    speech = data / "en_misc" / "manifest.jsonl"
    short = [utterance for utterance in read(speech) if utterance.length_s() < 4][:4]
    write(tmp_path / "speech.jsonl", short)
    options = ["--manifest", str(tmp_path / "speech.jsonl"), "--threads", "1", "--require", "--json", str(tmp_path / "figures.json")]
    assert main(["parity", str(tiny_en_model), "--to", "ctranslate2:float32", "--keep", str(tmp_path / "kept"), *options]) == 0
    printed = capsys.readouterr().out
    assert "ctranslate2-float32" in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    (copy,) = figures["copies"]
    assert {name: copy[name] for name in ("engine", "precision", "utterances_differing", "utterances", "met")} == {
        "engine": "ctranslate2", "precision": "float32", "utterances_differing": 0, "utterances": 4, "met": True,
    }  # fmt: skip
    assert copy["error"] == copy["source_error"] < 50
    assert copy["bytes"] > 150_000_000
    assert figures["signature"] in printed

    other = tmp_path / "other"
    shutil.copytree(tmp_path / "kept" / "ctranslate2-float32", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"suppress_ids": list(range(220, 20_000))}))
    assert main(["parity", str(tiny_en_model), str(other), *options]) == 2
    assert "1 of 1 copies are not what is expected: other" in capsys.readouterr().err
    assert json.loads((tmp_path / "figures.json").read_text())["copies"][0]["utterances_differing"] == 4


def test_nothing_is_left_of_copies_that_are_not_kept(
    random_model: Path, speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = run(ParityConfig(models=(random_model,), manifest=speech_folder / "dev.jsonl", to=("ctranslate2:int8",), limit=2, threads=1))
    assert [copy.name for copy in result.copies] == ["ctranslate2-int8"]
    assert len(result.source.texts) == 2
    assert "first:2" in result.signature
    assert list(tmp_path.glob("finewhisper-parity-*")) == []


def test_every_copy_gets_the_windows_of_the_source(random_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy without finewhisper.json would be given 30 s, and then it is not the copy that makes the difference."""
    from finewhisper.model import Context, ModelCard

    tuned, copy = speech_folder / "tuned", speech_folder / "copy"
    shutil.copytree(random_model, tuned)
    ModelCard(context=Context(trimmed=True, margin_s=0.5)).write(tuned)
    convert(ConvertConfig(source=tuned, target=copy, to="ctranslate2", verify=False))
    (copy / "finewhisper.json").unlink()
    result = run(ParityConfig(models=(tuned, copy), manifest=speech_folder / "dev.jsonl", threads=1))
    assert result.copies[0].texts == result.source.texts
    assert "context:trimmed+0.5s" in result.signature
    assert "names other windows" in capsys.readouterr().err


def test_off_the_cpu_each_model_computes_in_what_it_is_stored_in(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU would compute all of them in float16, if it were left the choice."""
    asked: list[tuple[str, str]] = []

    def watched(folder: ModelFolder, *, precision: str = "auto", **options: Any) -> Engine:
        asked.append((folder.path.name, precision))
        return load_engine(folder, precision=precision, **options)

    monkeypatch.setattr(module, "load_engine", watched)
    kinds = ("ctranslate2:float32", "ctranslate2:float16", "onnx:float32")
    config = ParityConfig(models=(random_model,), manifest=speech_folder / "dev.jsonl", to=kinds, limit=1, threads=1, device="auto")
    result = run(config)
    assert asked[:3] == [(random_model.name, "float32"), ("ctranslate2-float32", "float32"), ("ctranslate2-float16", "float16")]
    assert asked[-1] == ("onnx-float32", "auto")
    if not torch.cuda.is_available():
        assert asked[3] == ("ctranslate2-float16", "auto")  # a CPU cannot compute in it
    assert len(result.copies) == 3


def test_a_folder_of_copies_is_not_written_over(random_model: Path, speech_folder: Path) -> None:
    taken = speech_folder / "kept" / "ctranslate2-int8"
    taken.mkdir(parents=True)
    (taken / "thesis.txt").write_text("years of work")
    config = ParityConfig(
        models=(random_model,), manifest=speech_folder / "dev.jsonl", to=("ctranslate2:int8",), keep=speech_folder / "kept"
    )
    with pytest.raises(StorageError, match="ctranslate2-int8"):
        run(config)


def test_figures_replace_nobody_elses_file(random_model: Path, speech_folder: Path) -> None:
    for content in ("notes", "[1]", '{"mine": 1}'):
        (speech_folder / "figures.json").write_text(content, encoding="utf-8")
        given = {
            "models": [random_model],
            "to": ["ctranslate2:int8"],
            "manifest": speech_folder / "dev.jsonl",
            "figures": speech_folder / "figures.json",
        }
        with pytest.raises(StorageError, match=r"--json .*figures\.json: is there already, and parity did not write it"):
            run(ParityConfig.model_validate(given))
        assert (speech_folder / "figures.json").read_text(encoding="utf-8") == content
