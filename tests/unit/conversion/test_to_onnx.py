"""The graphs against transformers' own network, step by step as Transformers.js runs them: names, shapes, cache, types."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import load_file, save_file

from finewhisper import whisper
from finewhisper.conversion import onnx_graph, to_onnx
from finewhisper.conversion.weights import largest_error
from finewhisper.errors import MissingExtraError, ModelError
from finewhisper.model import ModelFolder

Make = Callable[..., Path]
TOKENS = np.array([[50258, 50259, 50359, 400, 1500, 17], [50258, 50262, 50358, 2000, 5, 50257]])


def export(source: Path, target: Path, quantization: Any = "float32") -> ModelFolder:
    target.mkdir()
    to_onnx.write(ModelFolder.open(source), target, quantization)
    return ModelFolder.open(target, "onnx")


def session(folder: ModelFolder, part: str) -> onnxruntime.InferenceSession:
    (path,) = folder.path.glob(f"onnx/{part}*.onnx")
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")  # exact sums of 8-bit products on processors without VNNI, too
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def encode(folder: ModelFolder, features: np.ndarray) -> np.ndarray:
    return session(folder, "encoder_model").run(["last_hidden_state"], {"input_features": features})[0]


def decode(folder: ModelFolder, states: np.ndarray, steps: list[np.ndarray]) -> tuple[np.ndarray, list[dict[str, np.ndarray]]]:
    """The logits of all steps, and what each step gave back; the caller keeps the cache, as Transformers.js does."""
    decoder = session(folder, "decoder_model_merged")
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    past = {
        declared.name: np.zeros([len(states) if size == "batch_size" else size if isinstance(size, int) else 0 for size in declared.shape],
                                types[declared.type])
        for declared in decoder.get_inputs()
        if declared.name.startswith("past")
    }  # fmt: skip
    names = [output.name for output in decoder.get_outputs()]
    logits, given = [], []
    for index, tokens in enumerate(steps):
        feeds = {"input_ids": tokens, "encoder_hidden_states": states, "use_cache_branch": np.array([index > 0]), **past}
        result = dict(zip(names, decoder.run(names, feeds), strict=True))
        logits.append(result.pop("logits"))
        given.append(result)
        for name, value in result.items():
            if index == 0 or ".decoder." in name:
                past[name.replace("present", "past_key_values")] = value
    return np.concatenate(logits, axis=1), given


def reference(source: Path, features: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The encoder's output and the logits of transformers, all tokens at once and without a cache."""
    model = whisper.load(ModelFolder.open(source)).eval()
    with torch.no_grad():
        states = model.model.encoder(torch.from_numpy(features)).last_hidden_state
        hidden = model.model.decoder(input_ids=torch.from_numpy(tokens), encoder_hidden_states=states, use_cache=False).last_hidden_state
        return states.numpy(), model.proj_out(hidden).numpy()


def sound(n_mels: int, frames: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.5, (2, n_mels, frames)).astype(np.float32)


STEPS = [TOKENS[:, :3], TOKENS[:, 3:4], TOKENS[:, 4:]]  # a prompt, one token, two at once


@pytest.mark.parametrize(
    ("kind", "changes", "frames"),
    [
        ("v2", {}, 3000),
        ("v2", {"encoder_layers": 3, "decoder_layers": 1}, 150),  # distilled
        ("en", {"decoder_attention_heads": 4}, 2),
        ("v3", {"num_mel_bins": 128, "decoder_layers": 4}, 400),  # turbo
    ],
)
def test_encoder_and_cached_decoder_equal_transformers(
    make_random: Make, tmp_path: Path, kind: str, changes: dict[str, int], frames: int
) -> None:
    source = make_random(kind, **changes)
    folder = export(source, tmp_path / "copy")
    features = sound(changes.get("num_mel_bins", 80), frames)
    states, logits = reference(source, features, TOKENS)
    np.testing.assert_allclose(encode(folder, features), states, atol=2e-5)
    found, _ = decode(folder, states, STEPS)
    assert np.abs(found - logits).max() < 1e-4
    assert np.abs(logits).max() > 0.1


@pytest.fixture(scope="module")
def source(make_random: Make) -> Path:
    return make_random("v2")


