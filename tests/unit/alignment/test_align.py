"""The heads that are found tell times better than the ones everybody takes when none are known, and go where tools look for them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finewhisper.alignment import run as module
from finewhisper.alignment.attention import Listener
from finewhisper.alignment.config import AlignConfig
from finewhisper.alignment.run import choose, measure, run
from finewhisper.alignment.windows import windows
from finewhisper.audio import TIMESTAMP_STEP_S, WINDOW_FRAMES
from finewhisper.cli import main
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import run as convert
from finewhisper.engines.word_times import path_starts
from finewhisper.errors import ManifestError
from finewhisper.features import log_mel, pad_samples
from finewhisper.generation import known_alignment_heads
from finewhisper.manifest import read, write
from finewhisper.merging import MergeConfig
from finewhisper.merging import run as merge
from finewhisper.model import ModelFolder


@pytest.mark.real
def test_heads_of_real_weights_on_real_speech(base_model: Path, data: Path) -> None:
    """Spoken digits, joined: every joint is the boundary of a word."""
    folder = ModelFolder.open(base_model)
    listener = Listener(folder)
    choosing, measuring = windows(read(data / "fsdd_en_digits" / "manifest.jsonl")[::3], listener.vocabulary, "en", 2)
    default = tuple((layer, head) for layer, head in known_alignment_heads(None, folder.config))
    openai = tuple((layer, head) for layer, head in json.loads((base_model / "generation_config.json").read_text())["alignment_heads"])
    chosen = choose(listener, [choosing], default)
    ours, everybodys, theirs = measure(listener, [measuring], [chosen, default, openai])
    assert len(ours.errors_s) > 40
    assert ours.mean_s < 0.95 * everybodys.mean_s, (ours, everybodys)
    assert ours.mean_s < 1.1 * theirs.mean_s, (ours, theirs)


@pytest.mark.real
def test_ctranslate2_finds_the_same_times_with_the_heads_that_convert_took_along(tiny_en_model: Path, data: Path, tmp_path: Path) -> None:
    """So what is measured here is what faster-whisper and others will show."""
    import ctranslate2

    convert(ConvertConfig(source=tiny_en_model, target=tmp_path / "ct2", to="ctranslate2", verify=False))
    heads = json.loads((tmp_path / "ct2" / "config.json").read_text())["alignment_heads"]
    listener = Listener(ModelFolder.open(tiny_en_model))
    (window,) = windows(read(data / "fsdd_en_digits" / "manifest.jsonl")[:8], listener.vocabulary, "en", 1)
    ours = np.array(path_starts(listener.attention(window, sorted(map(tuple, heads))).mean(axis=0, dtype=np.float64)))

    features = log_mel(pad_samples(window.waveform, WINDOW_FRAMES), 80)[np.newaxis]
    model = ctranslate2.models.Whisper(str(tmp_path / "ct2"), device="cpu", intra_threads=1)
    start = [listener.vocabulary.start_of_transcript]
    found = model.align(
        ctranslate2.StorageView.from_array(features), start, [list(window.tokens)], 2 * round(window.duration_s / TIMESTAMP_STEP_S)
    )
    theirs = dict(reversed(found[0].alignments))  # the first moment of each token
    moments = [theirs[token] * TIMESTAMP_STEP_S for token in range(len(window.tokens))]
    apart_s = np.abs(ours[: len(window.tokens)] - moments)
    assert apart_s.max() <= 0.1, "paths that are about as good may differ by a few positions"
    assert np.median(apart_s) <= TIMESTAMP_STEP_S + 1e-6


def test_what_is_found_is_written_where_tools_look(
    random_model: Path, speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_model, folder)
    write(tmp_path / "clips.jsonl", read(speech_folder / "train.jsonl") * 6)
    monkeypatch.setattr(module, "choose", lambda *_: ((0, 1), (1, 0)))  # what a random model finds says nothing
    result = run(AlignConfig(model=folder, manifest=tmp_path / "clips.jsonl", threads=1))
    written = json.loads((folder / "generation_config.json").read_text())
    assert written["alignment_heads"] == [[0, 1], [1, 0]]
    assert written["lang_to_id"], "all else stays"
    assert "heads: 0.1, 1.0" in str(result)
    record = ModelFolder.open(folder).card.model_dump()["alignment"]
    assert record["after"]["heads"] == [[0, 1], [1, 0]]
    assert record["after"]["mean_error_s"] == pytest.approx(result.alignment.after.mean_s, abs=1e-4)
    convert(ConvertConfig(source=folder, target=tmp_path / "ct2", to="ctranslate2", verify=False))
    assert json.loads((tmp_path / "ct2" / "config.json").read_text())["alignment_heads"] == [[0, 1], [1, 0]]


def test_a_dry_run_writes_nothing_and_clips_without_known_moments_are_refused(
    random_model: Path, speech_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(random_model, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write(tmp_path / "clips.jsonl", read(speech_folder / "train.jsonl") * 6)
    assert main(["align", str(folder), "--manifest", str(tmp_path / "clips.jsonl"), "--dry-run", "--threads", "1"]) == 0
    printed = capsys.readouterr()
    assert "mean error" in printed.out
    assert "nothing was written" in printed.out
    assert printed.err.startswith("finewhisper align: goes away with the next version; type: finewhisper convert MODEL COPY ")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    write(tmp_path / "one.jsonl", read(speech_folder / "train.jsonl")[:1])
    assert main(["align", str(folder), "--manifest", str(tmp_path / "one.jsonl")]) == 2
    assert "0 windows with a known moment, two are needed" in capsys.readouterr().err


HEADS = ((0, 1), (1, 0))


@pytest.fixture
def clips(speech_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of clips that chooses certain heads, for what a random model finds says nothing."""
    monkeypatch.setattr(module, "choose", lambda *_: HEADS)
    write(tmp_path / "clips.jsonl", read(speech_folder / "train.jsonl") * 6)
    return tmp_path / "clips.jsonl"


