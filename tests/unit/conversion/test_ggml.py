"""To whisper.cpp's format and back: the library's own bytes, equal weights, and clear words for what the format cannot hold."""

from __future__ import annotations

import ctypes
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from finewhisper.conversion import from_openai, to_ggml, verify
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.ggml_blocks import BLOCK_TYPES, dequantize, quantize
from finewhisper.conversion.ggml_format import _TENSOR_TYPES, FILE_TYPES, GgmlFile
from finewhisper.conversion.run import run
from finewhisper.conversion.weights import largest_error
from finewhisper.engines import load_engine
from finewhisper.errors import FinewhisperError, ModelError, UnsupportedError, UsageError
from finewhisper.formats import GGML_NAME
from finewhisper.model import Context, ModelCard, ModelFolder
from finewhisper.outputs import RECORD
from finewhisper.transcript import DecodeOptions

Make = Callable[..., Path]
AUXILIARY_FILES = ("generation_config.json", "preprocessor_config.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer.json")


def to_gg(source: Path, target: Path, quantization: str = "f16") -> ModelFolder:
    target.mkdir()
    to_ggml.write(ModelFolder.open(source), target, quantization)
    return ModelFolder.open(target, "ggml")


def to_hf(source: ModelFolder, target: Path) -> ModelFolder:
    target.mkdir()
    from_openai.write(source, target, "float32")
    return ModelFolder.open(target, "transformers")


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    """ggml itself, which pywhispercpp brings along."""
    module = pytest.importorskip("_pywhispercpp")
    found = ctypes.CDLL(module.__file__)
    if not hasattr(found, "ggml_quantize_chunk"):
        pytest.skip("this build of pywhispercpp hides ggml's functions")
    return found


@pytest.fixture(scope="module")
def matrices(tiny_en_model: Path) -> list[np.ndarray[Any, Any]]:
    """Real weights, wide ranges, blocks of zeros and of one value, and values that lie halfway between two steps."""
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(64, 64)) * np.exp(rng.normal(0, 2, (64, 1)))
    weights = load_file(tiny_en_model / "model.safetensors")
    real = [weights[f"model.{name}.weight"] for name in ("decoder.layers.3.fc1", "encoder.layers.0.self_attn.k_proj")]
    halves = rng.integers(-8, 9, (64, 64)) / 2
    return [np.ascontiguousarray(m, dtype=np.float32) for m in (*real, wide, np.zeros((2, 64)), np.full((2, 64), -0.3), halves)]


@pytest.mark.real
@pytest.mark.parametrize("name", BLOCK_TYPES)
def test_blocks_are_ggml_s_byte_for_byte(library: ctypes.CDLL, matrices: list[np.ndarray[Any, Any]], name: str) -> None:
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    block = BLOCK_TYPES[name]
    for matrix in matrices:
        theirs = np.zeros(matrix.nbytes, np.uint8)
        rows = (ctypes.c_int64(number) for number in (0, *matrix.shape))
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (matrix, theirs))
        size = library.ggml_quantize_chunk(_TENSOR_TYPES[name], *pointers, *rows, None)
        ours = quantize(matrix, block)
        assert ours.size == size
        np.testing.assert_array_equal(ours.ravel(), theirs[:size])
        read = np.zeros_like(matrix)
        getattr(library, f"dequantize_row_{name}")(
            ctypes.c_void_p(ours.ctypes.data), ctypes.c_void_p(read.ctypes.data), ctypes.c_int64(matrix.size)
        )
        np.testing.assert_allclose(dequantize(ours, block).reshape(matrix.shape), read, rtol=1e-6, atol=1e-7)


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "multilingual": ("v2", {}),
    "English-only": ("en", {}),
    "large-v3": ("v3", {"num_mel_bins": 128}),
    "turbo and distil: few decoder layers": ("v3", {"num_mel_bins": 128, "encoder_layers": 3, "decoder_layers": 1}),
    "sides with different heads": ("v2", {"decoder_attention_heads": 4}),
}


@pytest.mark.real
@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_bit_for_bit_the_same(make_random: Make, tmp_path: Path, kind: str) -> None:
    vocabulary, changes = KINDS[kind]
    source = make_random(vocabulary, **changes)
    back = to_hf(to_gg(source, tmp_path / "ggml", "f32"), tmp_path / "back").path
    before, after = load_file(source / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name], err_msg=name)
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (source, back))
    assert {name: old[name] for name in new} == new
    for name in AUXILIARY_FILES:
        assert (source / name).read_bytes() == (back / name).read_bytes(), name


@pytest.mark.real
@pytest.mark.parametrize("quantization", [*FILE_TYPES])
def test_every_type_is_read_back_as_closely_as_it_was_stored(make_random: Make, tmp_path: Path, quantization: str) -> None:
    source = make_random()
    copy = to_gg(source, tmp_path / "ggml", quantization)
    error = largest_error(ModelFolder.open(source), copy)
    assert error <= verify.bound(quantization).weight_error
    assert (error > 0) == (quantization != "f32")
    assert largest_error(to_hf(copy, tmp_path / "back"), copy) == 0
    assert GgmlFile(copy.path / GGML_NAME).stored == quantization


