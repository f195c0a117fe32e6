"""Proof that a copy says what its source says.

What is compared depends on what the kinds of folders show:

- every stored weight (:mod:`finewhisper.conversion.weights`), between transformers and any other kind;
- for each of some clips the encoder's output, over the full 30 s and over a window cut to the clip: the root mean square of the
  difference, relative to that of the source; where both engines show it;
- the tokens that each model writes greedily, wherever engines can run both: the share that an alignment finds equal. This alone sees
  tokenizer, prompts and suppressed tokens;
- where it is known what is said in the clips, the error rates of both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper import progress
from finewhisper.audio import SAMPLE_RATE, WINDOW_FRAMES, Seconds, Waveform
from finewhisper.conversion.ggml_format import GgmlFile
from finewhisper.conversion.weights import largest_error
from finewhisper.engines import load_engine
from finewhisper.engines.base import Engine, token_budget
from finewhisper.errors import UnsupportedError
from finewhisper.features import context_frames, log_mel, pad_samples
from finewhisper.formats import FORMATS
from finewhisper.model import ModelFolder
from finewhisper.scoring.rates import NAMES, ErrorRate, common_unit, total, utterance_rates
from finewhisper.scoring.rates import compare as compare_texts
from finewhisper.scoring.scores import Score
from finewhisper.scoring.text import Normalizer
from finewhisper.terminal import table
from finewhisper.transcript import DecodeOptions

Encoding = npt.NDArray[np.float32]  # (positions, d_model)

#: Silence after the clip in the window that is cut to it.
_MARGIN_S: Seconds = 1.0
#: A clip of which nobody says what is said is compared over at most this many tokens; a model that loops on it would write 400.
_MAX_TOKENS = 100


#: So many errors more than the source prove nothing, however few words there are: of copies that are as good as their source, one in
#: sixteen has them (2**-4, a sign test); five more are seen in fewer than one in twenty.
_CHANCE = 4


@dataclass(frozen=True)
class Clip:
    """Up to 30 s of sound to compare on."""

    name: str
    waveform: Waveform
    language: str | None = None  #: None: what the source model detects
    speech: bool = True  #: False for a made-up sound, for which a model that was rounded at all may write something else
    sentence: str | None = None  #: what is said, where that is known


@dataclass(frozen=True)
class Bound:
    """What a copy may differ by; docs/convert.md says what was measured."""

    weight_error: float  #: of any weight, relative to the largest of its tensor
    encoder_error: float  #: of any clip's encoder output, relative
    token_agreement: float  #: least share of equal tokens over all clips of speech
    error_points: float  #: how far the error rate may rise over all clips with sentences, percentage points, or by a few errors

    def loosened(self, other: Bound) -> Bound:
        """The less strict of both in what depends on computing; weights are compared as they are stored."""
        return Bound(
            self.weight_error,
            max(self.encoder_error, other.encoder_error),
            min(self.token_agreement, other.token_agreement),
            max(self.error_points, other.error_points),
        )


#: By the type of the weights. The weight errors are what rounding to the type gives. float32 engines differ by the order of their
#: additions alone, yet a token may flip where two are as likely. The error rates are those of a few clips.
_BOUNDS = {
    "float32": Bound(0.0, 2e-4, 0.99, 0.5),
    "float16": Bound(2**-11, 5e-3, 0.95, 2.0),
    "bfloat16": Bound(2**-8, 8e-2, 0.80, 3.0),
    "int16": Bound(0.51 / 2**10, 5e-2, 0.85, 3.0),
    "int8": Bound(0.51 / 127, 0.25, 0.50, 5.0),
    # whisper.cpp's: half a step of a block, and the rounding of its scale to 16 bits; q5_0 and q4_0 have a step less on one side of zero
    "f32": Bound(0.0, 0.0, 1.0, 0.0),
    "f16": Bound(2**-11, 5e-3, 0.95, 2.0),
    "q8_0": Bound(0.51 / 127 + 2**-11, 0.25, 0.50, 5.0),
    "q5_0": Bound(1.01 / 16, 0.5, 0.30, 8.0),
    "q5_1": Bound(1.03 / 31, 0.5, 0.30, 8.0),
    "q4_0": Bound(1.01 / 8, 1.0, 0.10, 15.0),
    "q4_1": Bound(1.03 / 15, 1.0, 0.10, 15.0),
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
    source_rate: ErrorRate | None = None  #: of the source's text; None where nobody says what is said
    copy_rate: ErrorRate | None = None

    def record(self) -> dict[str, Any]:
        """A line of the table in ``finewhisper.json``."""
        content: dict[str, Any] = {"name": self.name, "tokens": self.tokens, "equal_tokens": self.tokens - self.token_errors}
        if self.full_error is not None:
            content |= {"encoder_error": self.full_error, "encoder_error_cut": self.cut_error}
        if self.source_rate is not None and self.copy_rate is not None:
            content |= {"source_errors": self.source_rate.errors, "errors": self.copy_rate.errors, "of": self.copy_rate.reference_units}
        return content


@dataclass(frozen=True)
class Agreement:
    """What was found, and what was asked for."""

    weight_error: float | None  #: None between kinds that do not store the same matrices
    clips: tuple[Comparison, ...]
    bound: Bound

    @property
    def encoder_error(self) -> float | None:
        """The largest; None where an engine does not show its encoder."""
        found = [error for clip in self.clips for error in (clip.full_error, clip.cut_error) if error is not None]
        return None if not found else float("nan") if any(map(math.isnan, found)) else max(found)

    @property
    def token_agreement(self) -> float | None:
        """None where nothing was written for speech."""
        tokens = sum(clip.tokens for clip in self.clips if clip.judged)
        return 1.0 - sum(clip.token_errors for clip in self.clips if clip.judged) / tokens if tokens else None

    @property
    def rates(self) -> tuple[ErrorRate, ErrorRate] | None:
        """The error rates of source and copy; None where nobody says what is said."""
        pairs = [(clip.source_rate, clip.copy_rate) for clip in self.clips if clip.source_rate and clip.copy_rate]
        if not pairs:
            return None
        source, copy = zip(*pairs, strict=True)
        return total(source, source[0].unit), total(copy, copy[0].unit)

    def _highest_rate(self, source: ErrorRate) -> float:
        """The error rate that a copy of a source may have, percent: on a few short clips, one with a few errors more."""
        chance = 100.0 * _CHANCE / source.reference_units if source.reference_units else 0.0
        return source.percent + max(self.bound.error_points, chance)

    @property
    def good(self) -> bool:
        # each comparison is false for a NaN
        return (
            (self.weight_error is None or self.weight_error <= self.bound.weight_error)
            and (self.encoder_error is None or self.encoder_error <= self.bound.encoder_error)
            and (self.token_agreement is None or self.token_agreement >= self.bound.token_agreement)
            and (self.rates is None or self.rates[1].percent <= self._highest_rate(self.rates[0]))
        )

    def record(self) -> dict[str, Any]:
        """What ``finewhisper.json`` says about it."""
        content: dict[str, Any] = {
            "clips": [clip.record() for clip in self.clips],
            "weight_error": self.weight_error,
            "encoder_error": self.encoder_error,
            "token_agreement": self.token_agreement,
        }
        if self.rates is not None:
            source, copy = self.rates
            content |= {"score": NAMES[copy.unit], "source_error": round(source.percent, 3), "error": round(copy.percent, 3)}
        return content

    def __str__(self) -> str:
        rows = [self._headings(), *(self._cells(clip) for clip in self.clips)]
        lines = table(rows) if self.clips else ["no engine runs both: the weights alone"]
        if self.weight_error is not None:
            lines.append(f"largest error of a weight {self.weight_error:.1e} (allowed {self.bound.weight_error:.1e})")
        if self.encoder_error is not None:
            lines.append(f"largest error of an encoder output {self.encoder_error:.1e} (allowed {self.bound.encoder_error:.1e})")
        if self.token_agreement is not None:
            lines.append(f"equal tokens {self.token_agreement:.1%} (wanted {self.bound.token_agreement:.0%})")
        if self.rates is not None:
            source, copy = self.rates
            allowed = f"source {source.percent:.2f} %, allowed {self._highest_rate(source):.2f} %"
            lines.append(f"{NAMES[copy.unit]} {copy.percent:.2f} % ({allowed})")
        return "\n".join(lines)

    def _headings(self) -> list[str]:
        encoder = ["encoder 30 s", "encoder cut"] if self.encoder_error is not None else []
        return ["clip", *encoder, "equal tokens", *(["errors of source", "of copy"] if self.rates else [])]

    def _cells(self, clip: Comparison) -> list[str]:
        encoder = [_scientific(clip.full_error), _scientific(clip.cut_error)] if self.encoder_error is not None else []
        tokens = f"{clip.tokens - clip.token_errors} of {clip.tokens}{'' if clip.judged else ' (no speech, not judged)'}"
        known = clip.source_rate is not None and clip.copy_rate is not None
        errors = [str(rate.errors) if known and rate else "–" for rate in (clip.source_rate, clip.copy_rate)] if self.rates else []
        return [clip.name, *encoder, tokens, *errors]


def _scientific(error: float | None) -> str:
    return "–" if error is None else f"{error:.1e}"


def compare(source: ModelFolder, copy: ModelFolder, clips: Sequence[Clip], quantization: str) -> Agreement:
    """Run both models on a CPU over ``clips``; only one of them is in memory at a time.

    Args:
        source: a folder of any kind, and ``copy`` one of another kind.
        quantization: the type of the copy's weights.

    Raises:
        ModelError: one of them cannot be loaded.
        MissingExtraError: an engine is not installed.
    """
    weight_error = _weight_error(source, copy)
    if not (_runs(source) and _runs(copy)):
        return Agreement(weight_error, (), bound(quantization))
    # CTranslate2 computes in float32 what it stores in int8, so that the source is what it says it is; others compute as they are stored
    engine = load_engine(source, device="cpu", precision="float32" if source.kind in {"transformers", "ctranslate2"} else "auto")
    languages = [clip.language or _detect(engine, clip) for clip in clips]
    expected = _outputs(engine, clips, languages, "source")
    source_precision = engine.precision
    del engine
    engine = load_engine(copy, device="cpu")
    if FORMATS[copy.kind].word_times:
        engine.try_word_times()
    found = _outputs(engine, clips, languages, "copy")
    limits = _limits(quantization, engine.precision, source_precision)
    exact = limits.token_agreement >= bound("float32").token_agreement
    rates = zip(_rates(clips, languages, expected), _rates(clips, languages, found), strict=True)
    compared = (
        _comparison(clip.name, one, other, two_rates, judged=clip.speech or exact)
        for clip, one, other, two_rates in zip(clips, expected, found, rates, strict=True)
    )
    return Agreement(weight_error, tuple(compared), limits)


def _runs(folder: ModelFolder) -> bool:
    """Whether an engine can run it: none runs OpenAI's checkpoints, and whisper.cpp loads ggml's f32 but cannot compute with it."""
    return folder.kind != "openai" and not (folder.kind == "ggml" and GgmlFile(folder.stored_weights()[0]).stored == "f32")


def _weight_error(source: ModelFolder, copy: ModelFolder) -> float | None:
    """Between transformers and a kind whose matrices can be read back; other formats are judged by what they say."""
    folders = {folder.kind: folder for folder in (source, copy)}
    others = [folder for kind, folder in folders.items() if kind in {"ctranslate2", "ggml", "onnx", "openai"}]
    return largest_error(folders["transformers"], others[0]) if "transformers" in folders and others else None


def _limits(quantization: str, *computed: str) -> Bound:
    """The bound of the stored type; an engine that cannot compute in it computes in another one, whose bound then holds too."""
    limits = bound(quantization)
    for precision in computed:
        if precision.split("_")[0] in _BOUNDS or precision in _BOUNDS:
            limits = limits.loosened(bound(precision))
    return limits


@dataclass(frozen=True)
class _Output:
    full: Encoding | None
    cut: Encoding | None
    tokens: tuple[int, ...]
    text: str


def _detect(engine: Engine, clip: Clip) -> str:
    found = engine.detect_languages([clip.waveform])[0]
    return max(found, key=found.__getitem__)


def _outputs(engine: Engine, clips: Sequence[Clip], languages: Sequence[str], name: str) -> list[_Output]:
    pairs = zip(clips, languages, strict=True)
    return [_output(engine, clip, language) for clip, language in progress.track(pairs, f"verify {name}", len(clips), "clip")]


def _output(engine: Engine, clip: Clip, language: str) -> _Output:
    duration_s = len(clip.waveform) / SAMPLE_RATE
    options = DecodeOptions(language=language, timestamps=False)
    prompt = engine.vocabulary.prompt(language, timestamps=False)
    budget = token_budget(duration_s, len(prompt), options)
    if clip.sentence is None:
        budget = min(budget, _MAX_TOKENS)
    tokens = engine._generate(_features(engine, clip.waveform, engine.frames(clip.waveform)), [prompt], budget, options)[0].tokens[:budget]
    full = _encoded(engine, clip.waveform, WINDOW_FRAMES)
    cut = None if full is None else _encoded(engine, clip.waveform, context_frames(duration_s, _MARGIN_S))
    return _Output(full, cut, tokens, engine.vocabulary.decode(tokens))


def _encoded(engine: Engine, waveform: Waveform, frames: int) -> Encoding | None:
    """The encoder's output over a window; None where the engine does not show it."""
    try:
        encoded: Encoding = engine.encode(_features(engine, waveform, frames))[0]
        return encoded
    except UnsupportedError:
        return None


