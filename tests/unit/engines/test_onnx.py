"""What is onnxruntime's own: loading, damaged folders, and the same tokens as transformers. The rest is in the contract suite."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from finewhisper import audio
from finewhisper.engines import load_engine
from finewhisper.engines.base import Features
from finewhisper.engines.onnx import OnnxEngine
from finewhisper.errors import MissingExtraError, ModelError, UnsupportedError
from finewhisper.features import log_mel, pad_samples
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def small(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights with base's vocabulary."""
    from finewhisper.conversion import to_onnx

    folder = tmp_path_factory.mktemp("small") / "model"
    folder.mkdir()
    to_onnx.write(ModelFolder.open(random_model), folder, "float32")
    return folder


@pytest.fixture
def copy(small: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small, tmp_path / "model")


def load(folder: Path, **options: str) -> OnnxEngine:
    engine = load_engine(ModelFolder.open(folder), **({"device": "cpu"} | options))
    assert isinstance(engine, OnnxEngine)
    return engine


@pytest.fixture(scope="module")
def speech(data: Path) -> Features:
    """Two clips of speech over the full window, in one batch."""
    clips = [audio.read(data / "en_misc" / "audio" / f"{name}.opus") for name in ("jfk", "LJ001-0002")]
    return np.stack([log_mel(pad_samples(clip, 3000), 80) for clip in clips])


@pytest.mark.parametrize(("beam_size", "timestamps"), [(1, True), (1, False), (3, True)])
def test_the_float32_copy_writes_the_tokens_that_transformers_writes(
    tiny_en_model: Path, tiny_en_onnx_model: Path, speech: Features, beam_size: int, timestamps: bool
):
    engines = [load_engine(ModelFolder.open(folder), device="cpu") for folder in (tiny_en_model, tiny_en_onnx_model)]
    options = DecodeOptions(beam_size=beam_size, timestamps=timestamps)
    prompt = engines[0].vocabulary.prompt("en", timestamps=timestamps)
    expected, found = ([*engine._generate(speech, [prompt, prompt], 60, options)] for engine in engines)
    assert len(expected[0].tokens) > 20
    for one, other in zip(expected, found, strict=True):
        assert other.tokens == one.tokens
        assert other.no_speech_prob == pytest.approx(one.no_speech_prob, abs=1e-4)
        assert other.avg_logprob == pytest.approx(one.avg_logprob, abs=1e-3)


