"""The verb: what it refuses before any work, what it leaves behind, and what it does not."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from finewhisper.conversion import run as module
from finewhisper.conversion import to_ctranslate2, verify
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import Converted, run
from finewhisper.conversion.verify import generated_clip
from finewhisper.engines import load_engine
from finewhisper.errors import AudioError, FinewhisperError, ModelError, StorageError, UsageError, VerificationError
from finewhisper.model import Context, ModelCard, ModelFolder
from finewhisper.outputs import RECORD

pytestmark = pytest.mark.real


def convert(source: Path, target: Path, to: Any = "ctranslate2", **options: Any) -> Converted:
    return run(ConvertConfig(source=source, target=target, to=to, **options))


def test_the_copy_is_whole_says_how_it_compared_and_remembers_its_context(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Context] = []

    def spy(whole: ModelFolder, copy: ModelFolder, *rest: Any) -> Any:
        compared.append(copy.card.context)
        return original(whole, copy, *rest)

    original = verify.compare
    monkeypatch.setattr(verify, "compare", spy)
    source = tmp_path / "tuned"
    shutil.copytree(random_model, source)
    ModelCard(context=Context(trimmed=True, margin_s=0.5), languages=("bg",)).write(source)
    result = convert(source, tmp_path / "ct2", quantization="float16")
    assert {path.name for path in (tmp_path / "ct2").iterdir()} == {
        RECORD, "config.json", "finewhisper.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json",
    }  # fmt: skip
    card = ModelFolder.open(tmp_path / "ct2", "ctranslate2").card
    assert [card.context] == compared == [Context(trimmed=True, margin_s=0.5)]  # it was compared on the windows that it will hear
    assert card.languages == ("bg",)
    assert card.verification is not None
    assert card.verification["source"]["fingerprint"] == ModelFolder.open(source).fingerprint()
    assert card.verification["quantization"] == "float16"
    assert 0 < card.verification["encoder_error"] < 5e-3
    assert result.agreement is not None
    assert result.size == (tmp_path / "ct2" / "model.bin").stat().st_size
    assert "largest error of a weight" in str(result)
    assert list(tmp_path.glob(".*")) == []


def test_an_onnx_copy_is_whole_and_compared(random_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "tuned"
    shutil.copytree(random_model, source)
    ModelCard(context=Context(trimmed=True, margin_s=0.5), languages=("bg",)).write(source)
    result = convert(source, tmp_path / "copy", to="onnx", quantization="int8")
    folder = ModelFolder.open(tmp_path / "copy", "onnx")
    assert {path.name for path in (folder.path / "onnx").iterdir()} == {
        "encoder_model_quantized.onnx", "decoder_model_merged_quantized.onnx",
    }  # fmt: skip
    assert folder.card.context == Context(trimmed=True, margin_s=0.5)
    assert folder.card.verification is not None
    assert folder.card.verification["source"]["fingerprint"] == ModelFolder.open(source).fingerprint()
    assert 0 < folder.card.verification["weight_error"] <= 0.51 / 127
    assert 0 < folder.card.verification["encoder_error"] < 0.25
    assert result.size == sum(path.stat().st_size for path in (folder.path / "onnx").iterdir())
    assert {"onnx", "onnxruntime"} <= set(folder.card.versions)


def test_the_config_tells_ctranslate2_what_the_generation_config_says(random_model: Path, tmp_path: Path) -> None:
    convert(random_model, tmp_path / "ct2", verify=False)
    config = json.loads((tmp_path / "ct2" / "config.json").read_text())
    generation = json.loads((random_model / "generation_config.json").read_text())
    assert config["suppress_ids"] == generation["suppress_tokens"]
    assert config["suppress_ids_begin"] == generation["begin_suppress_tokens"]
    assert config["alignment_heads"] == [[1, 0], [1, 1]], "base's heads are not there in two layers"
    assert config["lang_ids"] == list(range(50259, 50358))
    tokens = json.loads((tmp_path / "ct2" / "vocabulary.json").read_text(encoding="utf-8"))
    assert len(tokens) == 51865
    assert tokens[50257:50260] + tokens[-1:] == ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|30.00|>"]


def test_languages_are_detected_whatever_the_generation_config_lacks(random_model: Path, tmp_path: Path) -> None:
    """CTranslate2's own converter lists no languages then, and detection finds nothing."""
    source = tmp_path / "bare"
    shutil.copytree(random_model, source)
    path = source / "generation_config.json"
    dropped = {"lang_to_id", "suppress_tokens", "begin_suppress_tokens", "alignment_heads"}
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name not in dropped}))
    convert(source, tmp_path / "ct2", verify=False)
    assert json.loads((tmp_path / "ct2" / "config.json").read_text())["alignment_heads"] == [[1, 0], [1, 1]]
    engine = load_engine(ModelFolder.open(tmp_path / "ct2"), device="cpu")
    assert len(engine.detect_languages([generated_clip().waveform])[0]) == 99


def test_given_speech_is_what_is_compared(random_model: Path, speech_folder: Path, tmp_path: Path) -> None:
    audio = (speech_folder / "audio" / "clip7.wav",)
    result = convert(random_model, tmp_path / "ct2", verify_audio=audio, manifest=speech_folder / "train.jsonl", limit=2, language="en")
    assert result.agreement is not None
    assert [clip.name for clip in result.agreement.clips] == ["clip7.wav", "clip0", "clip1"]


