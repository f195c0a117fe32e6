"""What is CTranslate2's own: loading, damaged folders, and its way of counting tokens and scores. The rest is in the contract suite."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import ctranslate2
import numpy as np
import pytest

from finewhisper import audio
from finewhisper.engines import load_engine
from finewhisper.engines.base import Features
from finewhisper.engines.ct2 import CTranslate2Engine
from finewhisper.errors import MissingExtraError, ModelError, UnsupportedError
from finewhisper.features import log_mel, pad_samples
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions
from finewhisper.vocabulary import MAX_TOKENS

pytestmark = pytest.mark.real


@pytest.fixture
def copy(tiny_en_ct2_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_en_ct2_model, tmp_path / "model")


@pytest.fixture(scope="module")
def engine(tiny_en_ct2_model: Path) -> CTranslate2Engine:
    return CTranslate2Engine.load(ModelFolder.open(tiny_en_ct2_model), device="cpu")


@pytest.mark.parametrize("heads", [[[99, 0]], [[0, 99]], [[-1, 0]], [[1, 1], [4, 0]], [[0]], ["0", 1]])
def test_heads_that_the_decoder_has_not_end_in_a_sentence_and_not_the_process(copy: Path, heads: list[object]) -> None:
    """CTranslate2 indexes its attention by them, whatever they are: one request with word times ended the server."""
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"alignment_heads": heads}))
    engine = load(copy)
    clip = np.zeros(16_000, dtype=np.float32)
    assert len(engine.transcribe([clip], DecodeOptions(language="en"))) == 1, "text needs no heads"
    with pytest.raises(UnsupportedError, match=r"config\.json: alignment_heads names heads that the decoder, of 4 layers with 6 heads"):
        engine.try_word_times()


def test_official_heads_tell_word_times(engine: CTranslate2Engine) -> None:
    engine.try_word_times()


@pytest.mark.parametrize("ids", [[51_866], [-2], ["1"], [True], 5, [10**30]])
def test_tokens_that_no_whisper_has_are_refused(copy: Path, ids: object) -> None:
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"suppress_ids": ids}))
    with pytest.raises(ModelError, match=r"config\.json: suppress_ids has .*, which is no token of Whisper's"):
        load(copy)


def load(folder: Path, **options: str) -> CTranslate2Engine:
    engine = load_engine(ModelFolder.open(folder), **({"device": "cpu"} | options))
    assert isinstance(engine, CTranslate2Engine)
    return engine


@pytest.fixture(scope="module")
def speech(engine: CTranslate2Engine, data: Path) -> Features:
    """28 s of a president's address: some 90 tokens."""
    clip = audio.read(data / "longform" / "audio" / "bush_election_day_2008.opus", 0.0, 28.0)
    return log_mel(pad_samples(clip, 3000), engine.n_mels)[np.newaxis]


def test_a_folder_made_by_others_gets_no_short_windows_and_its_own_mel_bins(tiny_en_ct2_model: Path, engine: CTranslate2Engine):
    assert not (tiny_en_ct2_model / "finewhisper.json").exists()
    assert not (tiny_en_ct2_model / "preprocessor_config.json").exists()
    assert engine.n_mels == 80
    assert engine.context.trimmed is False
    frames = [engine.frames(np.zeros(16_000 * seconds, dtype=np.float32)) for seconds in (1, 19, 22, 29)]
    assert frames == [2000, 2000, 2300, 3000]
    assert engine.frames(np.zeros(16_000, dtype=np.float32), DecodeOptions(full_windows=True)) == 3000


def test_auto_precision_is_what_the_cpu_can_do_with_the_stored_type(engine: CTranslate2Engine, capfd: pytest.CaptureFixture[str]):
    """The weights are float16, which this CPU cannot compute in; CTranslate2's own warning about that stays off the terminal."""
    expected = "float16" if "float16" in ctranslate2.get_supported_compute_types("cpu") else "float32"
    assert engine.precision == expected
    assert "warning" not in capfd.readouterr().err


def test_a_given_precision_is_used(copy: Path):
    assert load(copy, precision="int8").precision.startswith("int8")


