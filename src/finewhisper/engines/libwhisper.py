"""whisper.cpp's own library, as pywhispercpp's wheel carries it, called through its C interface.

pywhispercpp's functions hand out neither the scores of the next token nor room for more than one prompt token, and ``whisper_full``
brings its own spectrogram, prompt and search. So the few C functions that run the network alone are called here directly: the
spectrogram goes in, the decoder's scores come out.

Source: ``whisper.h`` of whisper.cpp 1.8; the structures are checked against the library's own default values when it is loaded.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_size_t, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.errors import MissingExtraError, ModelError, UnsupportedError

Float32 = npt.NDArray[np.float32]

_GREEDY = 0  # WHISPER_SAMPLING_GREEDY
_WARNING_LEVEL, _ERROR_LEVEL = 3, 4  # GGML_LOG_LEVEL_WARN and _ERROR; 5 continues a line of any level
_LogCallback = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)


class _ContextParams(ctypes.Structure):
    """``struct whisper_context_params``."""

    _fields_ = (
        ("use_gpu", c_bool), ("flash_attn", c_bool), ("gpu_device", c_int), ("dtw_token_timestamps", c_bool),
        ("dtw_aheads_preset", c_int), ("dtw_n_top", c_int), ("n_heads", c_size_t), ("heads", c_void_p), ("dtw_mem_size", c_size_t),
    )  # fmt: skip


class _FullParams(ctypes.Structure):
    """``struct whisper_full_params``; only ``duration_ms`` and ``audio_ctx`` are ever changed."""

    _fields_ = (
        ("strategy", c_int), ("n_threads", c_int), ("n_max_text_ctx", c_int), ("offset_ms", c_int), ("duration_ms", c_int),
        ("flags", c_bool * 9), ("thold_pt", c_float), ("thold_ptsum", c_float), ("max_len", c_int), ("split_on_word", c_bool),
        ("max_tokens", c_int), ("debug_mode", c_bool), ("audio_ctx", c_int), ("tdrz_enable", c_bool), ("suppress_regex", c_char_p),
        ("initial_prompt", c_char_p), ("carry_initial_prompt", c_bool), ("prompt_tokens", c_void_p), ("prompt_n_tokens", c_int),
        ("language", c_char_p), ("detect_language", c_bool), ("suppress_blank", c_bool), ("suppress_nst", c_bool),
        ("temperature", c_float), ("max_initial_ts", c_float), ("length_penalty", c_float), ("temperature_inc", c_float),
        ("entropy_thold", c_float), ("logprob_thold", c_float), ("no_speech_thold", c_float), ("best_of", c_int), ("beam_size", c_int),
        ("patience", c_float), ("callbacks", c_void_p * 10), ("grammar_rules", c_void_p), ("n_grammar_rules", c_size_t),
        ("i_start_rule", c_size_t), ("grammar_penalty", c_float), ("vad", c_bool), ("vad_model_path", c_char_p),
        ("vad_threshold", c_float), ("vad_durations_ms", c_int * 2), ("vad_max_speech_s", c_float), ("vad_pad_ms", c_int),
        ("vad_overlap_s", c_float),
    )  # fmt: skip


#: What the library reported last. It keeps one logger for the whole process, which must never print into transcripts.
_errors: deque[str] = deque(maxlen=5)


def _keep(level: int, text: bytes, _: Any) -> None:
    if level in (_WARNING_LEVEL, _ERROR_LEVEL):
        _errors.append(text.decode("utf-8", "replace").strip())


_log = _LogCallback(_keep)  # kept for ever, since the library keeps it too


class Network:
    """One loaded model: encode a spectrogram, then ask for the scores of the token after a sequence."""

    def __init__(self, path: Path, threads: int) -> None:
        """Load a ggml file.

        Raises:
            ModelError: the library cannot load it; the message has its reason.
        """
        self._library, self._threads, self._positions = load_library(), threads, 0
        _errors.clear()
        self._context = self._library.whisper_init_from_file_with_params(os.fsencode(path), _context_params(self._library))
        if not self._context or "no tensors loaded" in _reason():  # a file cut short in its head, which the library lets pass
            raise ModelError(f"{path}: whisper.cpp cannot load it ({_reason()}); convert the original model again")
        self.n_vocab, self.n_mels, self.file_type = (
            int(getattr(self._library, f"whisper_model_{name}")(self._context)) for name in ("n_vocab", "n_mels", "ftype")
        )

    def encode(self, features: Float32) -> None:
        """Run the encoder on log-mel features (n_mels, frames); the decoder sees their frames // 2 positions from now on."""
        features = np.ascontiguousarray(features, dtype=np.float32)
        n_mels, frames = features.shape
        self._run("whisper_set_mel", features.ctypes.data_as(POINTER(c_float)), frames, n_mels)
        self._set_positions(frames // 2)
        self._run("whisper_encode", 0, self._threads)

    def scores(self, tokens: list[int], past: int) -> Float32:
        """The scores (n_vocab,) of what follows ``tokens``, which follow the first ``past`` tokens of the calls before."""
        self._run("whisper_decode", (c_int * len(tokens))(*tokens), len(tokens), past, self._threads)
        pointer = self._library.whisper_get_logits(self._context)
        scores = np.ctypeslib.as_array(pointer, (len(tokens), self.n_vocab))[-1]
        return np.array(scores, dtype=np.float32)  # a copy: the library writes the next ones in the same place

    def _set_positions(self, positions: int) -> None:
        """Set the audio context, which the interface offers only as an option of ``whisper_full``.

        Asked for no more than 100 ms of the spectrogram that is there, that function keeps the option and returns.
        """
        if positions != self._positions:
            params = _full_params(self._library)
            params.audio_ctx, params.duration_ms = positions, 100
            self._run("whisper_full", params, None, 0)
            self._positions = positions

    def _run(self, function: str, *arguments: Any) -> None:
        _errors.clear()
        if getattr(self._library, function)(self._context, *arguments) != 0:
            raise RuntimeError(f"{function} failed: {_reason()}")

    def __del__(self) -> None:
        if getattr(self, "_context", None):
            self._library.whisper_free(self._context)


def _reason() -> str:
    return "; ".join(_errors) or "it does not say why"


@lru_cache
def load_library() -> ctypes.CDLL:
    """The library inside pywhispercpp, its functions declared.

    Raises:
        MissingExtraError: pywhispercpp is not installed.
        UnsupportedError: its library is hidden, or of a version with other structures.
    """
    try:
        import _pywhispercpp
    except ImportError as error:
        raise MissingExtraError("pywhispercpp", "cpp") from error
    library = ctypes.CDLL(_pywhispercpp.__file__)  # symbols of the libraries that it was linked with are found through it
    floats, ints = POINTER(c_float), POINTER(c_int)
    try:
        for name, result, arguments in (
            ("whisper_log_set", None, (_LogCallback, c_void_p)),
            ("whisper_context_default_params_by_ref", POINTER(_ContextParams), ()),
            ("whisper_free_context_params", None, (POINTER(_ContextParams),)),
            ("whisper_full_default_params_by_ref", POINTER(_FullParams), (c_int,)),
            ("whisper_free_params", None, (POINTER(_FullParams),)),
            ("whisper_init_from_file_with_params", c_void_p, (c_char_p, _ContextParams)),
            ("whisper_free", None, (c_void_p,)),
            ("whisper_model_n_vocab", c_int, (c_void_p,)),
            ("whisper_model_n_mels", c_int, (c_void_p,)),
            ("whisper_model_ftype", c_int, (c_void_p,)),
            ("whisper_set_mel", c_int, (c_void_p, floats, c_int, c_int)),
            ("whisper_full", c_int, (c_void_p, _FullParams, floats, c_int)),
            ("whisper_encode", c_int, (c_void_p, c_int, c_int)),
            ("whisper_decode", c_int, (c_void_p, ints, c_int, c_int, c_int)),
            ("whisper_get_logits", floats, (c_void_p,)),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
    except AttributeError as error:
        raise UnsupportedError(
            f"this build of pywhispercpp hides whisper.cpp's functions ({error}); install its wheel for Linux"
        ) from error
    library.whisper_log_set(_log, None)
    _check_structures(library)
    return library


def _check_structures(library: ctypes.CDLL) -> None:
    """The default values stand where these structures expect them, the last fields included."""
    context, full = _context_params(library), _full_params(library)
    found = (
        context.gpu_device, context.dtw_mem_size, full.strategy, full.n_max_text_ctx, full.thold_pt, full.thold_ptsum, full.audio_ctx,
        full.language, full.entropy_thold, full.no_speech_thold, full.grammar_penalty, full.vad_threshold, full.vad_overlap_s,
    )  # fmt: skip
    expected = (0, 128 << 20, _GREEDY, 16384, 0.01, 0.01, 0, b"en", 2.4, 0.6, 100.0, 0.5, 0.1)
    if not all(a == b or (isinstance(b, float) and abs(a - b) < 1e-6) for a, b in zip(found, expected, strict=True)):
        raise UnsupportedError("this version of pywhispercpp has another interface of whisper.cpp; install pywhispercpp 1.5")


def _context_params(library: ctypes.CDLL) -> _ContextParams:
    pointer = library.whisper_context_default_params_by_ref()
    params = _ContextParams.from_buffer_copy(pointer.contents)
    library.whisper_free_context_params(pointer)
    params.use_gpu = False
    # Flash attention looks at the audio context rounded up to 256 positions, behind whose end lies what an earlier clip left there.
    params.flash_attn = False
    return params


def _full_params(library: ctypes.CDLL) -> _FullParams:
    pointer = library.whisper_full_default_params_by_ref(_GREEDY)
    params = _FullParams.from_buffer_copy(pointer.contents)
    library.whisper_free_params(pointer)
    return params