#: Processors without VNNI add 8-bit products in 16 bits, which overflow in some of onnxruntime's kernels whatever it is asked for.
INT8 = 2e-2 if torch.cpu._is_vnni_supported() else 1e-1


@pytest.mark.parametrize(("quantization", "allowed"), [("float16", 2e-3), ("int8", INT8)])
def test_fewer_bits_cost_what_they_must(source: Path, tmp_path: Path, quantization: str, allowed: float) -> None:
    folder = export(source, tmp_path / "copy", quantization)
    features = sound(80, 300)
    states, logits = reference(source, features, TOKENS)
    found = encode(folder, features)
    assert found.dtype == np.float32
    assert 1e-5 < np.sqrt(np.mean((found - states) ** 2) / np.mean(states**2)) < allowed
    found, given = decode(folder, states, STEPS)
    assert found.dtype == np.float32
    assert 1e-5 < np.sqrt(np.mean((found - logits) ** 2) / np.mean(logits**2)) < allowed
    assert given[0]["present.0.encoder.key"].dtype == (np.float16 if quantization == "float16" else np.float32)


def test_names_and_shapes_are_those_that_others_load(source: Path, tmp_path: Path) -> None:
    folder = export(source, tmp_path / "copy")
    decoder = session(folder, "decoder_model_merged")
    cache = [f"{layer}.{side}.{kind}" for layer in (0, 1) for side in ("decoder", "encoder") for kind in ("key", "value")]
    assert [given.name for given in session(folder, "encoder_model").get_inputs()] == ["input_features"]
    assert {given.name for given in decoder.get_inputs()} == {
        "input_ids", "encoder_hidden_states", "use_cache_branch", *(f"past_key_values.{name}" for name in cache),
    }  # fmt: skip
    assert [given.name for given in decoder.get_outputs()] == ["logits", *(f"present.{name}" for name in cache)]
    for declared in decoder.get_inputs():
        if declared.name.startswith("past"):  # Transformers.js makes the first, empty cache of these
            batch, heads, length, size = declared.shape
            assert (batch, heads, size) == ("batch_size", 2, 32)
            assert isinstance(length, str)


