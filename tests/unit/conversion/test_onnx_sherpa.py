"""The graphs in sherpa-onnx's layout against transformers' network, step by step and by place, as sherpa-onnx runs them."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from finewhisper.conversion import onnx_graph, to_onnx
from finewhisper.conversion.weights import largest_error
from finewhisper.model import ModelCard, ModelFolder
from finewhisper.vocabulary import Vocabulary

from .test_to_onnx import STEPS, TOKENS, Make, reference, sound


def export(source: Path, target: Path, quantization: Any = "float32") -> ModelFolder:
    target.mkdir()
    to_onnx.write(ModelFolder.open(source), target, quantization, "sherpa-onnx")
    return ModelFolder.open(target, "onnx")


def session(folder: ModelFolder, part: str) -> onnxruntime.InferenceSession:
    (path,) = folder.path.glob(f"sherpa-onnx/{part}*.onnx")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact sums of 8-bit products on processors without VNNI, too
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(folder: ModelFolder, features: np.ndarray, steps: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's output and the logits of all steps; inputs and outputs by their place alone."""
    cross_k, cross_v, states = session(folder, "encoder").run(None, {"mel": features})
    decoder = session(folder, "decoder")
    names = [given.name for given in decoder.get_inputs()]
    shape = [2 if size == "n_audio" else size for size in decoder.get_inputs()[1].shape]
    own_k, own_v = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    found, offset = [], 0
    for tokens in steps:
        values = [tokens, own_k, own_v, cross_k, cross_v, np.array([offset])]
        logits, own_k, own_v = decoder.run(None, dict(zip(names, values, strict=True)))
        found.append(logits)
        offset += tokens.shape[1]
    assert own_k.shape == tuple(shape)
    assert not own_k[:, :, offset:].any()
    assert own_k[:, :, :offset].any(axis=-1).all()
    return states, np.concatenate(found, axis=1)


@pytest.mark.parametrize(
    ("kind", "changes", "frames"),
    [("v2", {"encoder_layers": 1, "decoder_layers": 3}, 301), ("v3", {"num_mel_bins": 128}, 3000), ("en", {"decoder_layers": 1}, 100)],
)
def test_graphs_equal_transformers(make_random: Make, tmp_path: Path, kind: str, changes: dict[str, int], frames: int) -> None:
    source = make_random(kind, **changes)
    folder = export(source, tmp_path / "copy")
    features = sound(changes.get("num_mel_bins", 80), frames)  # sherpa-onnx gives odd numbers of frames, too
    expected, logits = reference(source, features, TOKENS)
    states, found = run(folder, features, STEPS)
    np.testing.assert_allclose(states, expected, atol=2e-5)
    np.testing.assert_allclose(found, logits, atol=1e-4)
    for path in folder.path.glob("sherpa-onnx/*.onnx"):
        onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.parametrize(("quantization", "allowed"), [("float32", 0.0), ("int8", 0.51 / 127)])
def test_every_weight_is_in_one_of_the_graphs(make_random: Make, tmp_path: Path, quantization: str, allowed: float) -> None:
    source = make_random("v2")
    folder = export(source, tmp_path / "copy", quantization)
    end = ".int8.onnx" if quantization == "int8" else ".onnx"
    assert {path.name for path in (folder.path / "sherpa-onnx").iterdir()} == {f"encoder{end}", f"decoder{end}", "tokens.txt"}
    assert largest_error(ModelFolder.open(source), folder) <= allowed


def test_weights_too_large_for_a_graph_lie_beside_it(make_random: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_graph, "INLINE_BYTES", 10_000_000)
    source = make_random("v2")
    folder = export(source, tmp_path / "copy")
    assert [path.name for path in folder.path.glob("sherpa-onnx/*_data")] == ["decoder.onnx_data"]
    np.testing.assert_allclose(run(folder, sound(80, 100), STEPS)[1], reference(source, sound(80, 100), TOKENS)[1], atol=1e-4)


@pytest.mark.parametrize("kind", ["v2", "en", "v3"])
def test_the_metadata_names_the_special_tokens(make_random: Make, vocabularies: dict[str, Vocabulary], tmp_path: Path, kind: str) -> None:
    vocabulary = vocabularies[kind]
    found = session(export(make_random(kind), tmp_path / "copy"), "encoder").get_modelmeta().custom_metadata_map
    start = "50257" if kind == "en" else f"50258,50259,{vocabulary.id('<|transcribe|>')}"
    assert found["sot_sequence"] == start
    assert found["no_timestamps"] == str(vocabulary.first_timestamp - 1)
    assert found["is_multilingual"] == str(int(kind != "en"))
    codes = found["all_language_codes"].split(",") if kind != "en" else []
    assert len(codes) == len(vocabulary.languages)
    assert ("yue" in codes) == (kind == "v3")
    assert (found["n_text_ctx"], found["n_text_state"], found["n_text_layer"], found["n_mels"]) == ("448", "64", "2", "80")


@pytest.mark.parametrize(
    ("card", "author", "language", "task"),
    [
        ({"languages": ("bg",)}, None, "bg", "transcribe"),
        ({"languages": ("bg",), "training": {"task": "translate"}}, None, "bg", "translate"),
        ({"languages": ("bg", "zh")}, "bg", None, ""),
        ({}, "hindi", "hi", "transcribe"),
        ({}, "klingon", None, ""),
    ],
    ids=["tuned on one", "translates", "tuned on two", "an author's", "no language"],
)
def test_a_model_of_one_language_says_its_whole_prompt(
    make_random: Make,
    vocabularies: dict[str, Vocabulary],
    tmp_path: Path,
    card: dict[str, Any],
    author: str | None,
    language: str | None,
    task: str,
) -> None:
    """Else sherpa-onnx would put English there."""
    source, vocabulary = make_random("v2"), vocabularies["v2"]
    folder = tmp_path / "source"
    shutil.copytree(source, folder)
    ModelCard(**card).write(folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"language": author}))
    found = session(export(folder, tmp_path / "copy"), "encoder").get_modelmeta().custom_metadata_map
    start = [vocabulary.start_of_transcript, vocabulary.languages[language or "en"], vocabulary.id(f"<|{task or 'transcribe'}|>")]
    assert found["sot_sequence"] == ",".join(map(str, start))
    assert found["is_multilingual"] == str(int(language is None))


def test_tokens_are_the_bytes_of_the_text(make_random: Make, vocabularies: dict[str, Vocabulary], tmp_path: Path) -> None:
    folder = export(make_random("v2"), tmp_path / "copy")
    lines = [line.split(" ") for line in (folder.path / "sherpa-onnx" / "tokens.txt").read_text().splitlines()]
    assert [int(index) for _, index in lines] == list(range(50257))
    content = [base64.b64decode(symbol) for symbol, _ in lines]
    text = "Добър ден, 近幾年 naïve\n"
    assert b"".join(content[token] for token in vocabularies["v2"].encode(text)).decode() == text