@pytest.mark.real
@pytest.mark.parametrize(
    ("kind", "quantization"),
    [("multilingual", "q5_1"), ("English-only", "q4_0"), ("large-v3", "q8_0"), ("turbo and distil: few decoder layers", "q5_0")],
)
def test_every_shape_and_type_runs_in_whisper_cpp(make_random: Make, tmp_path: Path, kind: str, quantization: str) -> None:
    pytest.importorskip("_pywhispercpp")
    vocabulary, changes = KINDS[kind]
    engine = load_engine(to_gg(make_random(vocabulary, **changes), tmp_path / "ggml", quantization), device="cpu", threads=1)
    assert engine.precision == quantization
    clip = verify.generated_clip().waveform[:8000]
    assert engine.transcribe([clip], DecodeOptions(language="en"))[0].duration_s == 0.5
    assert len(engine.detect_languages([clip])[0]) == {"en": 1, "v2": 99, "v3": 100}[vocabulary]


@pytest.mark.real
def test_sources_in_bfloat16_and_in_several_files(make_random: Make, tmp_path: Path) -> None:
    import torch
    from transformers import WhisperForConditionalGeneration

    whole = make_random()
    parts = tmp_path / "parts"
    shutil.copytree(whole, parts)
    (parts / "model.safetensors").unlink()
    WhisperForConditionalGeneration.from_pretrained(whole, dtype=torch.bfloat16).save_pretrained(parts, max_shard_size="4MB")
    assert len(ModelFolder.open(parts).weight_files()) > 1
    assert largest_error(ModelFolder.open(parts), to_gg(parts, tmp_path / "ggml", "f32")) == 0
    weights = WhisperForConditionalGeneration.from_pretrained(parts, dtype=torch.float32).state_dict()
    stored = GgmlFile(tmp_path / "ggml" / GGML_NAME)["decoder.blocks.1.mlp.0.weight"]
    np.testing.assert_array_equal(stored, weights["model.decoder.layers.1.fc1.weight"].numpy())


@pytest.mark.real
@pytest.mark.parametrize("fixture", ["base_model", "tiny_en_model"])
def test_a_file_by_itself_becomes_the_whole_model(request: pytest.FixtureRequest, tmp_path: Path, fixture: str) -> None:
    """All that Hugging Face folders have and the file has not is rebuilt: tokenizer, tokens to suppress, sizes."""
    source: Path = request.getfixturevalue(fixture)
    alone = tmp_path / "ggml-mine.bin"
    folder = request.getfixturevalue(fixture.replace("_model", "_ggml_model"))
    alone.symlink_to(folder / GGML_NAME)
    result = run(ConvertConfig(source=alone, target=tmp_path / "back", to="transformers", verify=False))
    assert result.size > 100e6
    back = ModelFolder.open(tmp_path / "back", "transformers")
    assert largest_error(back, ModelFolder.open(alone)) == 0
    for name in ("suppress_tokens", "begin_suppress_tokens", "decoder_start_token_id", "no_timestamps_token_id", "is_multilingual"):
        old, new = (json.loads((path / "generation_config.json").read_text()) for path in (source, back.path))
        assert new[name] == old[name], name
    assert json.loads((back.path / "vocab.json").read_text()) == json.loads((source / "vocab.json").read_text())
    assert (back.path / "merges.txt").read_bytes() == (source / "merges.txt").read_bytes()
    assert back.card.verification is not None
    assert back.card.verification["source"] | {"fingerprint": ""} == {
        "path": str(alone), "kind": "ggml", "fingerprint": "", "stored": "f16", "lossy": False,
    }  # fmt: skip


@pytest.mark.real
def test_the_verb_makes_a_folder_and_proves_it(random_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("_pywhispercpp")
    source = tmp_path / "tuned"
    shutil.copytree(random_model, source)
    ModelCard(context=Context(trimmed=True, margin_s=0.5), languages=("bg",)).write(source)
    result = run(ConvertConfig(source=source, target=tmp_path / "ggml", to="ggml"))
    assert result.quantization == "f16"
    assert result.agreement is not None
    assert result.agreement.clips
    assert result.agreement.encoder_error is None
    assert result.size == (tmp_path / "ggml" / GGML_NAME).stat().st_size
    names = {path.name for path in (tmp_path / "ggml").iterdir()}
    assert names == {RECORD, GGML_NAME, "generation_config.json", "tokenizer.json", "finewhisper.json"}
    card = ModelFolder.open(tmp_path / "ggml", "ggml").card
    assert card.context == Context(trimmed=True, margin_s=0.5)
    rounded = run(ConvertConfig(source=source, target=tmp_path / "q5", to="ggml", quantization="q5_0"))
    assert rounded.agreement is not None
    assert 0 < rounded.agreement.weight_error <= 1.01 / 16
    run(ConvertConfig(source=tmp_path / "q5", target=tmp_path / "back", to="transformers"))
    verification = ModelFolder.open(tmp_path / "back", "transformers").card.verification
    assert verification is not None
    assert (verification["source"]["stored"], verification["source"]["lossy"]) == ("q5_0", True)


@pytest.mark.real
def test_what_whisper_cpp_cannot_run_is_proved_by_its_weights(random_model: Path, tmp_path: Path) -> None:
    result = run(ConvertConfig(source=random_model, target=tmp_path / "ggml", to="ggml", quantization="f32"))
    assert result.agreement is not None
    assert result.agreement.good
    assert "the weights alone" in str(result)


def untied(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"proj_out.weight": weights["model.decoder.embed_tokens.weight"] + 1}, folder / "model.safetensors")


