"""CTranslate2 to transformers and back: equal weights, equal outputs on real speech, and every file that transformers asks for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from finewhisper import manifest
from finewhisper.conversion import to_ctranslate2, to_transformers, verify
from finewhisper.conversion.weights import largest_error
from finewhisper.errors import ModelError
from finewhisper.formats import Quantization
from finewhisper.model import ModelFolder

Make = Callable[..., Path]
pytestmark = pytest.mark.real


def to_ct2(source: Path, target: Path, quantization: Quantization = "float32") -> Path:
    target.mkdir()
    to_ctranslate2.write(ModelFolder.open(source, "transformers"), target, quantization)
    return target


def to_hf(source: Path, target: Path) -> Path:
    target.mkdir()
    to_transformers.write(ModelFolder.open(source, "ctranslate2"), target)
    return target


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "multilingual": ("v2", {}),
    "English-only": ("en", {}),
    "large-v3": ("v3", {"num_mel_bins": 128}),
    "turbo and distil: few decoder layers": ("v3", {"num_mel_bins": 128, "encoder_layers": 3, "decoder_layers": 1}),
    "sides of different width": ("v2", {"encoder_ffn_dim": 128, "decoder_attention_heads": 4}),
    "output matrix of its own": ("v2", {"tie_word_embeddings": False}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_bit_for_bit_the_same(make_random: Make, tmp_path: Path, kind: str) -> None:
    vocabulary, changes = KINDS[kind]
    source = make_random(vocabulary, **changes)
    back = to_hf(to_ct2(source, tmp_path / "ct2"), tmp_path / "back")
    before, after = load_file(source / "model.safetensors"), load_file(back / "model.safetensors")
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(values, after[name], err_msg=name)
    old, new = (json.loads((folder / "config.json").read_text()) for folder in (source, back))
    assert {name: old[name] for name in new} == new
    for name in ("generation_config.json", "preprocessor_config.json", "vocab.json", "merges.txt", "added_tokens.json", "tokenizer.json"):
        assert (source / name).read_bytes() == (back / name).read_bytes(), name


@pytest.mark.parametrize(
    "quantization", ["float32", "float16", "bfloat16", "int8", "int8_float32", "int8_float16", "int8_bfloat16", "int16"]
)
def test_every_type_is_read_back_as_closely_as_it_was_stored(make_random: Make, tmp_path: Path, quantization: Quantization) -> None:
    source = make_random()
    ct2 = to_ct2(source, tmp_path / "ct2", quantization)
    error = largest_error(ModelFolder.open(source), ModelFolder.open(ct2))
    assert error <= verify.bound(quantization).weight_error
    assert (error > 0) == (quantization != "float32")
    assert largest_error(ModelFolder.open(to_hf(ct2, tmp_path / "back")), ModelFolder.open(ct2)) == 0


def test_a_source_in_float16_and_in_several_files(make_random: Make, tmp_path: Path) -> None:
    """As large models are published."""
    import torch
    from transformers import WhisperForConditionalGeneration

    whole = make_random()
    parts = tmp_path / "parts"
    shutil.copytree(whole, parts)
    (parts / "model.safetensors").unlink()
    WhisperForConditionalGeneration.from_pretrained(whole, dtype=torch.float16).save_pretrained(parts, max_shard_size="4MB")
    assert len(ModelFolder.open(parts).weight_files()) > 1
    for quantization in ("float16", "float32"):
        copy = to_ct2(parts, tmp_path / quantization, quantization)
        assert largest_error(ModelFolder.open(parts), ModelFolder.open(copy)) == 0


@pytest.mark.parametrize(("name", "corpus", "count"), [("base", "aishell_sample_zh", 2), ("base", "en_misc", 1), ("tiny_en", "en_misc", 2)])
def test_real_speech_gives_the_same_in_both_engines(request: pytest.FixtureRequest, data: Path, name: str, corpus: str, count: int) -> None:
    """The proof of the importer: CTranslate2 computing in float32 on the published file, transformers on what we made of it."""
    published, ours = (ModelFolder.open(request.getfixturevalue(fixture)) for fixture in (f"{name}_ct2_model", f"{name}_model"))
    utterances = manifest.read(data / corpus / "manifest.jsonl")
    clips = [
        verify.Clip(utterance.id, utterance.waveform(), utterance.language) for utterance in utterances[:: len(utterances) // count][:count]
    ]
    agreement = verify.compare(published, ours, clips, "float32")
    assert agreement.weight_error == 0
    assert agreement.encoder_error < 2e-5, agreement
    assert agreement.token_agreement == 1.0, agreement
    assert all(clip.tokens > 3 for clip in agreement.clips)


def test_a_folder_with_nothing_but_a_vocabulary_gives_the_same_model(tiny_en_ct2_model: Path, tiny_en_model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("model.bin", "config.json", "vocabulary.txt"):
        shutil.copyfile(tiny_en_ct2_model / name, bare / name)
    rebuilt = to_hf(bare, tmp_path / "rebuilt")
    for name in ("model.safetensors", "vocab.json", "merges.txt", "added_tokens.json", "generation_config.json", "tokenizer_config.json"):
        assert (rebuilt / name).read_bytes() == (tiny_en_model / name).read_bytes(), name


@pytest.mark.parametrize("fixture", ["base_model", "tiny_en_model"])
def test_transformers_finds_all_it_looks_for(request: pytest.FixtureRequest, fixture: str, recwarn: pytest.WarningsRecorder) -> None:
    from transformers import AutoProcessor, GenerationConfig, WhisperForConditionalGeneration

    from finewhisper.vocabulary import Vocabulary

    folder: Path = request.getfixturevalue(fixture)
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    vocabulary = Vocabulary.load(folder)
    assert len(processor.tokenizer) == vocabulary.size
    assert processor.feature_extractor.feature_size == 80
    text = " Hello, world! Здравей 你好"
    assert processor.tokenizer(text, add_special_tokens=False).input_ids == vocabulary.encode(text)
    assert processor.tokenizer.decode(vocabulary.encode(" a , b . don 't")) == " a , b . don 't"  # no cleaning of spaces
    assert processor.tokenizer.normalize("The colour's gray, isn't it?") == "the color is gray is not it"
    special = processor.tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", "<|notimestamps|>", "<|30.00|>"])
    assert special == [vocabulary.start_of_transcript, vocabulary.no_timestamps, vocabulary.size - 1]
    if vocabulary.multilingual:
        assert processor.tokenizer("x", add_special_tokens=True).input_ids[-1] == vocabulary.end_of_text
        processor.tokenizer.set_prefix_tokens(language="bg", task="transcribe", predict_timestamps=False)
        assert processor.tokenizer.prefix_tokens == vocabulary.prompt("bg", timestamps=False)
    generation = GenerationConfig.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True)
    assert generation.is_multilingual == vocabulary.multilingual
    silence = processor(np.zeros(16_000, dtype=np.float32), sampling_rate=16_000, return_tensors="pt").input_features
    options = {"language": "bg", "task": "translate"} if vocabulary.multilingual else {}
    written = model.generate(silence, return_timestamps=True, return_token_timestamps=True, max_new_tokens=5, **options)
    assert written["token_timestamps"].shape == written["sequences"].shape


def test_vocabularies_of_other_sizes_are_refused(make_random: Make, tmp_path: Path) -> None:
    source = to_ct2(make_random(), tmp_path / "ct2")
    content = bytearray((source / "model.bin").read_bytes())
    # the same file with one row of the embedding moved into the next dimension: 51865 × 64 read as 10373 × 320
    where = content.index(b"decoder/embeddings/weight\0") + len(b"decoder/embeddings/weight\0") + 1
    content[where : where + 8] = np.array([10373, 320], dtype="<u4").tobytes()
    (source / "model.bin").write_bytes(content)
    with pytest.raises(ModelError, match=r"has 10373 tokens, Whisper's have 51864 .* models with added tokens are not supported"):
        to_hf(source, tmp_path / "back")


def test_a_half_copied_file_is_refused(tiny_en_ct2_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(tiny_en_ct2_model, folder)
    with (folder / "model.bin").open("r+b") as stream:
        stream.truncate(40_000_000)
    with pytest.raises(ModelError, match="is cut short or damaged"):
        to_hf(folder, tmp_path / "back")