@pytest.fixture(scope="module")
def small_sherpa(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights in the layout of sherpa-onnx."""
    from finewhisper.conversion import to_onnx

    folder = tmp_path_factory.mktemp("small-sherpa") / "model"
    folder.mkdir()
    to_onnx.write(ModelFolder.open(random_model), folder, "float32", "sherpa-onnx")
    return folder


@pytest.mark.parametrize("layout", ["small", "small_sherpa"])
@pytest.mark.parametrize("beam_size", [1, 4])
def test_rows_of_every_layout_keep_their_own_past(request: pytest.FixtureRequest, random_model: Path, layout: str, beam_size: int):
    """Clips of one batch differ in loudness and language; random weights write different tokens for them where beams have the choice."""
    features = np.random.default_rng(0).normal(0, 1, (3, 80, 100)).astype(np.float32) * np.array([0.1, 1, 5], np.float32)[:, None, None]
    engines = [load_engine(ModelFolder.open(folder), device="cpu") for folder in (random_model, request.getfixturevalue(layout))]
    prompts = [engines[0].vocabulary.prompt(code, timestamps=False) for code in ("bg", "zh", "en")]
    options = DecodeOptions(timestamps=False, beam_size=beam_size)
    expected, found = (engine._generate(features, prompts, 15, options) for engine in engines)
    assert beam_size == 1 or len({one.tokens for one in expected}) == 3
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    np.testing.assert_allclose(engines[1].encode(features), engines[0].encode(features), atol=1e-5)


def test_a_long_prompt_is_fed_in_pieces_and_gives_the_same(random_model: Path, small: Path):
    """More tokens than are fed at once, and the start token in a later piece."""
    features = np.random.default_rng(0).normal(0, 0.5, (2, 80, 200)).astype(np.float32)
    engines = [load_engine(ModelFolder.open(folder), device="cpu") for folder in (random_model, small)]
    prompt = engines[0].vocabulary.prompt("bg", timestamps=False, previous="word " * 50)
    assert len(prompt) > 50
    expected, found = (engine._generate(features, [prompt, prompt], 20, DecodeOptions(timestamps=False)) for engine in engines)
    assert [one.tokens for one in found] == [one.tokens for one in expected]
    assert [one.no_speech_prob for one in found] == pytest.approx([one.no_speech_prob for one in expected], rel=1e-3)


def test_a_batch_is_encoded_once_for_language_and_text(small: Path, monkeypatch: pytest.MonkeyPatch):
    engine = load(small)
    encoded = []
    original = engine._run_encoder
    monkeypatch.setattr(engine, "_run_encoder", lambda features, names: encoded.append(len(features)) or original(features, names))
    engine.transcribe([np.zeros(16_000, dtype=np.float32)] * 2, DecodeOptions())
    assert encoded == [2]
    assert engine._encoded is None  # and not kept in memory


def test_precision_is_that_of_the_files(copy: Path):
    assert load(copy).precision == "float32"
    with pytest.raises(UnsupportedError, match=r"--precision int8: .* here float32"):
        load(copy, precision="int8")
    for path in list(copy.glob("onnx/*.onnx")):
        shutil.copyfile(path, path.with_name(f"{path.stem}_quantized.onnx"))
    assert load(copy, precision="int8").precision == "int8"
    assert load(copy).precision == "float32"


@pytest.mark.parametrize("device", ["tpu", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(copy: Path, device: str):
    with pytest.raises(UnsupportedError, match=f"--device {device}"):
        load(copy, device=device)


def test_cuda_without_its_library_is_refused(copy: Path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    with pytest.raises(UnsupportedError, match="onnxruntime-gpu"):
        load(copy, device="cuda")


@pytest.mark.parametrize("fails", [False, True], ids=["runs on the CPU by itself", "raises"])
def test_a_build_for_cuda_runs_on_a_machine_without(
    copy: Path, fails: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It lists the provider all the same; what counts is where the graphs run."""
    import onnxruntime

    real = onnxruntime.InferenceSession

    def session(path: str, options: onnxruntime.SessionOptions, providers: list[str], **rest: int) -> onnxruntime.InferenceSession:
        if fails and providers != ["CPUExecutionProvider"]:
            raise RuntimeError("CUDA failure 100: no CUDA-capable device is detected")
        return real(path, options, providers=["CPUExecutionProvider"], **rest)

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    engine = load(copy, device="auto")
    assert engine._device == "cpu"
    assert engine.transcribe([np.zeros(16_000, dtype=np.float32)], DecodeOptions(language="en", max_tokens_per_second=1.0))
    with pytest.raises(UnsupportedError, match=r"--device cuda: .* cannot run .*; install .* use --device cpu"):
        load(copy, device="cuda")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("part", ["encoder_model", "decoder_model_merged"])
def test_a_missing_graph_is_a_model_error(copy: Path, part: str):
    (copy / "onnx" / f"{part}.onnx").unlink()
    with pytest.raises(ModelError, match="encoder_model and decoder_model_merged"):
        load(copy)


@pytest.mark.parametrize("kept", [0, 50_000, 1_000_000])
def test_a_truncated_graph_is_a_model_error(copy: Path, kept: int):
    path = copy / "onnx" / "decoder_model_merged.onnx"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="download or convert the model again") as refused:
        load(copy)
    assert str(copy) in str(refused.value)


def test_a_tokenizer_of_another_version_is_a_model_error(copy: Path, tiny_en_model: Path):
    shutil.copyfile(tiny_en_model / "tokenizer.json", copy / "tokenizer.json")
    with pytest.raises(ModelError, match="another Whisper version"):
        load(copy)


def test_without_the_library_the_extra_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[onnx\]"):
        load(copy)