def test_a_ctranslate2_folder_without_a_tokenizer_comes_back(tiny_en_ct2_model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("model.bin", "config.json", "vocabulary.txt"):
        shutil.copyfile(tiny_en_ct2_model / name, bare / name)
    result = convert(bare, tmp_path / "hf", to="transformers")
    assert result.agreement is not None
    assert result.agreement.good
    assert load_engine(ModelFolder.open(tmp_path / "hf"), device="cpu").vocabulary.size == 51864
    assert sorted(path.name for path in bare.iterdir()) == ["config.json", "model.bin", "vocabulary.txt"]


def test_without_verification_nothing_is_claimed(random_model: Path, tmp_path: Path) -> None:
    result = convert(random_model, tmp_path / "ct2", verify=False)
    assert "not compared" in str(result)
    verification = ModelFolder.open(tmp_path / "ct2").card.verification
    assert verification is not None
    assert set(verification) == {"source", "quantization"}


def test_a_copy_that_differs_is_not_kept(random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"

    def write_another_model(source: ModelFolder, target: Path, quantization: Any) -> None:
        if not other.exists():
            import torch

            from finewhisper import whisper

            model = whisper.load(source)
            with torch.no_grad():
                model.model.encoder.layers[1].fc1.weight[3] += 0.5
            other.mkdir()
            whisper.save(model, source.path, other)
        original(ModelFolder.open(other), target, quantization)

    original = to_ctranslate2.write
    monkeypatch.setattr(module.to_ctranslate2, "write", write_another_model)
    with pytest.raises(VerificationError, match=r"does not say what .* so it was not kept[\s\S]*encoder 30 s[\s\S]*--verify-audio"):
        convert(random_model, tmp_path / "ct2")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def not_whisper(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "wav2vec2"}')


def adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    save_file({"weight": np.zeros(1, np.float32)}, folder / "adapter_model.safetensors")


def without_tokens(folder: Path) -> None:
    for path in (*folder.glob("*token*"), folder / "vocab.json"):
        path.unlink()


def no_pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def other_vocabulary(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 51866}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "there is no such model"),
        (without_tokens, r"put the tokenizer\.json of any Whisper of 51865 tokens"),
        (not_whisper, "type 'wav2vec2', not Whisper"),
        (adapter, "merge it first: finewhisper merge"),
        (no_pickle, r"pytorch_model\.bin: .* save it again"),
        (other_vocabulary, r"tokenizer\.json has 51865 tokens, config\.json says 51866"),
    ],
)
def test_sources_that_cannot_be_converted(random_model: Path, tmp_path: Path, spoil: Any, message: str) -> None:
    source = tmp_path / "source"
    shutil.copytree(random_model, source)
    spoil(source)
    with pytest.raises(ModelError, match=message):
        convert(source, tmp_path / "target")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"to": "transformers"}, UsageError, "is a transformers folder already"),
        ({"language": "klingon"}, ValueError, "klingon"),
        ({"verify_audio": (Path("missing.wav"),)}, AudioError, r"missing\.wav: no such file"),
        ({"manifest": Path("missing.jsonl")}, FinewhisperError, r"missing\.jsonl: no such manifest"),
    ],
)
def test_options_are_checked_before_any_work(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Any, error: type[Exception], message: str
) -> None:
    monkeypatch.setattr(module, "_write", lambda *_: pytest.fail("work was begun"))
    with pytest.raises(error, match=message):
        convert(random_model, tmp_path / "target", **options)


@pytest.mark.parametrize(
    ("to", "quantization", "message"),
    [
        ("transformers", "int8", "--to transformers takes float32 or float16"),
        ("onnx", "bfloat16", "--to onnx takes float32, float16 or int8"),
        ("onnx", "int8_float32", "--to onnx takes float32, float16 or int8"),
    ],
)
def test_a_type_that_the_format_lacks_is_refused(
    random_model: Path, tiny_en_ct2_model: Path, tmp_path: Path, to: str, quantization: str, message: str
) -> None:
    source = tiny_en_ct2_model if to == "transformers" else random_model
    with pytest.raises(UsageError, match=f"--quantization {quantization}: {message}"):
        convert(source, tmp_path / "target", to=to, quantization=quantization)


@pytest.mark.parametrize(
    ("to", "quantization", "message"),
    [
        ("ctranslate2", "float32", "--layout sherpa-onnx: is a layout of --to onnx, not of --to ctranslate2"),
        ("onnx", "float16", "--quantization float16: --to onnx --layout sherpa-onnx takes float32 or int8"),
    ],
)
def test_what_sherpa_onnx_does_not_take_is_refused(random_model: Path, tmp_path: Path, to: str, quantization: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert(random_model, tmp_path / "target", to=to, quantization=quantization, layout="sherpa-onnx")


def test_a_ctranslate2_folder_becomes_a_transformers_one_first(tiny_en_ct2_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"is a ctranslate2 folder, but transformers is needed .*--to transformers"):
        convert(tiny_en_ct2_model, tmp_path / "target", to="onnx")


def test_a_target_that_is_there_is_kept(random_model: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):  # what finewhisper did not write it does not replace
        with pytest.raises(StorageError, match="target"):
            convert(random_model, tmp_path / "target", overwrite=overwrite)
    assert (tmp_path / "target" / "thesis.txt").read_text() == "years of work"


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def test_a_pickle_beside_other_safetensors_is_never_loaded(random_model: Path, tmp_path: Path) -> None:
    """transformers would fall back to pytorch_model.bin where no model.safetensors is."""
    source = tmp_path / "source"
    shutil.copytree(random_model, source)
    (source / "model.safetensors").rename(source / "other.safetensors")
    (source / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ModelError):
        convert(source, tmp_path / "target")
    assert not (tmp_path / "sprung").exists()


def test_the_network_is_not_asked(random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: asked.append(arguments) or [])
    convert(random_model, tmp_path / "ct2", verify=False)
    convert(tmp_path / "ct2", tmp_path / "back", to="transformers", verify=False)
    assert asked == []
