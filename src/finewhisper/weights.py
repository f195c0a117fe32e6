"""The weights of a full model, or of an adapter together with its base, one at a time and without torch.

What is computed is what peft's ``merge_and_unload`` does (its tests compare them), for LoRA (arXiv 2106.09685) with rslora (2312.03732),
DoRA (2402.09353) and biases, and for AdaLoRA (2303.10512). The exception are tied matrices: Whisper's token embedding is its output
matrix too, and an adapter of one of them alone unties them, as it did in training.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.tensors import EMBEDDING, OUTPUT, Float32, Tensors, has_own_output

#: Methods of peft that are computed here.
_METHODS = ("LORA", "ADALORA")
#: What changes the meaning of the factors, in peft's ``adapter_config.json``; none of it is computed here.
_VARIANTS = (
    "fan_in_fan_out", "use_qalora", "use_bdlora", "alora_invocation_tokens", "layer_replication", "arrow_config", "kasa_config",
    "monteclora_config", "target_parameters", "trainable_token_indices",
)  # fmt: skip
#: Beginnings of ``init_lora_weights`` that change the base's own weights too.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
_FACTOR = re.compile(r"(.+)\.(lora_(?:A|B|E|embedding_A|embedding_B|magnitude_vector))(?:\.weight)?|(.+)\.lora_B(\.bias)")


class Weights(Protocol):
    """What can be read of a model; names are those of transformers, without the output matrix where it is tied."""

    @property
    def tied(self) -> bool:
        """Whether the output matrix is the token embedding."""

    def __iter__(self) -> Iterator[str]: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises: ModelError: there is no such weight."""

    def __getitem__(self, name: str) -> Float32: ...


class Full:
    """The weights of a transformers folder. Raises: ModelError: a file is damaged."""

    def __init__(self, folder: ModelFolder) -> None:
        self.folder, self.tensors = folder, Tensors(folder)
        self.tied = not has_own_output(self.tensors, folder.config)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.tensors if not (self.tied and name == OUTPUT))

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensors.shape(self._place(name))

    def stored(self, name: str) -> str:
        """What safetensors calls the type that it is stored in."""
        return self.tensors.stored(self._place(name))

    def __getitem__(self, name: str) -> Float32:
        return self.tensors[self._place(name)]

    def _place(self, name: str) -> str:
        return EMBEDDING if self.tied and name == OUTPUT else name


