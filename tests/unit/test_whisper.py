"""Our encoder and loss are transformers' own wherever transformers has one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration

from finewhisper import whisper
from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.vocabulary import IGNORED


@pytest.fixture(scope="module")
def pair(random_model: Path) -> tuple[whisper.LengthAwareWhisper, WhisperForConditionalGeneration]:
    return whisper.load(ModelFolder.open(random_model)).eval(), WhisperForConditionalGeneration.from_pretrained(random_model).eval()


@torch.inference_mode()
def test_a_full_window_is_encoded_as_transformers_does(pair: tuple[whisper.LengthAwareWhisper, WhisperForConditionalGeneration]) -> None:
    ours, theirs = pair
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(1))
    expected = theirs.model.encoder(features).last_hidden_state
    torch.testing.assert_close(ours.model.encoder(features).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_short_window_has_half_as_many_positions(pair: tuple[whisper.LengthAwareWhisper, WhisperForConditionalGeneration]) -> None:
    ours, _ = pair
    assert ours.model.encoder(torch.randn(3, 80, 250)).last_hidden_state.shape == (3, 125, 64)
    with pytest.raises(ValueError, match="3000"):
        ours.model.encoder(torch.randn(1, 80, 3002))


@torch.inference_mode()
def test_the_loss_is_transformers_loss(pair: tuple[whisper.LengthAwareWhisper, WhisperForConditionalGeneration]) -> None:
    ours, theirs = pair
    features = torch.randn(2, 80, 3000)
    inputs = torch.randint(0, 50_000, (2, 7))
    labels = torch.randint(0, 50_000, (2, 7))
    labels[:, :3] = IGNORED
    labels[1, 5:] = IGNORED
    expected = theirs(input_features=features, decoder_input_ids=inputs, labels=labels).loss
    torch.testing.assert_close(ours(input_features=features, decoder_input_ids=inputs, labels=labels).loss, expected)
    summed = ours(input_features=features, decoder_input_ids=inputs, labels=labels, num_items_in_batch=3).loss
    torch.testing.assert_close(summed, expected * 6 / 3)


def test_weights_that_do_not_fit_the_configuration_are_refused(random_model: Path, tmp_path: Path) -> None:
    for path in random_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"decoder_layers": 2', '"decoder_layers": 3'))
    with pytest.raises(ModelError, match=r"do not fit config\.json"):
        whisper.load(ModelFolder.open(tmp_path))


def test_a_damaged_weights_file_is_refused(random_model: Path, tmp_path: Path) -> None:
    for path in random_model.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded"):
        whisper.load(ModelFolder.open(tmp_path))
