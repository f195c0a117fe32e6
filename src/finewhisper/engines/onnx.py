"""Whisper in onnxruntime: the two graphs of an ONNX folder, with greedy and beam search of our own.

The graphs accept spectrograms of any length up to 30 s, so a model that has learnt short contexts pays only for the audio it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.audio import WINDOW_FRAMES
from finewhisper.engines.base import Engine, Features, Hypothesis, library_errors
from finewhisper.engines.onnx_layouts import LAYOUTS, Audio, Layout, Steps
from finewhisper.engines.rules import Rules, Scores, log_sum_exp
from finewhisper.engines.search import beam, greedy
from finewhisper.errors import MissingExtraError, ModelError, UnsupportedError
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions
from finewhisper.vocabulary import Vocabulary

#: Log-mel frames encoded at once on a CPU: self-attention needs memory for the square of the positions of every clip.
_ENCODE_FRAMES = WINDOW_FRAMES
#: Prompt tokens fed at once: the graph makes logits for each of them, 207 kB a token and clip.
_PROMPT_TOKENS = 16
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxEngine(Engine):
    """An ONNX folder, made by ``finewhisper convert`` or by others in the layout of Transformers.js, on a CPU or on CUDA."""

    name = "onnx"

    def __init__(self, folder: ModelFolder, layout: Layout, precision: str, sessions: tuple[Any, Any], device: str) -> None:
        super().__init__(Vocabulary.load(folder.files), folder.card.context, folder.config["num_mel_bins"])
        self._layout, self.precision, self._device = layout, precision, device
        self._encoder, self._decoder = sessions
        self._generation, self._path = folder.generation, folder.path
        self._encoded: tuple[Features, Audio] | None = None  # the last batch, so that detecting its language does not encode it twice

    @classmethod
    def load(
        cls, folder: ModelFolder, *, device: str = "auto", precision: str = "auto", threads: int = 0, side_by_side: bool = False
    ) -> OnnxEngine:
        """Load a folder.

        Args:
            device: "cpu", "cuda" (where onnxruntime-gpu is installed) or "auto", which is CUDA where both graphs do run there.
            precision: the type of the weights, where the folder holds several; "auto" is the finest.
            threads: CPU threads; 0 leaves the choice to onnxruntime.

        Raises:
            ModelError: a graph is missing or damaged, or belongs to another vocabulary.
            UnsupportedError: the device is absent, or the folder has no weights of this type.
            MissingExtraError: onnxruntime is not installed.
        """
        library = _library()
        kinds = _kinds(library, device)
        layout, precision = _choice(folder, precision)
        encoder, decoder, kind = _sessions(library, folder, layout.paths(folder.path, precision), kinds, threads)
        engine = cls(folder, layout, precision, (encoder, decoder), kind)
        _check_vocabulary(folder, decoder, engine.vocabulary)
        return engine

    def encode(self, features: Features) -> npt.NDArray[np.float32]:
        """The encoder's output for log-mel features (batch, n_mels, frames): (batch, frames // 2, d_model)."""
        return np.concatenate([states for (states,) in self._run_encoder(features, ("last_hidden_state",))])

    def _run_encoder(self, features: Features, outputs: Sequence[str]) -> list[list[npt.NDArray[np.float32]]]:
        """The outputs for each part of a batch: clip by clip on a CPU where windows are full."""
        step = max(_ENCODE_FRAMES // features.shape[-1], 1) if self._device == "cpu" else len(features)
        parts = (np.ascontiguousarray(features[first : first + step]) for first in range(0, len(features), step))
        with self._running():
            return [self._encoder.run(outputs, {self._layout.features: part}) for part in parts]

    def _running(self) -> AbstractContextManager[None]:
        """Around what graphs answer, too: those of others may be of any shape."""
        return library_errors(self._path, "onnxruntime")

    def _steps(self, features: Features) -> Steps:
        """The decoder, with what the encoder makes of a batch."""
        if self._encoded is None or self._encoded[0] is not features:
            parts = zip(*self._run_encoder(features, self._layout.audio), strict=True)
            joined = (np.concatenate(part, axis=self._layout.steps.axis) for part in parts)
            self._encoded = features, dict(zip(self._layout.inputs, joined, strict=True))
        return self._layout.steps(self._decoder, self._encoded[1], self._value)

    def _value(self, array: npt.NDArray[Any]) -> Any:
        return _library().OrtValue.ortvalue_from_numpy(array, self._device, 0)

    def _detect_languages(self, features: Features) -> list[dict[str, float]]:
        start = np.full((len(features), 1), self.vocabulary.start_of_transcript)
        codes, ids = zip(*self.vocabulary.languages.items(), strict=True)
        with self._running():
            chosen = self._steps(features).feed(start)[:, 0, list(ids)]
        return [dict(zip(codes, row.tolist(), strict=True)) for row in np.exp(chosen - log_sum_exp(chosen)[:, None])]

    def _generate(self, features: Features, prompts: list[list[int]], max_tokens: int, options: DecodeOptions) -> list[Hypothesis]:
        rules = Rules.read(self._generation, self.vocabulary, timestamps=options.timestamps)
        with self._running():
            steps = self._steps(features)
            self._encoded = None
            logits, no_speech = self._read(steps, np.array(prompts))
            if options.beam_size > 1 and not options.temperature:
                found = beam(steps, logits, rules, max_tokens, options.beam_size)
            else:
                found = greedy(steps, logits, rules, max_tokens, options.temperature, options.seed)
        return [Hypothesis(one.tokens, one.avg_logprob, silence) for one, silence in zip(found, no_speech, strict=True)]

    def _read(self, steps: Steps, prompts: npt.NDArray[np.int64]) -> tuple[Scores, list[float]]:
        """Feed the prompts; the logits that follow, and how likely it is that nobody spoke, which stands after the start token."""
        start = prompts[0].tolist().index(self.vocabulary.start_of_transcript)
        silence: list[float] = []
        for first in range(0, prompts.shape[1], _PROMPT_TOKENS):
            logits = steps.feed(prompts[:, first : first + _PROMPT_TOKENS])
            if 0 <= start - first < logits.shape[1]:
                after = logits[:, start - first]
                silence = np.exp(after[:, self.vocabulary.no_speech] - log_sum_exp(after)).tolist()
        return logits[:, -1], silence


def _library() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("onnxruntime", "onnx") from error
    return onnxruntime


def _kinds(library: Any, device: str) -> list[str]:
    """The kinds of device to try, in this order."""
    present = library.get_available_providers()
    if device == "auto":
        return [kind for kind in ("cuda", "cpu") if _PROVIDERS[kind] in present]
    if device not in _PROVIDERS:
        raise UnsupportedError(f"--device {device}: the onnx engine runs on cpu and cuda")
    if _PROVIDERS[device] not in present:
        raise UnsupportedError(f"--device {device}: this onnxruntime knows no CUDA; install onnxruntime-gpu, or use --device cpu")
    return [device]


def _sessions(library: Any, folder: ModelFolder, paths: Sequence[Path], kinds: Sequence[str], threads: int) -> tuple[Any, Any, str]:
    """Encoder, decoder and the kind of device that both run on.

    A build that lists CUDA may find no GPU, or not the libraries it needs. It then runs on the CPU and says so to nobody, or fails.
    """
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    # Processors without VNNI add 8-bit products in 16 bits, which overflow; this takes exact sums there, and changes nothing elsewhere.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3  # errors only: it warns of every initializer that an optimisation makes useless
    problem: Exception | None = None
    for kind in kinds:
        try:  # its own second attempt prints to standard output
            opened = [library.InferenceSession(str(path), options, providers=[_PROVIDERS[kind]], enable_fallback=0) for path in paths]
        except Exception as error:  # onnxruntime's own exceptions have no common base
            problem = error
            continue
        if all(_PROVIDERS[kind] in session.get_providers() for session in opened):
            return opened[0], opened[1], kind
    if kinds[-1] == "cpu":
        raise ModelError(f"{folder.path}: onnxruntime cannot load it ({problem}); download or convert the model again") from problem
    reason = f" ({problem})" if problem else ""
    raise UnsupportedError(
        f"--device {kinds[-1]}: onnxruntime cannot run {folder.path} there{reason}; install the CUDA and cuDNN that it was built for, or "
        "use --device cpu"
    )


def _choice(folder: ModelFolder, wanted: str) -> tuple[Layout, str]:
    """The graphs to load: the first layout that is whole, in the type that is asked for."""
    for layout in LAYOUTS:
        present = layout.present(folder.path)
        if present and wanted != "auto" and wanted not in present:
            raise UnsupportedError(f"--precision {wanted}: an ONNX model computes in what it is stored in, here {' or '.join(present)}")
        if present:
            return layout, present[0] if wanted == "auto" else wanted
    raise ModelError(
        f"{folder.path}: onnx/ has no encoder_model and decoder_model_merged of one type; convert it again: finewhisper convert … --to onnx"
    )


def _check_vocabulary(folder: ModelFolder, decoder: Any, vocabulary: Vocabulary) -> None:
    """A tokenizer of another Whisper version shifts every special token by one: the model would then do another task silently."""
    size = next(output.shape[-1] for output in decoder.get_outputs() if output.name == "logits")
    if isinstance(size, int) and size != vocabulary.size:
        raise ModelError(
            f"{folder.path}: tokenizer.json ({vocabulary.size} tokens) belongs to another Whisper version than the graphs ({size}); "
            "copy it from the model that this one was made from"
        )
