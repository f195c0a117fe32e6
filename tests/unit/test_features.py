"""The log-mel spectrogram equals the one that Whisper was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from finewhisper import audio, features
from finewhisper.audio import FRAMES_PER_SECOND, HOP_LENGTH, SAMPLE_RATE, WINDOW_FRAMES, WINDOW_S, WINDOW_SAMPLES, Waveform
from finewhisper.features import CONTEXT_STEP_FRAMES, context_frames, log_mel, log_mel_torch, mel_filters, pad_samples

SPEECH = ("aishell_sample_zh/audio/BAC009S0150W0001.opus", "en_misc/audio/LJ001-0001.opus", "fsdd_en_digits/audio/7_george_26.flac")


@pytest.fixture(scope="module", params=SPEECH)
def speech(request: pytest.FixtureRequest, data: Path) -> Waveform:
    return audio.read(data / request.param)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("frames", [WINDOW_FRAMES, 350, 100])
def test_equal_to_the_reference_on_real_speech(speech: Waveform, n_mels: int, frames: int) -> None:
    padded = pad_samples(speech, frames)
    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    reference = extractor(padded, sampling_rate=SAMPLE_RATE, padding=False, return_tensors="np").input_features[0]
    ours = log_mel(padded, n_mels)
    assert ours.shape == reference.shape == (n_mels, frames)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, reference, atol=1e-4)
    np.testing.assert_allclose(log_mel_torch(torch.from_numpy(padded)[None], n_mels)[0].numpy(), reference, atol=1e-4)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_a_full_window_is_what_the_reference_pads_to(speech: Waveform, n_mels: int) -> None:
    reference = WhisperFeatureExtractor(feature_size=n_mels)(speech, sampling_rate=SAMPLE_RATE, return_tensors="np").input_features[0]
    np.testing.assert_allclose(log_mel(pad_samples(speech, WINDOW_FRAMES), n_mels), reference, atol=1e-4)


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_equal_the_reference(n_mels: int) -> None:
    np.testing.assert_allclose(mel_filters(n_mels), WhisperFeatureExtractor(feature_size=n_mels).mel_filters.T, atol=1e-7)


def test_a_clip_in_a_batch_is_as_loud_as_alone() -> None:
    """The floor hangs on each clip's own maximum; a batch-wide one would make quiet clips depend on loud neighbours."""
    rng = np.random.default_rng(0)
    loud, quiet = rng.standard_normal(16_000).astype(np.float32), 1e-3 * rng.standard_normal(16_000).astype(np.float32)
    batch = log_mel_torch(torch.from_numpy(np.stack([loud, quiet])), 80)
    torch.testing.assert_close(batch[1], log_mel_torch(torch.from_numpy(quiet)[None], 80)[0])
    np.testing.assert_allclose(batch[1].numpy(), log_mel(quiet, 80), atol=1e-4)


def test_window_and_filters_are_made_once_for_a_device_and_serve_training_after_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    features._constants.cache_clear()
    with torch.inference_mode():
        first = log_mel_torch(noise, 80)
    monkeypatch.setattr(torch, "hann_window", lambda *_, **__: pytest.fail("the window was made again"))
    learnt = noise.clone().requires_grad_()
    again = log_mel_torch(learnt, 80)
    torch.testing.assert_close(first, again.detach())
    again.sum().backward()
    assert learnt.grad is not None


def test_silence_is_finite() -> None:
    assert np.isfinite(log_mel(np.zeros(8000, np.float32), 80)).all()


@given(st.integers(0, 2 * WINDOW_SAMPLES), st.integers(1, WINDOW_FRAMES))
def test_padding_adds_silence_and_cuts_the_rest(samples: int, frames: int) -> None:
    waveform = np.ones(samples, np.float32)
    padded = pad_samples(waveform, frames)
    assert len(padded) == frames * HOP_LENGTH
    assert padded.sum() == min(samples, frames * HOP_LENGTH)
    assert padded.dtype == np.float32


@given(st.floats(0, 60), st.floats(0, 10))
def test_the_context_holds_clip_and_margin_in_few_sizes(duration_s: float, margin_s: float) -> None:
    frames = context_frames(duration_s, margin_s)
    assert frames % CONTEXT_STEP_FRAMES == 0
    assert CONTEXT_STEP_FRAMES <= frames <= WINDOW_FRAMES
    wanted_s = duration_s + margin_s
    assert frames == WINDOW_FRAMES or frames / FRAMES_PER_SECOND >= wanted_s - 1e-9
    assert frames == CONTEXT_STEP_FRAMES or (frames - CONTEXT_STEP_FRAMES) / FRAMES_PER_SECOND < wanted_s


@given(st.floats(0, WINDOW_S), st.floats(0, WINDOW_S), st.floats(0, 2))
def test_a_longer_clip_never_has_a_shorter_context(one_s: float, other_s: float, margin_s: float) -> None:
    shorter_s, longer_s = sorted((one_s, other_s))
    assert context_frames(shorter_s, margin_s) <= context_frames(longer_s, margin_s)
