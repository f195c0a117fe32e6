"""An engine that hears what it is told to: for tests of programs that use finewhisper, without weights and in milliseconds.

It is handed to a :class:`~finewhisper.transcription.transcriber.Transcriber` or called by itself; no model folder loads it.
What is said is turned into tokens and back as with any engine, so that token budgets, windows, times inside the audio, language detection
and refusals are those of the real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NoReturn

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, Waveform
from finewhisper.engines.base import Engine, Features, Hypothesis
from finewhisper.errors import UnsupportedError
from finewhisper.language import LANGUAGES
from finewhisper.model import Context
from finewhisper.transcript import DecodeOptions, Segment, Transcript
from finewhisper.vocabulary import TIMESTAMP_TOKENS, Vocabulary

#: What is heard in a clip of up to 30 s (16 kHz mono): a sentence in English, or a transcript, of which language, phrases and scores count.
Script = Callable[[Waveform, DecodeOptions], str | Transcript]

#: Of a phrase whose script gives no scores.
_LOGPROB, _NO_SPEECH_PROB = -0.1, 0.01
#: How likely the script's language is; the others share the rest.
_CERTAIN = 0.99


class FakeEngine(Engine):
    """Hears what a script says, clip by clip.

    ``FakeEngine("hello")`` hears the same in every clip. A script sees the sound and the options, so it can answer to a prompt, a language
    or a temperature; empty text is silence.

    Args:
        script: one sentence for all clips, or a function. What it says beyond the budget of tokens that a clip's length allows is cut off.
        vocabulary: by default multilingual, with one token for each byte of text.
    """

    name = "fake"
    precision = "float32"
    encodes = False

    def __init__(
        self, script: str | Script = "", *, vocabulary: Vocabulary | None = None, context: Context | None = None, n_mels: int = 80
    ) -> None:
        super().__init__(vocabulary or byte_vocabulary(), context or Context(), n_mels)
        self._script = script
        self._heard = Transcript((), "en", 0.0)  # in the clip that is being decoded

    def encode(self, features: Features) -> NoReturn:
        """Not offered. Raises: UnsupportedError."""
        raise UnsupportedError("the fake engine has no encoder; use a model to look at one")

    def detect_languages(self, waveforms: Sequence[Waveform]) -> list[dict[str, float]]:
        """The language that the script names is likeliest; an English-only vocabulary knows one."""
        if not self.vocabulary.multilingual:
            return super().detect_languages(waveforms)
        return [self._probabilities(self._hear(clip, DecodeOptions())) for clip in waveforms]

    def _decode(self, features: Features, clips: list[Waveform], options: DecodeOptions) -> list[Transcript]:
        """Clip by clip, because a script answers to the sound, which a network does not see."""
        transcripts: list[Transcript] = []
        for index, clip in enumerate(clips):
            self._heard = self._hear(clip, options)
            transcripts += super()._decode(features[index : index + 1], [clip], options)
        return transcripts

    def _detect_languages(self, features: Features) -> list[dict[str, float]]:
        return [self._probabilities(self._heard)] * len(features)

    def _generate(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        tokens = self._tokens(self._heard, timestamps=options.timestamps)
        first = self._heard.segments[0] if self._heard.segments else None
        logprob = _LOGPROB if first is None or first.avg_logprob is None else first.avg_logprob
        silence = _NO_SPEECH_PROB if first is None or first.no_speech_prob is None else first.no_speech_prob
        return [Hypothesis(tuple(tokens[:max_tokens]), logprob, silence)]

    def _hear(self, clip: Waveform, options: DecodeOptions) -> Transcript:
        duration_s = len(clip) / SAMPLE_RATE
        said = self._script if isinstance(self._script, str) else self._script(clip, options)
        return Transcript((Segment(said, 0.0, duration_s),), "en", duration_s) if isinstance(said, str) else said

    def _tokens(self, heard: Transcript, *, timestamps: bool) -> list[int]:
        tokens: list[int] = []
        for segment in heard.segments:
            text = self.vocabulary.encode_text(segment.text, heard.language)
            times = [self.vocabulary.timestamp(min(at_s, WINDOW_S)) for at_s in (segment.start_s, segment.end_s)]
            tokens += [times[0], *text, times[1]] if timestamps and text else text
        return tokens

    def _probabilities(self, heard: Transcript) -> dict[str, float]:
        others = (1.0 - _CERTAIN) / (len(self.vocabulary.languages) - 1)
        return dict.fromkeys(self.vocabulary.languages, others) | {heard.language: _CERTAIN}


@cache
def byte_vocabulary() -> Vocabulary:
    """A vocabulary with the size and the special tokens of multilingual models, in which every byte of text is a token."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    never = [f"<{number}>" for number in range(_TEXT_TOKENS - len(letters))]  # so that special tokens have their usual numbers
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(letters + never)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    languages = [code for code in LANGUAGES if code != "yue"]  # which large-v3 alone has
    names = ["endoftext", "startoftranscript", *languages, *_TASKS]
    tokenizer.add_special_tokens([AddedToken(f"<|{name}|>", normalized=False, special=True) for name in names])
    tokenizer.add_tokens([AddedToken(time, normalized=False) for time in TIMESTAMP_TOKENS])
    return Vocabulary(tokenizer)


#: The tokens of text before the first special one, and the special ones between languages and times.
_TEXT_TOKENS = 50_257
_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
