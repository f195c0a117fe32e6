"""whisper.cpp run step by step: the source's scores, whatever came before, and no silent guesses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("_pywhispercpp")

from finewhisper import audio, manifest
from finewhisper.conversion import to_ggml
from finewhisper.conversion.verify import generated_clip
from finewhisper.engines import load_engine
from finewhisper.engines.libwhisper import Network
from finewhisper.errors import ModelError, UnsupportedError
from finewhisper.features import log_mel, pad_samples
from finewhisper.formats import GGML_NAME
from finewhisper.model import ModelFolder
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import DecodeOptions

pytestmark = pytest.mark.real


def ggml(source: Path, target: Path, quantization: str = "f16") -> ModelFolder:
    target.mkdir()
    to_ggml.write(ModelFolder.open(source), target, quantization)
    return ModelFolder.open(target, "ggml")


def source_scores(source: Path, features: np.ndarray[Any, Any], tokens: list[int]) -> np.ndarray[Any, Any]:
    """The scores of transformers, in float32, after the last of ``tokens``."""
    import torch

    from finewhisper import whisper

    model = whisper.load(ModelFolder.open(source)).eval()
    with torch.inference_mode():
        logits = model(input_features=torch.from_numpy(features[None]), decoder_input_ids=torch.tensor([tokens])).logits
    return np.asarray(logits[0, -1])


def test_scores_are_the_source_s_whatever_context_came_before(random_model: Path, tmp_path: Path) -> None:
    """Flash attention would look behind the end of a context that is not a multiple of 256 positions, at an earlier clip."""
    network = Network(ggml(random_model, tmp_path / "ggml").path / GGML_NAME, threads=1)
    tokens = [50258, 50259, 50359, 50363, 1000, 2000]
    for frames in (3000, 400, 100, 3000, 400):
        features = log_mel(pad_samples(generated_clip().waveform, frames), 80)
        expected = source_scores(random_model, features, tokens)
        network.encode(features)
        whole = network.scores(tokens, 0)
        np.testing.assert_allclose(whole, expected, atol=0.02 * np.abs(expected).max())
        network.scores(tokens[:4], 0)
        np.testing.assert_allclose(network.scores(tokens[4:], 4), whole, atol=2e-3 * np.abs(whole).max())


def test_a_language_is_detected_with_the_encoding_that_writing_needs(random_model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    engine = load_engine(ggml(random_model, tmp_path / "ggml"), device="cpu", threads=1)
    encoded = []
    original = Network.encode
    monkeypatch.setattr(Network, "encode", lambda self, features: (encoded.append(1), original(self, features)))
    clips = [generated_clip().waveform[:8000], generated_clip().waveform[8000:20_000]]
    heard = engine.transcribe(clips, DecodeOptions())
    assert len(encoded) == 2
    assert engine.transcribe(clips[::-1], DecodeOptions())[::-1] == heard


def test_what_cannot_be_honoured_is_refused(random_model: Path, tmp_path: Path) -> None:
    folder = ggml(random_model, tmp_path / "ggml")
    with pytest.raises(UnsupportedError, match="--device cuda: the whispercpp engine runs on cpu"):
        load_engine(folder, device="cuda")
    with pytest.raises(UnsupportedError, match=r"--precision float32: whisper\.cpp computes in the type of the file, f16"):
        load_engine(folder, precision="float32")
    with pytest.raises(UnsupportedError, match=r"convert it first: finewhisper convert .*ggml-model\.bin"):
        load_engine(ModelFolder.open(folder.path / GGML_NAME))
    with pytest.raises(UnsupportedError, match="--to ggml --quantization f16"):  # whisper.cpp would end the process
        load_engine(ggml(random_model, tmp_path / "f32", "f32"))


def test_damaged_and_mismatched_folders_are_named(random_model: Path, tiny_en_model: Path, tmp_path: Path) -> None:
    folder = ggml(random_model, tmp_path / "ggml")
    path = folder.path / GGML_NAME
    whole = path.read_bytes()
    for size in (100, 200_000, len(whole) // 2, len(whole) - 3000):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=r"ggml-model\.bin: whisper\.cpp cannot load it \(.+\)"):
            load_engine(folder)
    path.write_bytes(whole)
    shutil.copyfile(tiny_en_model / "tokenizer.json", folder.path / "tokenizer.json")
    with pytest.raises(ModelError, match=r"tokenizer\.json has 51864 tokens, ggml-model\.bin has 51865"):
        load_engine(folder)


def test_the_rules_of_generation_config_hold(random_model: Path, tmp_path: Path) -> None:
    folder = ggml(random_model, tmp_path / "ggml")
    clip, options = [generated_clip().waveform[:8000]], DecodeOptions(language="en", timestamps=False)
    free = load_engine(folder, threads=1)
    features = log_mel(pad_samples(clip[0], 3000), 80)[None]
    prompt = free.vocabulary.prompt("en", timestamps=False)
    (before,) = free._generate(features, [prompt], 8, options)
    path = folder.path / "generation_config.json"
    forbidden = json.loads(path.read_text()) | {"suppress_tokens": list(before.tokens)}
    path.write_text(json.dumps(forbidden))
    (after,) = load_engine(folder, threads=1)._generate(features, [prompt], 8, options)
    assert before.tokens
    assert not set(before.tokens) & set(after.tokens)


def test_real_copies_write_what_their_source_writes(base_model: Path, base_ggml_model: Path, data: Path, tmp_path: Path) -> None:
    """float16 holds base's published weights exactly: the same tokens as float32; 8 bits: nearly the same words."""
    utterances = manifest.read(data / "aishell_sample_zh" / "manifest.jsonl")[:2]
    english = audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus")
    cases = [*((utterance.waveform(), "zh") for utterance in utterances), (english, "en")]
    engines = [
        load_engine(ModelFolder.open(folder), device="cpu", threads=1)
        for folder in (base_model, base_ggml_model, ggml(base_model, tmp_path / "q8", "q8_0").path)
    ]
    written: list[list[tuple[int, ...]]] = [[], [], []]
    texts: list[list[str]] = [[], [], []]
    for waveform, language in cases:
        features = log_mel(pad_samples(waveform, 3000), 80)[None]
        for index, engine in enumerate(engines):
            prompt = engine.vocabulary.prompt(language, timestamps=True)
            (found,) = engine._generate(features, [prompt], 60, DecodeOptions(language=language))
            written[index].append(found.tokens)
            texts[index].append(engine.vocabulary.decode(found.tokens))
    assert written[1] == written[0]
    assert error_rate(texts[0], texts[2], "character", Normalizer.for_language("zh")).percent < 10