def _rates(clips: Sequence[Clip], languages: Sequence[str], outputs: Sequence[_Output]) -> list[ErrorRate | None]:
    """The errors in each clip whose sentence is known, in one unit: words, unless a language is written without spaces."""
    texts = [(clip.sentence or "", output.text) for clip, output in zip(clips, outputs, strict=True)]
    compared = compare_texts(texts, languages, Normalizer.for_language)
    rates = Score.of(compared, common_unit(pair.words for pair in compared)).rates
    return [None if clip.sentence is None else rate for clip, rate in zip(clips, rates, strict=True)]


def _features(engine: Engine, waveform: Waveform, frames: int) -> npt.NDArray[np.float32]:
    return log_mel(pad_samples(waveform, frames), engine.n_mels)[np.newaxis]


def _comparison(
    name: str, expected: _Output, found: _Output, rates: tuple[ErrorRate | None, ErrorRate | None], *, judged: bool
) -> Comparison:
    edits = utterance_rates([" ".join(map(str, expected.tokens))], [" ".join(map(str, found.tokens))], "word")[0]
    longer = max(len(expected.tokens), len(found.tokens))
    errors = _relative_error(expected.full, found.full), _relative_error(expected.cut, found.cut)
    return Comparison(name, *errors, longer, edits.errors, judged, *rates)


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