def test_later_steps_do_not_give_back_what_the_caller_has(source: Path, tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(0, 1, (2, 75, 64)).astype(np.float32)
    _, (first, later, last) = decode(export(source, tmp_path / "copy"), states, STEPS)
    for name in ("present.1.encoder.key", "present.0.encoder.value"):
        assert first[name].shape == (2, 2, 75, 32)
        assert later[name].shape == last[name].shape == (0, 2, 1, 32)
    assert last["present.1.decoder.key"].shape == (2, 2, 6, 32)


def test_int8_does_not_let_neighbours_in_a_batch_hear_each_other(source: Path, tmp_path: Path) -> None:
    folder = export(source, tmp_path / "copy", "int8")
    loud = sound(80, 200) * np.array([[[1.0]], [[50.0]]], dtype=np.float32)
    together = encode(folder, loud)
    np.testing.assert_allclose(encode(folder, loud[:1]), together[:1], atol=1e-6)
    np.testing.assert_allclose(
        decode(folder, together[:1], [TOKENS[:1]])[0], decode(folder, together, [TOKENS])[0][:1], atol=1e-6
    )  # fmt: skip


@pytest.mark.parametrize("quantization", ["float32", "float16", "int8"])
def test_graphs_are_valid_and_hold_the_embedding_once(source: Path, tmp_path: Path, quantization: str) -> None:
    folder = export(source, tmp_path / "copy", quantization)
    for path in folder.path.glob("onnx/*.onnx"):
        onnx.checker.check_model(str(path), full_check=True)
    (path,) = folder.path.glob("onnx/decoder*.onnx")
    embedding = 51865 * 64 * {"float32": 4, "float16": 2, "int8": 1}[quantization]
    assert path.stat().st_size < 1.5 * embedding


def test_weights_too_large_for_a_graph_lie_beside_it(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = export(source, tmp_path / "whole")
    assert not list(whole.path.glob("onnx/*_data"))
    monkeypatch.setattr(onnx_graph, "INLINE_BYTES", 10_000_000)
    folder = export(source, tmp_path / "copy")
    assert [path.name for path in folder.path.glob("onnx/*_data")] == ["decoder_model_merged.onnx_data"]
    assert (folder.path / "onnx" / "decoder_model_merged.onnx").stat().st_size < 200_000
    assert folder.config["transformers.js_config"]["use_external_data_format"] == {"decoder_model_merged.onnx": 1}
    states = np.random.default_rng(0).normal(0, 1, (2, 75, 64)).astype(np.float32)
    np.testing.assert_array_equal(decode(folder, states, STEPS)[0], decode(whole, states, STEPS)[0])
    assert largest_error(ModelFolder.open(source), folder) == 0
    assert folder.fingerprint() != whole.fingerprint()


@pytest.mark.parametrize(
    ("quantization", "settings"),
    [
        ("float32", {"dtype": "fp32"}),
        ("float16", {"dtype": "fp16", "kv_cache_dtype": {"fp16": "float16"}}),
        ("int8", {"dtype": "q8"}),
    ],
)
def test_the_config_tells_transformers_js_what_is_there(source: Path, tmp_path: Path, quantization: str, settings: dict[str, Any]) -> None:
    folder = export(source, tmp_path / "copy", quantization)
    assert folder.config["transformers.js_config"] == settings
    assert {path.name for path in folder.path.iterdir()} >= {
        "config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    generation = json.loads((folder.path / "generation_config.json").read_text())
    assert generation["suppress_tokens"] == [1, 2, 7]
    assert generation["lang_to_id"]["<|bg|>"] == 50292
    assert generation["max_initial_timestamp_index"] == 50


@pytest.mark.parametrize("says", [False, True])
def test_two_embeddings_stay_two(make_random: Make, tmp_path: Path, says: bool) -> None:
    """As transformers has it, whatever ``config.json`` says of two that differ."""
    source = make_random("v2", tie_word_embeddings=False)
    content = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(content | {"tie_word_embeddings": says}))
    folder = export(source, tmp_path / "copy")
    states, logits = reference(source, sound(80, 100), TOKENS)
    np.testing.assert_allclose(decode(folder, states, STEPS)[0], logits, atol=1e-4)


def test_bfloat16_is_read_without_torch(source: Path, tmp_path: Path) -> None:
    rounded = tmp_path / "rounded"
    rounded.mkdir()
    for path in source.iterdir():
        (rounded / path.name).write_bytes(path.read_bytes())
    weights = {name: weight.bfloat16() for name, weight in load_file(source / "model.safetensors").items()}
    save_file(weights, rounded / "model.safetensors", metadata={"format": "pt"})
    assert largest_error(ModelFolder.open(rounded), export(rounded, tmp_path / "copy")) == 0


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_every_weight_is_compared(source: Path, tmp_path: Path, quantization: str) -> None:
    folder = export(source, tmp_path / "copy", quantization)
    spoilt = tmp_path / "spoilt"
    spoilt.mkdir()
    for path in source.iterdir():
        (spoilt / path.name).write_bytes(path.read_bytes())
    weights = load_file(source / "model.safetensors")
    assert largest_error(ModelFolder.open(source), folder) <= (0.51 / 127 if quantization == "int8" else 0.0)
    for name in ("model.decoder.layers.1.encoder_attn.v_proj.weight", "model.encoder.embed_positions.weight", "model.encoder.conv1.bias"):
        changed = weights | {name: weights[name] + 0.02 * weights[name].abs().max()}
        save_file(changed, spoilt / "model.safetensors", metadata={"format": "pt"})
        assert largest_error(ModelFolder.open(spoilt), folder) > 0.01
    save_file(weights | {"model.decoder.extra.weight": torch.ones(3, 3)}, spoilt / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"no graph has model\.decoder\.extra\.weight"):
        largest_error(ModelFolder.open(spoilt), folder)


def test_another_network_is_refused(make_random: Make, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="gelu"):
        export(make_random("v2", activation_function="relu"), tmp_path / "copy")


def test_without_the_library_the_extra_is_named(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("finewhisper.conversion.onnx_")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delattr(name)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[onnx\]"):
        export(source, tmp_path / "copy")