@pytest.mark.parametrize("precision", ["float8", "fp16", ""])
def test_a_precision_that_the_device_lacks_is_refused_with_those_it_has(copy: Path, precision: str):
    with pytest.raises(UnsupportedError, match="float32") as refused:
        load(copy, precision=precision)
    assert f"--precision {precision}" in str(refused.value)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(copy: Path, device: str):
    with pytest.raises(UnsupportedError, match=f"--device {device}"):
        load(copy, device=device)


@pytest.mark.parametrize("kept", [40, 5_000, 1_000_000, 75_000_000])
def test_truncated_weights_are_a_model_error(copy: Path, kept: int):
    content = (copy / "model.bin").read_bytes()
    (copy / "model.bin").write_bytes(content[:kept])
    with pytest.raises(ModelError, match="download or convert the model again") as refused:
        load(copy)
    assert str(copy) in str(refused.value)


def test_weights_of_a_future_version_are_a_model_error(copy: Path):
    content = bytearray((copy / "model.bin").read_bytes())
    content[0] = 99
    (copy / "model.bin").write_bytes(content)
    with pytest.raises(ModelError, match="version"):
        load(copy)


def test_a_missing_vocabulary_is_a_model_error(copy: Path):
    (copy / "vocabulary.txt").unlink()
    with pytest.raises(ModelError, match="vocabulary"):
        load(copy)


def test_a_tokenizer_of_another_version_is_a_model_error(copy: Path, base_model: Path):
    """With it every special token is one off, and the model does another task without a word."""
    shutil.copyfile(base_model / "tokenizer.json", copy / "tokenizer.json")
    with pytest.raises(ModelError, match="another Whisper version"):
        load(copy)


def test_without_the_library_the_extra_is_named(copy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[ct2\]"):
        load(copy)


@pytest.mark.parametrize("previous", ["", "word " * 100])
@pytest.mark.parametrize("max_tokens", [1, 7, 40])
def test_the_token_budget_counts_what_is_written_and_not_the_prompt(
    engine: CTranslate2Engine, speech: Features, max_tokens: int, previous: str
):
    for timestamps in (False, True):
        prompt = engine.vocabulary.prompt("en", timestamps=timestamps, previous=previous)
        (hypothesis,) = engine._generate(speech, [prompt], max_tokens, DecodeOptions())
        assert len(hypothesis.tokens) == max_tokens


def test_the_decoder_is_never_asked_for_more_positions_than_it_has(engine: CTranslate2Engine, speech: Features):
    prompt = engine.vocabulary.prompt("en", timestamps=False, previous="word " * 300)
    (hypothesis,) = engine._generate(speech, [prompt], MAX_TOKENS - len(prompt), DecodeOptions())
    assert len(hypothesis.tokens) > 40


def test_a_score_is_the_mean_over_the_tokens_and_the_end_token(engine: CTranslate2Engine, data: Path):
    """Against the sum over CTranslate2's own distributions."""
    clip = audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus")
    batch = log_mel(pad_samples(clip, 3000), engine.n_mels)[np.newaxis]
    prompt = engine.vocabulary.prompt("en", timestamps=False)
    (hypothesis,) = engine._generate(batch, [prompt], 100, DecodeOptions())
    (detailed,) = engine._model.generate(ctranslate2.StorageView.from_array(batch), [prompt], beam_size=1, return_logits_vocab=True)
    written = [*hypothesis.tokens, engine.vocabulary.end_of_text]
    logits = [np.asarray(step, dtype=np.float64).ravel() for step in detailed.logits[0]]
    logprobs = [step[token] - np.logaddexp.reduce(step) for step, token in zip(logits, written, strict=True)]
    assert hypothesis.avg_logprob == pytest.approx(np.mean(logprobs), abs=1e-2)


def test_a_batch_is_encoded_once_for_language_and_text(base_ct2_model: Path, monkeypatch: pytest.MonkeyPatch):
    engine = load(base_ct2_model, precision="int8")
    encoded = []
    original = engine._encode_parts
    monkeypatch.setattr(engine, "_encode_parts", lambda features: encoded.append(len(features)) or original(features))
    engine.transcribe([np.zeros(16_000, dtype=np.float32)] * 2, DecodeOptions())
    assert encoded == [2]
    assert engine._kept.encoded is None  # and not kept in memory
