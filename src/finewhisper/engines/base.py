"""What an engine is: one loaded model with one method.

Everything that must not differ between engines happens here: the context, the features, the prompt, the token budget and the cutting
into segments. A concrete engine only runs its network.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from finewhisper.audio import SAMPLE_RATE, WINDOW_FRAMES, WINDOW_SAMPLES, Waveform
from finewhisper.features import context_frames, log_mel, pad_samples
from finewhisper.model import Context
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.vocabulary import MAX_TOKENS, Vocabulary, language_code

Features = npt.NDArray[np.float32]  # (batch, n_mels, frames)

#: A clip with less certainty than both of these holds no speech (Radford et al. 2022, section 4.5).
NO_SPEECH_THRESHOLD, LOGPROB_THRESHOLD = 0.6, -1.0
#: Every clip may have this many tokens whatever its length, for times and the end token.
_FREE_TOKENS = 12


@dataclass(frozen=True)
class Hypothesis:
    """What a network wrote for one clip: tokens after the prompt, without the end token."""

    tokens: tuple[int, ...]
    avg_logprob: float
    no_speech_prob: float


class Engine(ABC):
    """A loaded model that turns clips of up to 30 s into transcripts.

    Attributes:
        name: the engine's name, as in ``--engine``.
        precision: the type it computes in, such as ``float32`` or ``int8``.
        vocabulary: the model's tokens.
        context: which lengths of context the model has learnt.
        n_mels: 80, or 128 for large-v3 and turbo.
    """

    name: str
    precision: str

    def __init__(self, vocabulary: Vocabulary, context: Context, n_mels: int) -> None:
        self.vocabulary, self.context, self.n_mels = vocabulary, context, n_mels

    def transcribe(self, waveforms: Sequence[Waveform], options: DecodeOptions) -> list[Transcript]:
        """Decode clips of up to 30 s, 16 kHz mono; the result does not depend on which clips are decoded together.

        Raises:
            UsageError: the model cannot do what ``options`` ask for.
            UnsupportedError: this engine cannot.
        """
        if any(len(waveform) > WINDOW_SAMPLES for waveform in waveforms):
            raise ValueError("an engine takes clips of up to 30 s; Transcriber cuts longer ones")
        results: dict[int, Transcript] = {}
        for frames, members in self._by_context(waveforms).items():
            for first in range(0, len(members), options.batch_size):
                batch = members[first : first + options.batch_size]
                features = np.stack([log_mel(pad_samples(waveforms[index], frames), self.n_mels) for index in batch])
                clips = [waveforms[index] for index in batch]
                results.update(zip(batch, self._decode(features, clips, options), strict=True))
        return [results[index] for index in range(len(waveforms))]

    @abstractmethod
    def encode(self, features: Features) -> npt.NDArray[np.float32]:
        """The encoder's output for log-mel features (batch, n_mels, frames): (batch, frames // 2, d_model).

        Raises:
            UnsupportedError: this engine does not show it.
        """

    def frames(self, waveform: Waveform) -> int:
        """The log-mel frames that the network sees for a clip: 3000 unless the model has learnt shorter contexts."""
        return context_frames(len(waveform) / SAMPLE_RATE, self.context.margin_s) if self.context.trimmed else WINDOW_FRAMES

    def detect_languages(self, waveforms: Sequence[Waveform]) -> list[dict[str, float]]:
        """The probability of each language code for each clip of up to 30 s; an English-only model knows one."""
        if not self.vocabulary.multilingual:
            return [{"en": 1.0}] * len(waveforms)
        features = [log_mel(pad_samples(waveform, self.frames(waveform)), self.n_mels) for waveform in waveforms]
        return [self._detect_languages(clip[np.newaxis])[0] for clip in features]

    @abstractmethod
    def _generate(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        """Run the network on a batch whose prompts are of one length, writing up to ``max_tokens`` after the prompt."""

    @abstractmethod
    def _detect_languages(self, features: Features) -> list[dict[str, float]]:
        """The probability of each language code for each clip."""

    def _by_context(self, waveforms: Sequence[Waveform]) -> dict[int, list[int]]:
        """Clips grouped by the context they need; a model that never learnt short contexts always gets 30 s."""
        groups: dict[int, list[int]] = {}
        for index, waveform in enumerate(waveforms):
            groups.setdefault(self.frames(waveform), []).append(index)
        return groups

    def _decode(self, features: Features, clips: list[Waveform], options: DecodeOptions) -> list[Transcript]:
        languages = self._languages(features, options)
        prompts = [
            self.vocabulary.prompt(code, options.task, timestamps=options.timestamps, previous=options.prompt) for code, _ in languages
        ]
        budgets = [token_budget(len(clip) / SAMPLE_RATE, len(prompts[0]), options) for clip in clips]
        hypotheses = self._generate(features, prompts, max(budgets), options)
        return [
            self._transcript(replace(hypothesis, tokens=hypothesis.tokens[:budget]), len(clip) / SAMPLE_RATE, language, options)
            for hypothesis, clip, language, budget in zip(hypotheses, clips, languages, budgets, strict=True)
        ]

    def _languages(self, features: Features, options: DecodeOptions) -> list[tuple[str, float | None]]:
        """Each clip's language code, and how likely it is where it was detected rather than given."""
        if not self.vocabulary.multilingual:
            return [(language_code(options.language or "en"), None)] * len(features)
        if options.language is not None:
            return [(language_code(options.language), None)] * len(features)
        return [max(found.items(), key=lambda item: item[1]) for found in self._detect_languages(features)]

    def _transcript(
        self, hypothesis: Hypothesis, duration_s: float, language: tuple[str, float | None], options: DecodeOptions
    ) -> Transcript:
        silent = hypothesis.no_speech_prob > NO_SPEECH_THRESHOLD and hypothesis.avg_logprob < LOGPROB_THRESHOLD
        segments = [] if silent else self.vocabulary.segments(hypothesis.tokens, duration_s)
        scored = (replace(segment, avg_logprob=hypothesis.avg_logprob, no_speech_prob=hypothesis.no_speech_prob) for segment in segments)
        well_timed = (self.vocabulary.well_timed(hypothesis.tokens),) if options.timestamps and segments else ()
        return Transcript(tuple(scored), language[0], duration_s, language[1], well_timed)


def token_budget(duration_s: float, prompt_tokens: int, options: DecodeOptions) -> int:
    """How many tokens a clip may have: what its length can hold, and never more than the decoder can."""
    return min(_FREE_TOKENS + math.ceil(duration_s * options.max_tokens_per_second), MAX_TOKENS - prompt_tokens)
