"""Proof that a copy says what its source says.

Three things are compared. Every stored weight (:mod:`finewhisper.convert.weights`). For each of some clips the encoder's output, over
the full 30 s and over a window cut to the clip: the root mean square of the difference, relative to that of the source. And the tokens
that each model writes greedily for it: the share that an alignment finds equal; this alone sees tokenizer, prompts and suppressed tokens.

whisper.cpp keeps its encoder's output to itself, so of a ggml copy the weights and the tokens are compared; where an engine cannot run
one of both at all, the weights alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper import progress
from finewhisper.audio import SAMPLE_RATE, WINDOW_FRAMES, Seconds, Waveform
from finewhisper.convert.ggml_format import GgmlFile
from finewhisper.convert.weights import largest_error
from finewhisper.engines import load_engine
from finewhisper.engines.base import Engine, token_budget
from finewhisper.features import context_frames, log_mel, pad_samples
from finewhisper.metrics import utterance_rates
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions

Encoding = npt.NDArray[np.float32]  # (positions, d_model)

#: Silence after the clip in the window that is cut to it.
_MARGIN_S: Seconds = 1.0
#: A clip is compared over at most this many tokens; a model that loops on it would write 400.
_MAX_TOKENS = 100


@dataclass(frozen=True)
class Clip:
    """Up to 30 s of sound to compare on."""

    name: str
    waveform: Waveform
    language: str | None = None  #: None: what the source model detects
    speech: bool = True  #: False for a made-up sound, for which a model that was rounded at all may write something else


@dataclass(frozen=True)
class Bound:
    """What a copy may differ by; docs/convert.md says what was measured."""

    weight_error: float  #: of any weight, relative to the largest of its tensor
    encoder_error: float  #: of any clip's encoder output, relative
    token_agreement: float  #: least share of equal tokens over all clips of speech

    def loosened(self, other: Bound) -> Bound:
        """The less strict of both in what depends on computing; weights are compared as they are stored."""
        return Bound(self.weight_error, max(self.encoder_error, other.encoder_error), min(self.token_agreement, other.token_agreement))


#: By the type of the weights. The weight errors are what rounding to the type gives. float32 engines differ by the order of their
#: additions alone, yet a token may flip where two are as likely.
_BOUNDS = {
    "float32": Bound(0.0, 2e-4, 0.99),
    "float16": Bound(2**-11, 5e-3, 0.95),
    "bfloat16": Bound(2**-8, 8e-2, 0.80),
    "int16": Bound(0.51 / 2**10, 5e-2, 0.85),
    "int8": Bound(0.51 / 127, 0.25, 0.50),
    # whisper.cpp's: half a step of a block, and the rounding of its scale to 16 bits; q5_0 and q4_0 have a step less on one side of zero
    "f32": Bound(0.0, 0.0, 1.0),
    "f16": Bound(2**-11, 5e-3, 0.95),
    "q8_0": Bound(0.51 / 127 + 2**-11, 0.25, 0.50),
    "q5_0": Bound(1.01 / 16, 0.5, 0.30),
    "q5_1": Bound(1.03 / 31, 0.5, 0.30),
    "q4_0": Bound(1.01 / 8, 1.0, 0.10),
    "q4_1": Bound(1.03 / 15, 1.0, 0.10),
}


def bound(quantization: str) -> Bound:
    """The bound for a type of weights; int8_float16 and its like are int8."""
    return _BOUNDS[quantization if quantization in _BOUNDS else quantization.split("_")[0]]


@dataclass(frozen=True)
class Comparison:
    """One clip through both models."""

    name: str
    full_error: float | None  #: of the encoder over 30 s; None where an engine does not show it
    cut_error: float | None  #: of the encoder over a window cut to the clip
    tokens: int  #: of the longer of the two outputs
    token_errors: int  #: edits between them
    judged: bool  #: whether the tokens count


@dataclass(frozen=True)
class Agreement:
    """What was found, and what was asked for."""

    weight_error: float
    clips: tuple[Comparison, ...]
    bound: Bound

    @property
    def encoder_error(self) -> float | None:
        """None where an engine does not show its encoder's output."""
        errors = [error for clip in self.clips for error in (clip.full_error, clip.cut_error) if error is not None]
        return float(np.max(errors)) if errors else None  # a NaN among them is the result

    @property
    def token_agreement(self) -> float | None:
        """None where nothing was written for speech."""
        tokens = sum(clip.tokens for clip in self.clips if clip.judged)
        return 1.0 - sum(clip.token_errors for clip in self.clips if clip.judged) / tokens if tokens else None

    @property
    def good(self) -> bool:
        # each comparison is false for a NaN
        return (
            self.weight_error <= self.bound.weight_error
            and (self.encoder_error is None or self.encoder_error <= self.bound.encoder_error)
            and (self.token_agreement is None or self.token_agreement >= self.bound.token_agreement)
        )

    def record(self) -> dict[str, Any]:
        """What ``finewhisper.json`` says about it."""
        return {
            "clips": [clip.name for clip in self.clips],
            "weight_error": self.weight_error,
            "encoder_error": self.encoder_error,
            "token_agreement": self.token_agreement,
        }

    def __str__(self) -> str:
        width = max((len(clip.name) for clip in self.clips), default=0)
        lines = (
            [f"{'clip':<{width}}  encoder 30 s  encoder cut  equal tokens"] if self.clips else ["no engine runs both: the weights alone"]
        )
        for clip in self.clips:
            tokens = f"{clip.tokens - clip.token_errors:>5} of {clip.tokens}{'' if clip.judged else ' (no speech, not judged)'}"
            lines.append(f"{clip.name:<{width}}  {_shown(clip.full_error):>12}  {_shown(clip.cut_error):>11}  {tokens}")
        lines.append(f"largest error of a weight {self.weight_error:.1e} (allowed {self.bound.weight_error:.1e})")
        if self.encoder_error is not None:
            lines.append(f"largest error of an encoder output {self.encoder_error:.1e} (allowed {self.bound.encoder_error:.1e})")
        if self.token_agreement is not None:
            lines.append(f"equal tokens {self.token_agreement:.1%} (wanted {self.bound.token_agreement:.0%})")
        return "\n".join(lines)


