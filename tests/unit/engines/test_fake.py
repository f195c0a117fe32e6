"""The engine for tests of other programs: it says what its script says, within what every engine promises (see the contract suite)."""

from __future__ import annotations

import numpy as np
import pytest

from finewhisper.audio import Waveform
from finewhisper.engines.fake import FakeEngine, byte_vocabulary
from finewhisper.transcript import DecodeOptions, Segment, Transcript
from finewhisper.transcription.transcriber import Plan, Transcriber
from finewhisper.vocabulary import Vocabulary


def noise(seconds: float, loudness: float = 0.1) -> Waveform:
    return np.random.default_rng(0).normal(0, loudness, round(16_000 * seconds)).astype(np.float32)


def test_one_sentence_for_all_clips():
    engine = FakeEngine("And so, my fellow Americans, café 你好.")
    transcripts = engine.transcribe([noise(2.0), noise(5.0)], DecodeOptions())
    assert [transcript.text for transcript in transcripts] == ["And so, my fellow Americans, café 你好."] * 2
    assert [transcript.segments[0].end_s for transcript in transcripts] == [2.0, 5.0]
    assert engine.transcribe([noise(1.0)], DecodeOptions(language="de"))[0].language == "de"
    assert FakeEngine().transcribe([noise(1.0)], DecodeOptions())[0].segments == ()


def test_a_script_sees_the_sound_and_the_options():
    def script(clip: Waveform, options: DecodeOptions) -> str:
        return f"{len(clip) / 16_000:.0f} s, after: {options.prompt}" if np.abs(clip).max() > 0.2 else ""

    engine = FakeEngine(script)
    options = DecodeOptions(prompt="what was said")
    transcripts = engine.transcribe([noise(3.0), noise(2.0, loudness=0.01), noise(4.0)], options)
    assert [transcript.text for transcript in transcripts] == ["3 s, after: what was said", "", "4 s, after: what was said"]


def test_phrases_keep_times_scores_and_language_within_the_audio():
    """A model, too, may write a time behind the end, and text without end."""
    phrases = (Segment("Guten Tag.", 0.5, 1.0, avg_logprob=-0.5, no_speech_prob=0.2), Segment("und so weiter " * 50, 1.2, 40.0))
    (transcript,) = FakeEngine(lambda clip, options: Transcript(phrases, "de", 2.0)).transcribe([noise(2.0)], DecodeOptions())
    assert (transcript.language, transcript.language_probability) == ("de", pytest.approx(0.99))
    first, second = transcript.segments
    assert (first.text, first.start_s, first.end_s, first.avg_logprob, first.no_speech_prob) == ("Guten Tag.", 0.5, 1.0, -0.5, 0.2)
    assert (second.start_s, second.end_s) == (1.2, 2.0)
    assert 20 < len(second.text) < 62  # 62 tokens for 2 s, here bytes


def test_long_recordings_are_windows_of_their_own():
    engine = FakeEngine(lambda clip, _: f"a window of {len(clip) / 16_000:.0f} s")
    heard = Transcriber(engine, DecodeOptions(language="en"), Plan(vad=False))
    (transcript,) = heard.transcribe_clips([noise(65.0)])
    assert len(transcript.segments) >= 3
    assert transcript.segments[-1].end_s <= 65.0


@pytest.mark.real
def test_its_vocabulary_has_the_special_tokens_of_a_real_one(base_model):
    real, ours = Vocabulary.load(base_model), byte_vocabulary()
    assert (ours.size, ours.languages) == (real.size, real.languages)
    for options in ({"timestamps": True}, {"timestamps": False, "task": "translate"}):
        assert ours.prompt("zh", **options) == real.prompt("zh", **options)
    assert (ours.no_speech, ours.timestamp(30.0)) == (real.no_speech, real.timestamp(30.0))
