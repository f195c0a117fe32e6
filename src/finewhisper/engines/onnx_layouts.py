"""How the two layouts of ONNX folders name their files, what their encoders give, and how their decoders keep what they have seen.

The layouts are described where they are written: ``finewhisper.conversion.onnx_browser`` and ``finewhisper.conversion.onnx_sherpa``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from finewhisper.engines.rules import Scores

Indices = npt.NDArray[np.int64]
Values = dict[str, Any]  #: onnxruntime's arrays by the names of the inputs that they go to
ToValue = Callable[[npt.NDArray[Any]], Any]  #: a numpy array to onnxruntime's, on the device
Audio = Mapping[str, npt.NDArray[np.float32]]  #: what the encoder gives to the decoder, by the decoder's names


class Steps(ABC):
    """A decoder session with its keys and values, which stay in onnxruntime's arrays between steps.

    Attributes:
        axis: which axis of all arrays but the tokens counts the clips.
    """

    axis: int

    def __init__(self, session: Any, audio: Audio, to_value: ToValue) -> None:
        self._session, self._to_value = session, to_value
        self._outputs = [output.name for output in session.get_outputs()]
        self._rows = next(iter(audio.values())).shape[self.axis]
        self._audio: Values = {name: to_value(array) for name, array in audio.items()}  #: the same in every step
        self._own: Values = {}  #: of the tokens so far

    def feed(self, tokens: Indices) -> npt.NDArray[np.float32]:
        """Append tokens (rows, tokens); the logits after each of them, (rows, tokens, vocabulary)."""
        feeds = {**self._audio, **self._own, **{name: self._to_value(array) for name, array in self._feeds(tokens).items()}}
        results = dict(zip(self._outputs, self._session.run_with_ort_values(self._outputs, feeds), strict=True))
        logits = np.asarray(results.pop("logits").numpy())
        self._remember(results)
        return logits

    def step(self, tokens: Indices) -> Scores:
        return self.feed(tokens[:, None])[:, 0]

    def reorder(self, parents: Indices) -> None:
        self._take(self._own, parents)

    def keep(self, rows: Indices) -> None:
        self._take(self._own, rows)
        self._take(self._audio, rows)
        self._rows = len(rows)

    def _take(self, values: Values, rows: Indices) -> None:
        if not np.array_equal(rows, np.arange(self._rows)):
            for name, value in values.items():
                values[name] = self._to_value(np.take(value.numpy(), rows, axis=self.axis))

    @abstractmethod
    def _feeds(self, tokens: Indices) -> dict[str, npt.NDArray[Any]]:
        """What is fed beside keys and values."""

    @abstractmethod
    def _remember(self, results: Values) -> None:
        """Take over keys and values from the outputs."""


class BrowserSteps(Steps):
    """The layout of Transformers.js: the first step makes the audio's keys and values, later ones give back empty ones."""

    axis = 0

    def __init__(self, session: Any, audio: Audio, to_value: ToValue) -> None:
        super().__init__(session, audio, to_value)
        self._begun = False
        for declared in session.get_inputs():
            if declared.name.startswith("past_key_values."):
                shape = [self._rows, declared.shape[1], 0, declared.shape[3]]
                empty = to_value(np.zeros(shape, {"tensor(float)": np.float32, "tensor(float16)": np.float16}[declared.type]))
                (self._own if ".decoder." in declared.name else self._audio)[declared.name] = empty

    def _feeds(self, tokens: Indices) -> dict[str, npt.NDArray[Any]]:
        return {"input_ids": tokens.astype(np.int64), "use_cache_branch": np.array([self._begun])}

    def _remember(self, results: Values) -> None:
        for name, value in results.items():
            past = name.replace("present", "past_key_values")
            if ".decoder." in name:
                self._own[past] = value
            elif not self._begun:
                self._audio[past] = value
        self._begun = True


class SherpaSteps(Steps):
    """The layout of sherpa-onnx: buffers for all positions, of which the first ``offset`` are filled."""

    axis = 1

    def __init__(self, session: Any, audio: Audio, to_value: ToValue) -> None:
        super().__init__(session, audio, to_value)
        self._offset = 0
        for declared in session.get_inputs():
            if declared.name.startswith("in_"):
                layers, _, positions, width = declared.shape
                self._own[declared.name] = to_value(np.zeros([layers, self._rows, positions, width], np.float32))

    def _feeds(self, tokens: Indices) -> dict[str, npt.NDArray[Any]]:
        offset, self._offset = self._offset, self._offset + tokens.shape[1]
        return {"tokens": tokens.astype(np.int64), "offset": np.array([offset])}

    def _remember(self, results: Values) -> None:
        self._own = {name.replace("out_", "in_"): value for name, value in results.items()}


@dataclass(frozen=True)
class Layout:
    """The files of a layout and how to run them."""

    folder: str
    names: Mapping[str, tuple[str, str]]  #: of encoder and decoder, by the type of the weights
    features: str  #: the encoder's input
    audio: tuple[str, ...]  #: the encoder's outputs that the decoder takes,
    inputs: tuple[str, ...]  #: and what it calls them
    steps: type[Steps]

    def paths(self, model: Path, precision: str) -> list[Path]:
        return [model / self.folder / name for name in self.names[precision]]

    def present(self, model: Path) -> list[str]:
        """The types of weights that a model folder holds."""
        return [precision for precision in self.names if all(path.is_file() for path in self.paths(model, precision))]


_SUFFIXES = {"float32": "", "float16": "_fp16", "int8": "_quantized"}  # as exporters append them
LAYOUTS = (
    Layout(
        "onnx",
        {precision: (f"encoder_model{end}.onnx", f"decoder_model_merged{end}.onnx") for precision, end in _SUFFIXES.items()},
        "input_features",
        ("last_hidden_state",),
        ("encoder_hidden_states",),
        BrowserSteps,
    ),
    Layout(
        "sherpa-onnx",
        {"float32": ("encoder.onnx", "decoder.onnx"), "int8": ("encoder.int8.onnx", "decoder.int8.onnx")},
        "mel",
        ("n_layer_cross_k", "n_layer_cross_v"),
        ("n_layer_cross_k", "n_layer_cross_v"),
        SherpaSteps,
    ),
)
