"""Whisper in whisper.cpp: its network, with this package's features, prompts and rules of what may be written.

What whisper.cpp would do by itself (spectrogram, windows, prompt, search, falling back to higher temperatures) is left out, so a ggml
copy writes what its source writes. The audio context follows the clip where the model has learnt that, as ``-ac`` does by hand.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from finewhisper import machine
from finewhisper.audio import Waveform
from finewhisper.engines.base import Engine, Features, Hypothesis, library_errors
from finewhisper.engines.libwhisper import Network
from finewhisper.engines.rules import Rules, Scores, log_sum_exp
from finewhisper.engines.search import greedy
from finewhisper.errors import ModelError, UnsupportedError
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.vocabulary import Vocabulary

#: ``enum ggml_ftype`` without f32, which whisper.cpp loads and then cannot run: its convolutions take 16-bit weights only, and it ends
#: the whole process (ggml-org/whisper.cpp issue 2557).
_PRECISIONS = {1: "f16", 2: "q4_0", 3: "q4_1", 7: "q8_0", 8: "q5_0", 9: "q5_1"}


class WhisperCppEngine(Engine):
    """A ggml folder, made by ``finewhisper convert``, on a CPU; clips are decoded one after the other."""

    name = "whispercpp"
    encodes = False

    def __init__(self, folder: ModelFolder, network: Network, precision: str) -> None:
        super().__init__(Vocabulary.load(folder.files), folder.card.context, network.n_mels)
        self.precision, self._network = precision, network
        self._generation: dict[str, Any] = folder.generation
        self._path = folder.path
        self._encoded: Features | None = None  # the last clip, so that detecting its language does not encode it twice

    @classmethod
    def load(
        cls, folder: ModelFolder, *, device: str = "auto", precision: str = "auto", threads: int = 0, side_by_side: bool = False
    ) -> WhisperCppEngine:
        """Load a folder.

        Args:
            device: "cpu" or "auto".
            precision: "auto", or the type that the file is stored in: whisper.cpp computes in no other.
            threads: CPU threads; 0 is one for each core.

        Raises:
            ModelError: the file is damaged, or the tokenizer belongs to another model.
            UnsupportedError: another device or precision was asked for, or the file is stored in a type that cannot be run.
            MissingExtraError: pywhispercpp is not installed.
        """
        if device not in ("auto", "cpu"):
            raise UnsupportedError(f"--device {device}: the whispercpp engine runs on cpu; the ctranslate2 engine runs on cuda too")
        if folder.path.is_file():
            target = folder.path.with_suffix("")
            raise UnsupportedError(
                f"{folder.path}: a ggml file by itself says neither which tokens a model must not write nor which context it has learnt; "
                f"convert it first: finewhisper convert {folder.path} {target} --to transformers"
            )
        path = folder.stored_weights()[0]
        network = Network(path, threads or machine.cores())
        stored = _PRECISIONS.get(network.file_type)
        if stored is None:
            raise UnsupportedError(
                f"{path}: is stored in a type (ggml's number {network.file_type}) that whisper.cpp cannot run; convert the model with "
                "--to ggml --quantization f16, which is as fine as whisper.cpp computes"
            )
        if precision not in ("auto", stored):
            raise UnsupportedError(f"--precision {precision}: whisper.cpp computes in the type of the file, {stored}; leave it at auto")
        engine = cls(folder, network, stored)
        if network.n_vocab != engine.vocabulary.size:
            raise ModelError(
                f"{folder.path}: tokenizer.json has {engine.vocabulary.size} tokens, {path.name} has {network.n_vocab}; "
                "copy the tokenizer of the model that this one was made from"
            )
        return engine

    def encode(self, features: Features) -> NoReturn:
        """Not offered. Raises: UnsupportedError."""
        raise UnsupportedError("whisper.cpp keeps the encoder's output to itself; use another engine to look at it")

    def _decode(self, features: Features, clips: list[Waveform], options: DecodeOptions) -> list[Transcript]:
        """Clip by clip, because the network remembers one: detecting the language and writing then share one pass of the encoder."""
        transcripts: list[Transcript] = []
        for index, clip in enumerate(clips):
            transcripts += super()._decode(features[index : index + 1], [clip], options)
        return transcripts

    def _detect_languages(self, features: Features) -> list[dict[str, float]]:
        codes, ids = zip(*self.vocabulary.languages.items(), strict=True)
        found = []
        for clip in features:
            with library_errors(self._path, "whisper.cpp"):
                self._hear(clip)
                chosen = self._network.scores([self.vocabulary.start_of_transcript], 0)[list(ids)]
            found.append(dict(zip(codes, np.exp(chosen - log_sum_exp(chosen)).tolist(), strict=True)))
        return found

    def _generate(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        if options.beam_size > 1:
            raise UnsupportedError(
                f"--beam-size {options.beam_size}: the whispercpp engine decodes greedily; use --beam-size 1 or another engine"
            )
        rules = Rules.read(self._generation, self.vocabulary, timestamps=options.timestamps)
        with library_errors(self._path, "whisper.cpp"):
            return [self._write(clip, prompt, max_tokens, rules, options) for clip, prompt in zip(features, prompts, strict=True)]

    def _write(self, clip: npt.NDArray[np.float32], prompt: list[int], max_tokens: int, rules: Rules, options: DecodeOptions) -> Hypothesis:
        self._hear(clip)
        steps = _Steps(self._network)
        start = prompt.index(self.vocabulary.start_of_transcript) + 1
        scores = steps.feed(prompt[:start])
        silence = float(np.exp(scores[self.vocabulary.no_speech] - log_sum_exp(scores)))  # told right after the start
        if prompt[start:]:
            scores = steps.feed(prompt[start:])
        found = greedy(steps, scores[np.newaxis], rules, max_tokens, options.temperature, options.seed)[0]
        return Hypothesis(found.tokens, found.avg_logprob, silence)

    def _hear(self, clip: npt.NDArray[np.float32]) -> None:
        """Encode a clip (n_mels, frames) unless it is the one that was encoded last."""
        if self._encoded is None or self._encoded.shape != clip.shape or not np.shares_memory(self._encoded, clip):
            self._network.encode(clip)
            self._encoded = clip


class _Steps:
    """The decoder of one clip, with the tokens that it has seen."""

    def __init__(self, network: Network) -> None:
        self._network, self._past = network, 0

    def feed(self, tokens: list[int]) -> npt.NDArray[np.float32]:
        """Append tokens; the scores of the next one, (vocabulary,)."""
        scores = self._network.scores(tokens, self._past)
        self._past += len(tokens)
        return scores

    def step(self, tokens: npt.NDArray[np.int64]) -> Scores:
        return self.feed(tokens.tolist())[np.newaxis]

    def reorder(self, parents: npt.NDArray[np.int64]) -> None:
        """There is one row, so there is nothing to do."""

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """There is one row, so there is nothing to do."""
