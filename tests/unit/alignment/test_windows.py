"""Joined clips have the moments where they were joined, and those that the manifest gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from finewhisper.alignment.windows import windows
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary(tiny_en_model: Path) -> Vocabulary:
    return Vocabulary.load(tiny_en_model)


@pytest.fixture
def clips(tmp_path: Path) -> list[Utterance]:
    """Five clips of 1 s of a tone between half a second of silence on either side."""
    made = []
    for index in range(5):
        tone = 0.3 * np.sin(2 * np.pi * (300 + 50 * index) * np.arange(16_000) / 16_000)
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, np.concatenate([np.zeros(8000), tone, np.zeros(8000)]), 16_000)
        made.append(Utterance(path, f"clip number {index}", "en", 2.0))
    return made


def test_clips_are_joined_without_their_silent_edges(clips: list[Utterance], vocabulary: Vocabulary) -> None:
    (window,) = windows(clips, vocabulary, None, 10)
    assert vocabulary.decode(window.tokens) == " clip number 0 clip number 1 clip number 2 clip number 3 clip number 4"
    assert [vocabulary.decode(window.tokens[place:]).split()[2] for place, _ in window.boundaries] == ["1", "2", "3", "4"]
    assert [at_s for _, at_s in window.boundaries] == pytest.approx([1.04, 2.08, 3.12, 4.16], abs=0.03)
    assert window.duration_s == pytest.approx(5.2, abs=0.05)


def test_times_of_the_manifest_are_known_moments_too(clips: list[Utterance], vocabulary: Vocabulary) -> None:
    timed = replace(clips[0], sentences=(TimedSentence(0.5, 0.9, "clip"), TimedSentence(0.9, 1.5, "number 0")))
    (window,) = windows([timed, clips[1]], vocabulary, None, 10)
    assert [at_s for _, at_s in window.boundaries] == pytest.approx([0.42, 1.04], abs=0.03)
    assert vocabulary.decode(window.tokens[window.boundaries[0][0] :]).startswith(" number 0 clip number 1")


def test_windows_end_before_30_s_and_languages_stay_apart(clips: list[Utterance], vocabulary: Vocabulary) -> None:
    found = windows([clips[0], *clips * 12], vocabulary, None, 10)
    assert len(found) == 3, "61 clips of 1.04 s"
    assert all(window.duration_s <= 28 for window in found)
    assert len(windows(clips * 12, vocabulary, None, 1)) == 1
    other = [replace(clip, language="de") for clip in clips[:2]]
    assert [window.language for window in windows([*clips, *other], vocabulary, None, 10)] == ["en", "de"]


def test_a_window_without_a_known_moment_is_none(clips: list[Utterance], vocabulary: Vocabulary) -> None:
    assert windows(clips[:1], vocabulary, None, 10) == []
    assert windows([replace(clips[0], sentence=""), clips[1]], vocabulary, None, 10) == []