@pytest.mark.parametrize(
    ("kind", "name"), [("ctranslate2", "config.json"), ("ggml", "generation_config.json"), ("onnx", "generation_config.json")]
)
def test_convert_chooses_heads_for_the_copy(
    random_model: Path, clips: Path, tmp_path: Path, kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (random_model / "generation_config.json").read_bytes()
    copy = tmp_path / "copy"
    assert main(["convert", str(random_model), str(copy), "--to", kind, "--align", str(clips), "--no-verify"]) == 0
    assert "heads: 0.1, 1.0" in capsys.readouterr().out
    content = json.loads((copy / name).read_text())
    assert tuple(map(tuple, content["alignment_heads"])) == HEADS
    assert len(content) > 1, "all else stays"
    assert ModelFolder.open(copy).card.model_dump()["alignment"]["after"]["heads"] == [list(head) for head in HEADS]
    assert (random_model / "generation_config.json").read_bytes() == before


def test_a_copy_that_becomes_a_transformers_folder_is_listened_to_itself(random_model: Path, clips: Path, tmp_path: Path) -> None:
    convert(ConvertConfig(source=random_model, target=tmp_path / "ct2", to="ctranslate2", verify=False))
    back = convert(ConvertConfig(source=tmp_path / "ct2", target=tmp_path / "back", to="transformers", align=clips, verify=False))
    assert back.alignment is not None
    assert json.loads((tmp_path / "back" / "generation_config.json").read_text())["alignment_heads"] == [list(head) for head in HEADS]


def test_merge_chooses_heads_for_a_full_model_too(random_model: Path, clips: Path, tmp_path: Path) -> None:
    merged = merge(MergeConfig(models=random_model, base=random_model, output=tmp_path / "merged", align=clips))
    assert "heads: 0.1, 1.0" in str(merged)
    assert json.loads((tmp_path / "merged" / "generation_config.json").read_text())["alignment_heads"] == [list(head) for head in HEADS]
    assert ModelFolder.open(tmp_path / "merged").card.model_dump()["alignment"]["after"]["heads"] == [list(head) for head in HEADS]


@pytest.mark.parametrize("command", ["convert {model} {folder}/out --to ctranslate2", "merge {model} -o {folder}/out"])
def test_a_manifest_that_is_not_there_is_told_before_any_work(
    command: str, random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("finewhisper.conversion.run._write", "finewhisper.merging._merge"):
        monkeypatch.setattr(place, lambda *_: pytest.fail("work was begun"))
    base = ["--base", str(random_model)] if command.startswith("merge") else []
    assert main([*command.format(model=random_model, folder=tmp_path).split(), "--align", str(tmp_path / "gone.jsonl"), *base]) == 2
    assert "gone.jsonl" in capsys.readouterr().err


def test_too_little_speech_leaves_no_copy(random_model: Path, speech_folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "one.jsonl", read(speech_folder / "train.jsonl")[:1])
    options = {"source": random_model, "target": tmp_path / "copy", "to": "ctranslate2", "align": tmp_path / "one.jsonl", "verify": False}
    with pytest.raises(ManifestError, match="0 windows with a known moment, two are needed"):
        convert(ConvertConfig.model_validate(options))
    assert not (tmp_path / "copy").exists()


def test_the_largest_number_of_heads_that_is_as_good_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single head that is better by luck is not: other speech will have other luck."""

    class Two:
        heads = ((0, 0), (0, 1))

    rng = np.random.default_rng(0)

    def found(_: object, heard: object, choices: list[object], name: str) -> np.ndarray:
        means = {"each head": [0.10, 0.11], "heads together": [0.10, second, 0.30]}[name]
        return np.array(means)[:, np.newaxis] + 0.02 * rng.standard_normal((len(choices), 50))

    monkeypatch.setattr(module, "_errors", found)
    second = 0.101
    assert choose(Two(), [], ((5, 5),)) == ((0, 0), (0, 1))
    second = 0.15
    assert choose(Two(), [], ((5, 5),)) == ((0, 0),)