class Adapted:
    """The weights of a base with an adapter merged into it."""

    def __init__(self, adapter: ModelFolder, base: Full) -> None:
        """Match each of the adapter's tensors with a weight of the base.

        Raises:
            ModelError: the adapter is of a method that is not computed here, is damaged, or does not fit the base.
        """
        self._folder, self._base, self._config = adapter, base, adapter.config
        self._require_method()
        self._tensors = Tensors(adapter)
        self._factors: dict[str, dict[str, str]] = {}  # by the layer, then by the factor
        self._replaced: dict[str, str] = {}  # the base's names, and the adapter's
        for key in self._tensors:
            self._place(key)
        for layer, factors in self._factors.items():
            self._require_fit(layer, factors)
        changed = [self._changes(name) for name in (EMBEDDING, OUTPUT)]
        self.tied = base.tied and not any(changed)

    def __iter__(self) -> Iterator[str]:
        yield from self._base
        if self._base.tied and not self.tied:
            yield OUTPUT

    def shape(self, name: str) -> tuple[int, ...]:
        return self._base.shape(name)

    def __getitem__(self, name: str) -> Float32:
        start = self._tensors[self._replaced[name]] if name in self._replaced else self._base[name]
        layer, _, part = name.rpartition(".")
        factors = {factor: self._tensors[key] for factor, key in self._factors.get(layer, {}).items()}
        if part == "bias" and "bias" in factors:
            biased: Float32 = start + np.float32(self._scaling(layer, len(factors["lora_A"]))) * factors["bias"]
            return biased
        if part == "bias" or not factors:
            return start
        changed: Float32 = start + self._update(layer, factors, start.shape)
        if "lora_magnitude_vector" not in factors:
            return changed
        rows = changed.reshape(len(changed), -1)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        scaled: Float32 = factors["lora_magnitude_vector"].reshape(-1, 1) / lengths * rows
        return scaled.reshape(start.shape)

    def _require_method(self) -> None:
        method = self._config.get("peft_type")
        if method not in _METHODS:
            raise ModelError(
                f"{self._folder.path}: is an adapter of type {method!r}; finewhisper merges {' and '.join(_METHODS)}, others are merged "
                "with peft's merge_and_unload"
            )
        odd = [name for name in _VARIANTS if self._config.get(name)]
        start = self._config.get("init_lora_weights")
        if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
            raise ModelError(
                f"{self._folder.path}: was made with init_lora_weights {start}, which changes the base too; write it as an ordinary "
                "adapter with peft's save_pretrained(…, path_initial_model_for_weight_conversion=FOLDER), where FOLDER holds it as it "
                "was before training, or merge it with peft's merge_and_unload"
            )
        if odd:
            raise ModelError(f"{self._folder.path}: was made with {odd[0]}, which finewhisper cannot merge; use peft's merge_and_unload")

    def _place(self, key: str) -> None:
        """Find what a tensor of the adapter belongs to."""
        name = re.sub(r"\.(?:default|base_layer|modules_to_save)(?=\.|$)", "", key.removeprefix("base_model.model."))
        found = _FACTOR.fullmatch(name)
        if found:
            self._factors.setdefault(found[1] or found[3], {})[found[2] or "bias"] = key
            return
        known = set(self._base) | {OUTPUT}
        if name not in known:
            raise ModelError(f"{self._folder.path}: holds {key}, which belongs to nothing in {self._base.folder.path}; {_BASE}")
        if self._tensors.shape(key) != self._base.shape(name):
            raise self._unfit(key, self._tensors.shape(key), name)
        self._replaced[name] = key

    def _require_fit(self, layer: str, factors: dict[str, str]) -> None:
        shapes = {factor: self._tensors.shape(key) for factor, key in factors.items()}
        one, other = ("lora_embedding_A", "lora_embedding_B") if "lora_embedding_A" in shapes else ("lora_A", "lora_B")
        name = f"{layer}.weight"
        if f"{layer}.weight" not in set(self._base) | {OUTPUT}:
            raise ModelError(f"{self._folder.path}: adapts {layer}, which is not in {self._base.folder.path}; {_BASE}")
        if one not in shapes or other not in shapes or min(len(shapes[one]), len(shapes[other])) < 2:
            raise ModelError(f"{self._folder.path}: {layer} has not the two factors of an adapter; use an earlier checkpoint")
        wide, tall = shapes[one], shapes[other]
        product = (wide[1], tall[0]) if one == "lora_embedding_A" else (tall[0], *wide[1:])
        whole = self._base.shape(name)
        if product != whole or math.prod(tall[1:]) != wide[0]:
            raise self._unfit(factors[other], product, name)
        rows = {"lora_E": (wide[0], 1), "bias": whole[:1]}
        for factor, shape in shapes.items():
            if factor in rows and shape != rows[factor]:
                raise self._unfit(factors[factor], shape, name)
            if factor == "lora_magnitude_vector" and (math.prod(shape) != whole[0] or one == "lora_embedding_A"):
                raise self._unfit(factors[factor], shape, name)
        if "bias" in shapes and f"{layer}.bias" not in set(self._base):
            raise ModelError(f"{self._folder.path}: has a bias for {layer}, which has none in {self._base.folder.path}; {_BASE}")
        if (self._config["peft_type"] == "ADALORA") != ("lora_E" in shapes):
            raise ModelError(f"{self._folder.path}: {layer} has not the factors of {self._config['peft_type']}; use an earlier checkpoint")

    def _changes(self, name: str) -> bool:
        return name in self._replaced or name.removesuffix(".weight") in self._factors

    def _unfit(self, key: str, shape: tuple[int, ...], name: str) -> ModelError:
        return ModelError(
            f"{self._folder.path}: does not fit {self._base.folder.path}: {key} makes {shape}, {name} is {self._base.shape(name)}; {_BASE}"
        )

    def _update(self, layer: str, factors: dict[str, Float32], shape: tuple[int, ...]) -> Float32:
        """What is added to a matrix, or to a convolution's three dimensions."""
        if "lora_embedding_A" in factors:
            wide, tall = factors["lora_embedding_A"], factors["lora_embedding_B"]
            rows: Float32 = np.float32(self._scaling(layer, len(wide))) * (wide.T @ tall.T)
            return rows
        wide, tall = factors["lora_A"], factors["lora_B"]
        if not len(wide):  # AdaLoRA has taken every rank away
            return np.zeros(shape, dtype=np.float32)
        wide, tall = wide.reshape(len(wide), -1), tall.reshape(len(tall), -1)
        if "lora_E" in factors:
            wide = wide * factors["lora_E"]
        product: Float32 = np.float32(self._scaling(layer, len(wide))) * (tall @ wide)
        return product.reshape(shape)

    def _scaling(self, layer: str, rank: int) -> float:
        """What peft multiplies the product of the factors with."""
        config = self._config
        alpha = self._number(config.get("lora_alpha", 8))
        if config["peft_type"] == "ADALORA":
            first = self._number(config.get("init_r", 12))  # of all matrices, whatever was taken from them
            return (alpha if alpha > 0 else first) / (first + 1e-5)
        patterns = config.get("alpha_pattern") or {}
        try:
            alpha = next((self._number(value) for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", layer)), alpha)
        except (re.error, AttributeError) as error:
            raise ModelError(f"{self._folder.path}: alpha_pattern is {patterns!r} ({error}); copy adapter_config.json again") from error
        if not rank:
            return 0.0
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)

    def _number(self, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > _LARGEST:
            raise ModelError(f"{self._folder.path}: adapter_config.json has {value!r} where a number is needed; copy it again")
        return float(value)


_BASE = "give the right base with --base FOLDER"
_LARGEST = 1e6  # alphas and ranks are below a few thousand
