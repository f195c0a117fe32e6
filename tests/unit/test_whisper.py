"""Our encoder and loss are transformers' own wherever transformers has one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import WhisperForConditionalGeneration
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from finewhisper import manifest, whisper
from finewhisper.errors import ModelError
from finewhisper.features import log_mel_torch
from finewhisper.model import ModelFolder
from finewhisper.training.batches import Window, silence_blocks
from finewhisper.training.dataset import SpeechDataset, collate
from finewhisper.training.labels import Labeller
from finewhisper.vocabulary import IGNORED, Vocabulary


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


@torch.inference_mode()
def test_blocks_of_one_position_are_the_full_window(pair: tuple[whisper.LengthAwareWhisper, WhisperForConditionalGeneration]) -> None:
    ours, theirs = pair
    heard = torch.cat([torch.randn(2, 80, 180), torch.full((2, 80, 20), -0.7)], dim=-1)
    full = torch.nn.functional.pad(heard, (0, 2800), value=-0.7)
    blocks = torch.ones(2, 1400, dtype=torch.long)
    expected = theirs.model.encoder(full).last_hidden_state
    torch.testing.assert_close(ours.model.encoder(heard, silence=blocks).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
    tokens = torch.randint(0, 50_000, (2, 7))
    loss = theirs(input_features=full, decoder_input_ids=tokens, labels=tokens).loss
    torch.testing.assert_close(ours(input_features=heard, decoder_input_ids=tokens, labels=tokens, silence=blocks).loss, loss)


@pytest.mark.real
@torch.inference_mode()
def test_thirty_positions_of_silence_stand_for_all_of_it(base_model: Path, captions: Path) -> None:
    """A model that never learnt short windows is surprised by them, and hardly by condensed ones."""
    model, vocabulary = whisper.load(ModelFolder.open(base_model)).eval(), Vocabulary.load(base_model)
    examples = SpeechDataset(manifest.read(captions / "train.jsonl")[:8], Labeller(vocabulary))
    blocks = silence_blocks(200, random.Random(1))
    assert len(blocks) < 50

    def loss(frames: int, silence: tuple[int, ...] = ()) -> float:
        batch = collate([examples[Window((row,), frames, row, silence)] for row in range(len(examples))])
        del batch["rows"]
        return float(model(log_mel_torch(batch.pop("waveforms"), 80), **batch).loss)

    full, condensed, short = loss(3000), loss(400, blocks), loss(400)
    assert abs(condensed - full) < 0.1 * full
    assert abs(condensed - full) < 0.3 * abs(short - full)


@pytest.mark.parametrize("queries", ["all", "causal", "weighed"])
def test_attention_by_products_is_scaled_dot_product_attention(queries: str) -> None:
    def inputs() -> list[torch.Tensor]:
        generator = torch.Generator().manual_seed(1)
        return [torch.randn(2, 4, 20, 16, generator=generator).bfloat16().requires_grad_() for _ in range(3)]

    module = torch.nn.Module()
    module.is_causal = queries == "causal"  # type: ignore[assignment]
    mask = whisper.attention_weight(16, torch.tensor([[2, 5, 9, 1]]), torch.bfloat16) if queries == "weighed" else None
    ours, fused = inputs(), inputs()
    found, _ = whisper.attention(module, *ours, mask)
    expected, _ = sdpa_attention_forward(module, *fused, mask)
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
    for result in (found, expected):
        result.square().sum().backward()
    for one, other in zip(ours, fused, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=5e-2, rtol=5e-2)


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
    with pytest.raises(ModelError, match="is damaged or cut short"):
        whisper.load(ModelFolder.open(tmp_path))
