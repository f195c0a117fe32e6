"""Whisper in CTranslate2, directly on its library: neither torch nor transformers is needed.

CTranslate2 accepts spectrograms shorter than 30 s, so a model that has learnt short contexts pays only for the audio it is given. The
features are this package's own (silence is padded before the spectrogram is taken, as in training).
"""

from __future__ import annotations

import logging
import threading
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper import machine
from finewhisper.audio import TIMESTAMP_STEP_S, WINDOW_FRAMES
from finewhisper.engines.base import Engine, Features, Hypothesis, library_errors
from finewhisper.engines.word_times import TokenTimes
from finewhisper.errors import MissingExtraError, ModelError, UnsupportedError
from finewhisper.model import ModelFolder
from finewhisper.model_numbers import alignment_heads, decoder_of_ctranslate2
from finewhisper.transcript import DecodeOptions
from finewhisper.vocabulary import Vocabulary

#: Log-mel frames that a CPU encodes at once: one full window. Self-attention needs memory for the square of the positions of every clip
#: (base, 16 full windows: 1.4 GB), and encoding one after the other takes no longer.
_ENCODE_FRAMES = WINDOW_FRAMES
#: Batches that a CPU decodes side by side: threads that share one batch wait for each other in every layer (two of them encode 1.4 times
#: as fast as one and decode no faster, while two batches side by side take little longer than one). More would multiply the memory.
_MOST_WORKERS = 4


class _Kept(threading.local):
    """The batch that a thread encoded last, so that detecting its language does not encode it twice."""

    features: Features | None = None
    encoded: Any = None


