"""SpecAugment hides parts of the sound, never a whole short clip, never the silence after it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.training.augment.masks import Masking, Masks, SpecAugment, hide, sounding_frames


@given(st.integers(0, 3000), st.integers(0, 1000), st.floats(0, 3), st.floats(0.01, 1))
def test_masks_lie_within_the_sound_and_within_their_limits(frames: int, seed: int, time_s: float, share: float) -> None:
    masks = SpecAugment(probability=1, time_s=time_s, time_share=share).draw(frames, 80, np.random.default_rng(seed))
    assert len(masks.frames) == len(masks.bins) == 2
    assert all(first >= 0 and first + width <= frames for first, width in masks.frames)
    assert all(width <= share * frames and width <= round(time_s * 100) for _, width in masks.frames)
    assert all(first >= 0 and first + width <= 80 and width <= 10 for first, width in masks.bins)


def test_a_word_of_half_a_second_is_never_hidden_whole() -> None:
    """transformers' masks of the published 0.5 s would leave nothing of it."""
    for seed in range(100):
        masks = SpecAugment(probability=1, time_s=0.5).draw(50, 80, np.random.default_rng(seed))
        spectrogram = torch.randn(80, 50)
        before = spectrogram.clone()
        hide(spectrogram, 50, masks)
        assert (spectrogram == before).all(dim=0).logical_not().sum() <= 50
        bins = [row for row in range(80) if not any(first <= row < first + width for first, width in masks.bins)]
        assert (spectrogram[bins] == before[bins]).all(dim=0).sum() >= 30, "at most two fifths of its time"


def test_what_is_hidden_has_the_mean_and_the_silence_after_it_stays() -> None:
    spectrogram = torch.randn(80, 300)
    before = spectrogram.clone()
    hide(spectrogram, 200, Masks([(10, 20)], [(5, 3)]))
    changed = spectrogram != before
    assert changed[:, 10:30].all()
    assert changed[5:8, :200].all()
    assert changed.sum() == 20 * 80 + 3 * 180
    assert not changed[:, 200:].any()
    assert torch.allclose(spectrogram[changed], before[:, :200].mean())


def test_an_effect_that_is_off_hides_nothing() -> None:
    assert SpecAugment().draw(100, 80, np.random.default_rng(0)) == Masks([], [])


def test_the_sound_ends_where_padding_begins() -> None:
    waveforms = torch.zeros(3, 16_000)
    waveforms[0, :8000] = 0.1
    waveforms[1, 15_999] = -0.1
    assert sounding_frames(waveforms) == [50, 100, pytest.approx(100)]


def test_a_batch_is_hidden_alike_whenever_and_with_whomever_it_is_seen() -> None:
    masking = Masking([SpecAugment(probability=1), SpecAugment(), SpecAugment(probability=1)], seed=3)
    waveforms, features = torch.ones(3, 32_000), torch.randn(3, 80, 200)

    def hidden(rows: list[tuple[int, ...]], epoch: int) -> torch.Tensor:
        changed = features[: len(rows)].clone()
        masking.hide(changed, waveforms[: len(rows)], rows, epoch)
        return changed != features[: len(rows)]

    together = hidden([(0,), (1,), (2,)], 0)
    assert torch.equal(together, hidden([(0,), (1,), (2,)], 0))
    assert torch.equal(together[:1], hidden([(0,)], 0)), "whatever else is in the batch"
    assert together[0].any()
    assert not together[1].any(), "its source has none"
    assert not torch.equal(together, hidden([(0,), (1,), (2,)], 1))
    assert not hidden([()], 0).any(), "a window without speech"


def test_six_utterances_in_a_window_are_hidden_as_often_as_six_alone() -> None:
    masks = SpecAugment(probability=1).draw(3000, 80, np.random.default_rng(0), utterances=6)
    assert len(masks.frames) == 12
    assert len(masks.bins) == 2
