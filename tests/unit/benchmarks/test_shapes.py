"""Random Whispers have the published sizes, and made-up clips the corpus's lengths."""

from __future__ import annotations

import json
import statistics

import pytest
import shapes
import torch

from finewhisper.vocabulary import Vocabulary


@pytest.mark.parametrize(("name", "millions"), [("large-v3", 1543.5), ("turbo", 808.9), ("base", 72.6)])
def test_a_shape_has_as_many_weights_as_the_published_model(name, millions):
    model = shapes.build(shapes.SHAPES[name], torch.device("meta"), torch.bfloat16)
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(millions, rel=1e-3)


def test_base_is_what_its_config_says(base_model):
    config = json.loads((base_model / "config.json").read_text())
    shape = shapes.SHAPES["base"]
    assert (shape.d_model, shape.encoder_layers, shape.decoder_layers, shape.heads, shape.n_mels, shape.vocabulary, shape.ffn) == (
        config["d_model"], config["encoder_layers"], config["decoder_layers"], config["encoder_attention_heads"],
        config["num_mel_bins"], config["vocab_size"], config["encoder_ffn_dim"],
    )  # fmt: skip


def test_the_vocabulary_has_whisper_s_special_tokens_in_their_places(base_model):
    real, made_up = Vocabulary.load(base_model), shapes.vocabulary(shapes.SHAPES["base"])
    assert made_up.size == real.size
    assert made_up.prompt("zh", timestamps=False) == real.prompt("zh", timestamps=False)
    assert (made_up.no_speech, made_up.first_timestamp, made_up.end_of_text) == (real.no_speech, real.first_timestamp, real.end_of_text)
    assert shapes.vocabulary(shapes.SHAPES["large-v3"]).languages["yue"] == 50358


def test_lengths_are_aishell_s():
    drawn = sorted(shapes.durations_s(20_000))
    assert statistics.mean(drawn) == pytest.approx(150.9 * 3600 / 120_098, rel=0.03)
    published = {0.05: 2.7, 0.5: 4.3, 0.95: 7.2, 0.99: 8.8}
    assert {share: drawn[int(share * len(drawn))] for share in published} == pytest.approx(published, rel=0.05)
    assert drawn[0] >= 1.2
    assert drawn[-1] <= 14.5
    assert shapes.durations_s(5, seed=1) == shapes.durations_s(5, seed=1) != shapes.durations_s(5, seed=2)


@pytest.mark.real
def test_lengths_and_tokens_are_near_those_of_real_aishell_sentences(data, base_model):
    lines = [json.loads(line) for line in (data / "aishell_sample_zh" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    lengths_s = [line["duration"] for line in lines]
    assert statistics.mean(lengths_s) == pytest.approx(statistics.mean(shapes.durations_s(20_000)), rel=0.1)
    vocabulary = Vocabulary.load(base_model)
    tokens = sum(len(vocabulary.encode_text(line["sentence"], "zh")) for line in lines)
    assert sum(map(shapes.text_tokens, lengths_s)) == pytest.approx(tokens, rel=0.05)
