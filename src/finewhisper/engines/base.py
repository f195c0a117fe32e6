"""What an engine is: one loaded model with one method.

Everything that must not differ between engines happens here: the context, the features, the prompt, the token budget and the cutting
into segments. A concrete engine only runs its network.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from finewhisper.audio import FRAMES_PER_SECOND, SAMPLE_RATE, TIMESTAMP_STEP_S, WINDOW_FRAMES, WINDOW_SAMPLES, Waveform
from finewhisper.engines.word_times import TokenTimes, with_words
from finewhisper.errors import FinewhisperError, MemoryLimitError, ModelError, UnsupportedError
from finewhisper.features import context_frames, log_mel, pad_samples
from finewhisper.language import language_code
from finewhisper.model import Context
from finewhisper.transcript import DecodeOptions, Segment, Transcript, written_language
from finewhisper.vocabulary import MAX_TOKENS, Vocabulary

if TYPE_CHECKING:
    from typing_extensions import Self

Features = npt.NDArray[np.float32]  # (batch, n_mels, frames)

#: A clip with less certainty than both of these holds no speech (Radford et al. 2022, section 4.5).
NO_SPEECH_THRESHOLD, LOGPROB_THRESHOLD = 0.6, -1.0
#: The shortest context, and the silence in it after a clip, for a model that was trained on 30 s windows only. Attention costs the
#: square of a context, so that 20 s take two fifths of the time of 30 s; whisper-base hears as well in them (benchmarks/LOG.md), and
#: repeats itself in contexts of a few seconds.
UNTAUGHT_S, UNTAUGHT_MARGIN_S = 20.0, 1.0
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
        n_mels: 80, or 128 for large-v3 and turbo.
        encodes: whether ``encode`` is offered; a library may keep its encoder's output to itself.
        workers: how many threads may call ``transcribe`` at once and so be faster than one.
    """

    name: str
    precision: str
    encodes = True
    workers = 1

    def __init__(self, vocabulary: Vocabulary, context: Context, n_mels: int) -> None:
        self.vocabulary, self.n_mels, self._learnt = vocabulary, n_mels, context

    @property
    def context(self) -> Context:
        """Which lengths of context the model has learnt."""
        return self._learnt

    def within(self, context: Context) -> Self:
        """The same network, decoding in other contexts than it says that it has learnt."""
        other = copy(self)
        other._learnt = context
        return other

    def transcribe(self, waveforms: Sequence[Waveform], options: DecodeOptions, batch_size: int = 16) -> list[Transcript]:
        """Decode clips of up to 30 s, 16 kHz mono; the result does not depend on which clips are decoded together.

        Args:
            batch_size: clips decoded together.

        Raises:
            UsageError: the model cannot do what ``options`` ask for.
            UnsupportedError: this engine cannot.
            MemoryLimitError: memory does not hold a batch.
        """
        if any(len(waveform) > WINDOW_SAMPLES for waveform in waveforms):
            raise ValueError("an engine takes clips of up to 30 s; Transcriber cuts longer ones")
        results: dict[int, Transcript] = {}
        for frames, members in self._by_context(waveforms, options).items():
            for first in range(0, len(members), batch_size):
                batch = members[first : first + batch_size]
                with memory_errors(len(batch)):
                    features = np.stack([log_mel(pad_samples(waveforms[index], frames), self.n_mels) for index in batch])
                    clips = [waveforms[index] for index in batch]
                    results.update(zip(batch, self._decode(features, clips, options), strict=True))
        return [results[index] for index in range(len(waveforms))]

    @abstractmethod
    def encode(self, features: Features) -> npt.NDArray[np.float32]:
        """The encoder's output for log-mel features (batch, n_mels, frames): (batch, frames // 2, d_model).

        Raises:
            UnsupportedError: this engine does not offer it (``encodes`` is False).
        """

    def frames(self, waveform: Waveform, options: DecodeOptions | None = None) -> int:
        """The log-mel frames that the network sees for a clip: its length and a margin of silence, at most 3000.

        A model that has not learnt short contexts is given no shorter one than 20 s, unless ``options.margin_s`` asks for it.
        """
        if self.context.padded or (options is not None and options.full_windows):
            return WINDOW_FRAMES
        duration_s = len(waveform) / SAMPLE_RATE
        if self.context.trimmed:
            return context_frames(duration_s, self.context.margin_s)
        if options is not None and options.margin_s is not None:
            return context_frames(duration_s, options.margin_s)
        return context_frames(max(duration_s, UNTAUGHT_S - UNTAUGHT_MARGIN_S), UNTAUGHT_MARGIN_S)

    def detect_languages(self, waveforms: Sequence[Waveform]) -> list[dict[str, float]]:
        """The probability of each language code for each clip of up to 30 s; an English-only model knows one.

        Raises:
            MemoryLimitError: memory does not even hold one clip.
        """
        if not self.vocabulary.multilingual:
            return [{"en": 1.0}] * len(waveforms)
        found = []
        for waveform in waveforms:
            with memory_errors(1):
                features = log_mel(pad_samples(waveform, self.frames(waveform)), self.n_mels)
                found += self._detect_languages(features[np.newaxis])
        return found

    def try_word_times(self) -> None:
        """Find the times of a word in silence: where the model names attention heads that it has not, none can be found.

        Raises:
            UnsupportedError: this engine, or this model, tells no times of words.
        """
        waveform = np.zeros(SAMPLE_RATE, dtype=np.float32)
        features = log_mel(pad_samples(waveform, self.frames(waveform)), self.n_mels)[np.newaxis]
        try:
            prompt, tokens = self.vocabulary.prompt("en", "transcribe", timestamps=False), self.vocabulary.encode(" hello")
            self._token_times(features, [prompt], [tokens], [features.shape[-1] // 2])
        finally:
            self._forget()

    @abstractmethod
    def _generate(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        """Run the network on a batch whose prompts are of one length, writing up to ``max_tokens`` after the prompt.

        With ``options.temperature`` above 0 tokens are drawn, from the seed in the options, and ``beam_size`` does not count.
        """

    @abstractmethod
    def _detect_languages(self, features: Features) -> list[dict[str, float]]:
        """The probability of each language code for each clip."""

    def _by_context(self, waveforms: Sequence[Waveform], options: DecodeOptions) -> dict[int, list[int]]:
        """Clips grouped by the context they need, or that the options ask for."""
        groups: dict[int, list[int]] = {}
        for index, waveform in enumerate(waveforms):
            groups.setdefault(self.frames(waveform, options), []).append(index)
        return groups

    def _token_times(self, features: Features, prompts: list[list[int]], tokens: list[list[int]], positions: list[int]) -> list[TokenTimes]:
        """When each token of the text that was heard in a batch begins; an engine that cannot tell leaves this out.

        Args:
            prompts: what the decoder sees before the text, ``<|notimestamps|>`` included; they may differ in length.
            tokens: text tokens only, at least one for each clip.
            positions: how many positions of 20 ms of the encoder's output belong to each clip.

        Raises:
            UnsupportedError: this engine cannot.
        """
        raise UnsupportedError(f"--word-timestamps: the {self.name} engine tells no times of words; use ctranslate2 or transformers")

    def _forget(self) -> None:  # noqa: B027 - most engines keep nothing
        """Free what was kept of a batch between its stages."""

    def _decode(self, features: Features, clips: list[Waveform], options: DecodeOptions) -> list[Transcript]:
        try:
            languages = self._languages(features, options)
            prompts = [
                self.vocabulary.prompt(
                    code, options.task, timestamps=options.timestamps, previous=options.prompt, hotwords=options.hotwords
                )
                for code, _ in languages
            ]
            budgets = [token_budget(len(clip) / SAMPLE_RATE, len(prompts[0]), options) for clip in clips]
            found = self._hypotheses(features, prompts, max(budgets), options)
            hypotheses = [replace(one, tokens=one.tokens[:budget]) for one, budget in zip(found, budgets, strict=True)]
            cut_off = [len(one.tokens) >= budget for one, budget in zip(found, budgets, strict=True)]
            durations_s = [len(clip) / SAMPLE_RATE for clip in clips]
            transcripts = [
                replace(self._transcript(hypothesis, duration_s, language, options), cut_off=unended)
                for hypothesis, duration_s, language, unended in zip(hypotheses, durations_s, languages, cut_off, strict=True)
            ]
            return self._with_words(features, hypotheses, transcripts, options) if options.word_timestamps else transcripts
        finally:
            self._forget()

    def _hypotheses(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        """What the network writes; drawn by chance, it is written clip by clip, so that it does not depend on a clip's neighbours."""
        if not options.temperature:
            return self._generate(features, prompts, max_tokens, options)
        clips = range(len(prompts))
        return [self._generate(features[clip : clip + 1], [prompts[clip]], max_tokens, options)[0] for clip in clips]

    def _with_words(
        self, features: Features, hypotheses: list[Hypothesis], transcripts: list[Transcript], options: DecodeOptions
    ) -> list[Transcript]:
        """The transcripts with the times of their words; without timestamps, phrases begin and end with their words."""
        pieces = [
            self.vocabulary.pieces(hypothesis.tokens, clip.duration_s) for hypothesis, clip in zip(hypotheses, transcripts, strict=True)
        ]
        spoken = [index for index, transcript in enumerate(transcripts) if transcript.segments]
        if not spoken:
            return transcripts
        prompts = [self.vocabulary.prompt(transcripts[index].language, options.task, timestamps=False) for index in spoken]
        longest = MAX_TOKENS - max(map(len, prompts)) - 1
        tokens = [[token for _, own in pieces[index] for token in own][:longest] for index in spoken]
        positions = [min(max(round(transcripts[index].duration_s / TIMESTAMP_STEP_S), 1), features.shape[-1] // 2) for index in spoken]
        chosen = features if len(spoken) == len(features) else features[spoken]
        results = list(transcripts)
        for index, times in zip(spoken, self._token_times(chosen, prompts, tokens, positions), strict=True):
            transcript = transcripts[index]
            written = written_language(transcript.language, options.task) or transcript.language
            loudness = features[index, :, : round(transcript.duration_s * FRAMES_PER_SECOND)].mean(axis=0)
            timed = with_words(self.vocabulary, transcript.segments, [own for _, own in pieces[index]], times, written, loudness)
            results[index] = replace(transcript, segments=tuple(timed if options.timestamps else map(_tight, timed)))
        return results

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


def _tight(segment: Segment) -> Segment:
    """From the first word to the last."""
    return replace(segment, start_s=segment.words[0].start_s, end_s=segment.words[-1].end_s) if segment.words else segment


#: What libraries say when memory does not suffice; CTranslate2, torch and onnxruntime have no class of their own for all of it.
_MEMORY_WORDS = re.compile(
    r"out of memory|bad_alloc|failed to allocate|can't allocate memory|cannot allocate memory|alloc_failed|std::length_error", re.IGNORECASE
)


@contextmanager
def memory_errors(clips: int) -> Iterator[None]:
    """Map what every library raises for want of memory to one error.

    Raises:
        MemoryLimitError: memory does not hold a batch of ``clips`` clips.
    """
    try:
        yield
    except Exception as error:
        if not (isinstance(error, MemoryError) or _MEMORY_WORDS.search(f"{type(error).__name__} {error}")):
            raise
        raise MemoryLimitError(
            f"memory does not hold {clips} clip{'s' * (clips != 1)} at once; use a smaller --batch-size, an int8 copy or a smaller model"
        ) from error


@contextmanager
def library_errors(path: Path, library: str) -> Iterator[None]:
    """Map what a library raises while it runs a network to one error; those for want of memory pass.

    Weights and graphs are not all looked through when a model is loaded: the parts of a damaged one may contradict each other.

    Raises:
        ModelError: the library cannot run the model at ``path``.
    """
    try:
        yield
    except (FinewhisperError, MemoryError):
        raise
    except Exception as error:
        if _MEMORY_WORDS.search(f"{type(error).__name__} {error}"):
            raise
        raise ModelError(f"{path}: {library} cannot run it ({error}); download or convert the model again") from error


def token_budget(duration_s: float, prompt_tokens: int, options: DecodeOptions) -> int:
    """How many tokens a clip may have: what its length can hold, and never more than the decoder can."""
    return min(_FREE_TOKENS + math.ceil(duration_s * options.max_tokens_per_second), MAX_TOKENS - prompt_tokens)