def _shown(error: float | None) -> str:
    return "-" if error is None else f"{error:.1e}"


def compare(source: ModelFolder, copy: ModelFolder, clips: Sequence[Clip], quantization: str) -> Agreement:
    """Run both models on a CPU over ``clips``; only one of them is in memory at a time.

    Args:
        source: a transformers folder, and ``copy`` one of another kind, or the other way round.
        quantization: the type of the copy's weights.

    Raises:
        ModelError: one of them cannot be loaded.
        MissingExtraError: an engine is not installed.
    """
    weight_error = largest_error(*((source, copy) if source.kind == "transformers" else (copy, source)))
    if not (_runs(source) and _runs(copy)):
        return Agreement(weight_error, (), bound(quantization))
    encoder = "ggml" not in (source.kind, copy.kind)
    engine = load_engine(source, device="cpu", precision="auto" if source.kind == "ggml" else "float32")
    languages = [clip.language or _detect(engine, clip) for clip in clips]
    expected = _outputs(engine, clips, languages, "source", encoder)
    source_precision = engine.precision
    del engine
    engine = load_engine(copy, device="cpu")
    found = _outputs(engine, clips, languages, "copy", encoder)
    # a CPU that cannot compute in the stored type computes in another one, and a ggml source in its own
    limits = bound(quantization).loosened(bound(engine.precision)).loosened(bound(source_precision))
    exact = limits.token_agreement >= bound("float32").token_agreement
    compared = (_comparison(clip.name, a, b, judged=clip.speech or exact) for clip, a, b in zip(clips, expected, found, strict=True))
    return Agreement(weight_error, tuple(compared), limits)