class CTranslate2Engine(Engine):
    """A CTranslate2 folder, made by ``finewhisper convert`` or by others, on a CPU or on CUDA."""

    name = "ctranslate2"

    def __init__(self, folder: ModelFolder, model: Any, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary, folder.card.context, model.n_mels)
        self._model, self._folder = model, folder
        self.precision, self.workers = model.compute_type, model.num_workers
        self._kept = _Kept()

    @classmethod
    def load(
        cls, folder: ModelFolder, *, device: str = "auto", precision: str = "auto", threads: int = 0, side_by_side: bool = False
    ) -> CTranslate2Engine:
        """Load a folder.

        Args:
            device: "cpu", "cuda", "cuda:1" or "auto".
            precision: one of CTranslate2's compute types; "auto" is the stored type (float32 where the device cannot compute in it) on a
                CPU, float16 on CUDA.
            threads: CPU threads; 0 leaves the choice to CTranslate2.
            side_by_side: let CPU threads decode batches side by side, up to four at once, which share the weights.

        Raises:
            ModelError: the weights are damaged or belong to another vocabulary.
            UnsupportedError: the device is absent or cannot compute in ``precision``.
            MissingExtraError: ctranslate2 is not installed.
        """
        library = _library()
        device, index = _device(library, device)
        compute_type = _compute_type(library, device, precision)
        workers, each = _shares(threads) if side_by_side and device == "cpu" else (1, threads)
        try:
            model = library.models.Whisper(
                str(folder.files), device=device, device_index=index, compute_type=compute_type, inter_threads=workers, intra_threads=each
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise ModelError(f"{folder.path}: CTranslate2 cannot load it ({error}); download or convert the model again") from error
        vocabulary = Vocabulary.load(folder.files)
        _check_vocabulary(folder, model, vocabulary)
        return cls(folder, model, vocabulary)

    def encode(self, features: Features) -> npt.NDArray[np.float32]:
        """The encoder's output for log-mel features (batch, n_mels, frames): (batch, frames // 2, d_model)."""
        return np.concatenate([np.asarray(part, dtype=np.float32) for part in self._encode_parts(features)])

    def _encode_parts(self, features: Features) -> list[Any]:
        step = max(_ENCODE_FRAMES // features.shape[-1], 1) if self._model.device == "cpu" else len(features)
        parts = [np.ascontiguousarray(features[first : first + step]) for first in range(0, len(features), step)]
        with self._running():
            return [self._model.encode(_library().StorageView.from_array(part), to_cpu=True) for part in parts]

    def _running(self) -> AbstractContextManager[None]:
        return library_errors(self._folder.path, "CTranslate2")

    def _context(self, features: Features) -> Any:
        """The encoded batch as CTranslate2's own array: kept on a CUDA device, put together from parts on a CPU."""
        if self._kept.features is features:
            return self._kept.encoded
        view = _library().StorageView.from_array
        encoded = view(self.encode(features)) if self._model.device == "cpu" else self._model.encode(view(np.ascontiguousarray(features)))
        self._kept.features, self._kept.encoded = features, encoded
        return encoded

    def _detect_languages(self, features: Features) -> list[dict[str, float]]:
        context = self._context(features)
        with self._running():
            detected = self._model.detect_language(context)
        return [{token.strip("<|>"): probability for token, probability in clip} for clip in detected]

    def _generate(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        prompt_tokens = len(prompts[0])
        drawn = options.temperature > 0
        if drawn:
            _library().set_random_seed(options.seed)  # counts where an engine draws for the first time; chance then runs on from there
        context = self._context(features)
        with self._running():
            results = self._model.generate(
                context,
                prompts,
                beam_size=1 if drawn else options.beam_size,
                sampling_topk=0 if drawn else 1,
                sampling_temperature=options.temperature if drawn else 1.0,
                # CTranslate2 writes at most max_length / 2 tokens, and at most max_length with the prompt but for its last token.
                max_length=max(2 * max_tokens, max_tokens + prompt_tokens - 1),
                return_scores=True,
                return_no_speech_prob=True,
            )
        return [_hypothesis(result) for result in results]

    def _token_times(self, features: Features, prompts: list[list[int]], tokens: list[list[int]], positions: list[int]) -> list[TokenTimes]:
        self._require_heads()
        context = self._context(features)
        groups: dict[tuple[int, ...], list[int]] = {}  # CTranslate2 aligns clips of one language at a time, and adds <|notimestamps|>
        for index, prompt in enumerate(prompts):
            groups.setdefault(tuple(prompt[:-1]), []).append(index)
        found: dict[int, TokenTimes] = {}
        for start, members in groups.items():
            part = context if len(groups) == 1 else self._part(context, features, members)
            frames = [2 * positions[index] for index in members]
            with self._running():
                aligned = self._model.align(part, list(start), [tokens[index] for index in members], frames)
            found.update(zip(members, map(_token_times, aligned), strict=True))
        return [found[index] for index in range(len(features))]

    def _require_heads(self) -> None:
        """CTranslate2 reads the attention of whatever head the file names, and ends the process where there is none."""
        if self._unknown_heads:
            raise UnsupportedError(self._unknown_heads)

    @cached_property
    def _unknown_heads(self) -> str:
        """What is wrong with the heads that tell times of words; nothing where all is well."""
        stored = self._folder.config.get("alignment_heads")
        layers, heads = decoder_of_ctranslate2(self._folder.path / "model.bin")
        if isinstance(stored, list) and stored and len(alignment_heads(stored, layers=layers, heads=heads)) == len(stored):
            return ""
        found = (
            f"alignment_heads names heads that the decoder, of {layers} layers with {heads} heads, does not have"
            if stored
            else "has no alignment_heads"
        )
        return (
            f"{self._folder.path / 'config.json'}: {found}, so the times of words cannot be found; convert the original model again, "
            "or ask for no times of words"
        )

    def _part(self, context: Any, features: Features, members: list[int]) -> Any:
        """Some clips of an encoded batch."""
        if self._model.device == "cpu":
            return _library().StorageView.from_array(np.ascontiguousarray(np.asarray(context)[members]))
        return self._model.encode(_library().StorageView.from_array(np.ascontiguousarray(features[members])))

    def _forget(self) -> None:
        self._kept.features = self._kept.encoded = None


def _token_times(result: Any) -> TokenTimes:
    """The path through tokens (the last is the end) and positions: a token begins where the path enters it."""
    starts: dict[int, int] = {}
    for token, position in result.alignments:
        starts.setdefault(token, position)
    times = [starts[token] * TIMESTAMP_STEP_S for token in range(len(starts))]
    return TokenTimes(tuple(times), tuple(result.text_token_probs))


def _hypothesis(result: Any) -> Hypothesis:
    """The best sequence. A score is the summed log-probability divided by the tokens without the end token, which is in the sum."""
    tokens = tuple(result.sequences_ids[0])
    return Hypothesis(tokens, result.scores[0] * max(len(tokens), 1) / (len(tokens) + 1), result.no_speech_prob)


def _library() -> Any:
    try:
        import ctranslate2
    except ImportError as error:
        raise MissingExtraError("ctranslate2", "ct2") from error
    ctranslate2.set_log_level(logging.ERROR)  # it warns whenever it computes in another type than the stored one; we say which we use
    return ctranslate2


def _device(library: Any, device: str) -> tuple[str, int]:
    """The device's kind and number."""
    present = library.get_cuda_device_count()
    kind, _, number = device.partition(":")
    if kind == "auto":
        kind = "cuda" if present else "cpu"
    if kind not in {"cpu", "cuda"} or (number and not number.isdecimal()):
        raise UnsupportedError(f"--device {device}: the ctranslate2 engine runs on cpu and cuda")
    index = int(number or 0)
    if kind == "cuda" and index >= present:
        raise UnsupportedError(f"--device {device}: CTranslate2 finds {present} CUDA devices here; use --device cpu")
    return kind, index


def _shares(threads: int) -> tuple[int, int]:
    """How many batches to decode side by side, and the threads of each; 0 threads: all that this process may use."""
    total = threads or machine.cores()
    workers = min(total, _MOST_WORKERS)
    return workers, total // workers


def _compute_type(library: Any, device: str, precision: str) -> str:
    supported = library.get_supported_compute_types(device)
    if precision == "auto":
        return "float16" if device == "cuda" and "float16" in supported else "default"
    if precision not in supported:
        raise UnsupportedError(
            f"--precision {precision}: CTranslate2 on this {device} computes in {', '.join(sorted(supported))}; choose one or auto"
        )
    return precision


def _check_vocabulary(folder: ModelFolder, model: Any, vocabulary: Vocabulary) -> None:
    """A tokenizer of another Whisper version shifts every special token by one: the model would then do another task silently."""
    if model.is_multilingual != vocabulary.multilingual or (vocabulary.multilingual and model.num_languages != len(vocabulary.languages)):
        raise ModelError(
            f"{folder.path}: tokenizer.json ({vocabulary.size} tokens) belongs to another Whisper version than model.bin; "
            "copy it from the model that this one was made from"
        )