def added_token(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append(content["added_tokens"][-1] | {"id": 51865, "content": "<|mine|>"})
    (folder / "tokenizer.json").write_text(json.dumps(content))


def other_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_mel_bins": 128}))


def without_a_tensor(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.decoder.layers.1.fc2.bias"]
    save_file(weights, folder / "model.safetensors")


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


@pytest.mark.real
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (untied, UnsupportedError, "output matrix of its own"),
        (added_token, ModelError, "51866 tokens|models with added tokens"),
        (other_shape, ModelError, r"conv1\.weight has shape"),
        (without_a_tensor, ModelError, r"have no model\.decoder\.layers\.1\.fc2\.bias"),
        (cut, ModelError, "is damaged or cut short"),
    ],
)
def test_sources_that_the_format_cannot_hold(
    random_model: Path, tmp_path: Path, spoil: Callable[[Path], None], error: type[FinewhisperError], message: str
) -> None:
    source = tmp_path / "source"
    shutil.copytree(random_model, source)
    spoil(source)
    with pytest.raises(error, match=message):
        run(ConvertConfig(source=source, target=tmp_path / "target", to="ggml", verify=False))
    assert not (tmp_path / "target").exists()


@pytest.mark.real
def test_widths_that_blocks_do_not_fit_are_refused(make_random: Make, tmp_path: Path) -> None:
    odd = make_random(d_model=48, encoder_ffn_dim=192, decoder_ffn_dim=192)
    with pytest.raises(UnsupportedError, match="48 wide, and blocks of 32 do not fit; use f16"):
        to_gg(odd, tmp_path / "q8", "q8_0")
    assert largest_error(ModelFolder.open(odd), to_gg(odd, tmp_path / "f16")) <= 2**-11
    narrow = make_random(decoder_ffn_dim=128)
    with pytest.raises(ModelError, match="four times as wide"):
        to_gg(narrow, tmp_path / "narrow")


@pytest.mark.real
@pytest.mark.parametrize(
    ("to", "quantization", "message"),
    [
        ("ggml", "int8", "--quantization int8: --to ggml takes f16, f32, q8_0, q5_0, q5_1 or q4_0"),
        ("ctranslate2", "q8_0", "--quantization q8_0: --to ctranslate2 takes float32, .* or int16"),
    ],
)
def test_types_belong_to_their_kind(random_model: Path, tmp_path: Path, to: Any, quantization: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(ConvertConfig(source=random_model, target=tmp_path / "target", to=to, quantization=quantization))


@pytest.mark.real
def test_damaged_files_are_named(random_model: Path, tmp_path: Path) -> None:
    whole = (to_gg(random_model, tmp_path / "ggml").path / GGML_NAME).read_bytes()
    path = tmp_path / "ggml-mine.bin"
    for content in (whole[:-1], whole[:100], whole[:10], whole + b"\0"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"ggml-mine\.bin: is not a whole ggml model"):
            GgmlFile(path)
    path.write_bytes(whole[:44] + b"\x18\0\0\0" + whole[48:])  # a type that whisper.cpp may learn one day
    with pytest.raises(ModelError, match="ggml's type number 24"):
        GgmlFile(path)
    path.write_bytes(whole[:4] + (51867).to_bytes(4, "little") + whole[8:])
    with pytest.raises(ModelError, match="51867 tokens"):
        GgmlFile(path)


@pytest.mark.real
def test_only_some_verbs_take_a_file(random_model: Path, tmp_path: Path) -> None:
    path = to_gg(random_model, tmp_path / "ggml").path / GGML_NAME
    with pytest.raises(
        ModelError, match=r"is a ggml folder, but ctranslate2 is needed here; .*ggml/ggml-model-transformers --to transformers"
    ):
        ModelFolder.open(path, "ctranslate2")
    (tmp_path / "notes.bin").write_bytes(b"notes")
    with pytest.raises(ModelError, match=r"notes\.bin: is a file, not a model folder"):
        ModelFolder.open(tmp_path / "notes.bin")