def _runs(folder: ModelFolder) -> bool:
    """Whether an engine can run it: none runs OpenAI's checkpoints, and whisper.cpp loads ggml's f32 but cannot compute with it."""
    return folder.kind != "openai" and not (folder.kind == "ggml" and GgmlFile(folder.stored_weights()[0]).stored == "f32")


@dataclass(frozen=True)
class _Output:
    full: Encoding | None
    cut: Encoding | None
    tokens: tuple[int, ...]


def _detect(engine: Engine, clip: Clip) -> str:
    found = engine.detect_languages([clip.waveform])[0]
    return max(found, key=found.__getitem__)


def _outputs(engine: Engine, clips: Sequence[Clip], languages: Sequence[str], name: str, encoder: bool) -> list[_Output]:
    pairs = zip(clips, languages, strict=True)
    return [
        _output(engine, clip.waveform, language, encoder) for clip, language in progress.track(pairs, f"verify {name}", len(clips), "clip")
    ]


def _output(engine: Engine, waveform: Waveform, language: str, encoder: bool) -> _Output:
    duration_s = len(waveform) / SAMPLE_RATE
    options = DecodeOptions(language=language, timestamps=False)
    prompt = engine.vocabulary.prompt(language, timestamps=False)
    budget = min(token_budget(duration_s, len(prompt), options), _MAX_TOKENS)
    hypothesis = engine._generate(_features(engine, waveform, engine.frames(waveform)), [prompt], budget, options)[0]
    windows = (WINDOW_FRAMES, context_frames(duration_s, _MARGIN_S))
    full, cut = (engine.encode(_features(engine, waveform, frames))[0] if encoder else None for frames in windows)
    return _Output(full, cut, hypothesis.tokens)


def _features(engine: Engine, waveform: Waveform, frames: int) -> npt.NDArray[np.float32]:
    return log_mel(pad_samples(waveform, frames), engine.n_mels)[np.newaxis]


def _comparison(name: str, expected: _Output, found: _Output, *, judged: bool) -> Comparison:
    edits = utterance_rates([" ".join(map(str, expected.tokens))], [" ".join(map(str, found.tokens))], "word")[0]
    longer = max(len(expected.tokens), len(found.tokens))
    errors = _relative_error(expected.full, found.full), _relative_error(expected.cut, found.cut)
    return Comparison(name, *errors, longer, edits.errors, judged)


def _relative_error(expected: Encoding | None, found: Encoding | None) -> float | None:
    if expected is None or found is None:
        return None
    return float(np.sqrt(np.mean((expected - found) ** 2, dtype=np.float64) / np.mean(expected**2, dtype=np.float64)))


def generated_clip() -> Clip:
    """Four seconds of a made-up voice: a gliding pitch whose overtones follow changing vowels, in syllables.

    Formant frequencies: Peterson and Barney, "Control methods used in a study of the vowels" (1952), men's averages.
    """
    vowels = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410]])  # a i u e o, Hz
    time_s = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    formants = np.stack([np.interp(time_s * 4, np.arange(17), np.resize(vowels[:, k], 17)) for k in range(3)])  # (3, samples)
    pitch_hz = 120 + 25 * np.sin(2 * np.pi * 0.7 * time_s)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
    sound = np.zeros_like(time_s)
    for overtone in range(1, 33):
        strength = np.exp(-(((overtone * pitch_hz - formants) / 150) ** 2)).sum(axis=0) / np.sqrt(overtone)
        sound += strength * np.sin(overtone * phase)
    sound *= np.clip(np.sin(np.pi * 4 * time_s) ** 2 * 1.5, 0, 1)  # four syllables a second
    sound += 0.003 * np.random.default_rng(0).standard_normal(len(sound))  # breath
    return Clip("generated voice, 4 s", np.asarray(0.3 * sound / np.abs(sound).max(), dtype=np.float32), speech=False)
