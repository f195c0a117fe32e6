"""Windows of speech with moments that are known: where one phrase ends and the next begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, Seconds, Waveform
from finewhisper.manifest import Utterance
from finewhisper.vocabulary import MAX_TOKENS, Vocabulary

#: The longest window: a little silence after the last word tells the model that nothing follows.
_LONGEST_S: Seconds = WINDOW_S - 2.0
#: Tokens of the prompt and the end.
_RESERVED_TOKENS = 8
#: Sound below this share of a clip's loudest moment is taken for silence when its edges are cut off (-25 dB), and so much of it is kept.
#: Breath and reverberation are cut too: with -35 dB and 50 ms whisper-base's times of Mandarin joints were off by 0.18 s in place of 0.06.
_QUIET, _KEPT_S = 10 ** (-25 / 20), 0.02
_STEP = SAMPLE_RATE // 100


@dataclass(frozen=True)
class Window:
    """Up to 30 s of speech and what is said in it."""

    waveform: Waveform
    language: str | None
    tokens: tuple[int, ...]  #: of the text alone
    boundaries: tuple[tuple[int, Seconds], ...]  #: where phrases begin: the index of a token, and its time; the window's start left out

    @property
    def duration_s(self) -> Seconds:
        return len(self.waveform) / SAMPLE_RATE


@dataclass(frozen=True)
class _Phrase:
    """Tokens, and when they begin in their clip."""

    start_s: Seconds
    tokens: list[int]


@dataclass(frozen=True)
class _Clip:
    waveform: Waveform
    language: str | None
    phrases: list[_Phrase]

    @property
    def tokens(self) -> int:
        return sum(len(phrase.tokens) for phrase in self.phrases)


def windows(utterances: Iterable[Utterance], vocabulary: Vocabulary, language: str | None, limit: int) -> list[Window]:
    """At most ``limit`` windows, each with at least one known moment; clips stay in their order, and languages apart.

    Raises:
        AudioError: a clip cannot be read.
    """
    found: list[Window] = []
    waiting: list[_Clip] = []
    for clip in _clips(utterances, vocabulary, language):
        if waiting and not _fits(waiting, clip):
            found += _joined(waiting)
            waiting = []
            if len(found) >= limit:
                return found[:limit]
        waiting.append(clip)
    return (found + _joined(waiting))[:limit]


def _clips(utterances: Iterable[Utterance], vocabulary: Vocabulary, language: str | None) -> Iterator[_Clip]:
    for utterance in utterances:
        spoken = utterance.language or language
        timed = [(one.start_s, one.text) for one in utterance.sentences or () if one.text.strip()] or [(0.0, utterance.sentence)]
        phrases = [_Phrase(start_s, vocabulary.encode_text(text, spoken)) for start_s, text in timed]
        if not any(phrase.tokens for phrase in phrases):
            continue
        waveform = utterance.waveform()
        first, last = _loud(waveform)
        shifted = [_Phrase(max(phrase.start_s - first / SAMPLE_RATE, 0.0), phrase.tokens) for phrase in phrases]
        clip = _Clip(waveform[first:last], spoken, shifted)
        if len(clip.waveform) / SAMPLE_RATE <= _LONGEST_S and clip.tokens <= MAX_TOKENS - _RESERVED_TOKENS:
            yield clip


def _loud(waveform: Waveform) -> tuple[int, int]:
    """The first and last sample but for silent edges: a joint in the middle of a pause says little about where a word begins."""
    steps = np.abs(waveform[: len(waveform) // _STEP * _STEP]).reshape(-1, _STEP).max(axis=1, initial=0.0)
    loud = np.flatnonzero(steps > _QUIET * steps.max(initial=0.0))
    if not len(loud):
        return 0, len(waveform)
    kept = round(_KEPT_S * SAMPLE_RATE)
    return max(int(loud[0]) * _STEP - kept, 0), min(int(loud[-1] + 1) * _STEP + kept, len(waveform))


def _fits(waiting: list[_Clip], clip: _Clip) -> bool:
    samples = sum(len(one.waveform) for one in waiting) + len(clip.waveform)
    tokens = sum(one.tokens for one in waiting) + clip.tokens
    return samples / SAMPLE_RATE <= _LONGEST_S and tokens <= MAX_TOKENS - _RESERVED_TOKENS and clip.language == waiting[0].language


def _joined(clips: list[_Clip]) -> list[Window]:
    """One window; none where no moment in it is known."""
    tokens: list[int] = []
    boundaries: list[tuple[int, Seconds]] = []
    begin_s = 0.0
    for clip in clips:
        for phrase in clip.phrases:
            if tokens:
                boundaries.append((len(tokens), begin_s + phrase.start_s))
            tokens += phrase.tokens
        begin_s += len(clip.waveform) / SAMPLE_RATE
    if not boundaries:
        return []
    return [Window(np.concatenate([clip.waveform for clip in clips]), clips[0].language, tuple(tokens), tuple(boundaries))]
