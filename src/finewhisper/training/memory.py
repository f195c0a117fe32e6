"""What a training step needs of a device's memory, from the sizes of model and batch alone, before anything is loaded.

The model is laid out without storage (torch's meta device) and adapted as for training: what is counted is what will learn. Three
parts last from the second step on: the weights, their gradients, and what the optimizer keeps beside them. The fourth comes and goes
with every batch: the activations that the forward pass keeps for the backward pass. They are derived below from what autograd keeps of
each operation, as Korthikanti et al. 2022 (arXiv 2205.05198, section 4) do for language models; the unit is bytes for each position
and each of the ``d_model`` channels.

- ``s`` is the width of the type that matrices are multiplied in: 4 bytes, or 2 under autocast.
- A LayerNorm keeps its input: in float32 on a GPU, and where its own weights are float32.
- Attention keeps queries, keys, values and its output: 4 s. Fused kernels keep no matrix of positions by positions; the plain products
  that :func:`finewhisper.whisper.attention` makes of short sequences keep one of s for each head.
- GELU keeps its input, four channels wide: 4 s.
- A linear layer keeps its input if its weight learns, or that of its adapter. Queries, keys and values read one tensor; with dropout, and
  where autocast converts what a LayerNorm wrote in float32, each has a copy of its own. An adapter also keeps what lies between its two
  factors, ``rank`` wide; with dropout a mask of its input; DoRA both outputs, its own and the base's.
- A frozen layer below the first that learns keeps nothing. With gradient checkpointing a layer keeps its input alone, and one layer at a
  time is as without.
- The loss keeps one float32 for each label and token of the vocabulary, and makes as much again while it is computed.
- Learning weights that lie in float32 have a copy in 16 bits while autocast is on.
- The token embedding reads and writes: its two gradients and their sum lie side by side when the decoder's backward pass ends.
- On a CPU the heap has holes, see :data:`HOLES`.

So an encoder layer that learns keeps 17 floats for each position and channel in float32, and a decoder layer 22 for each token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import WhisperConfig

from finewhisper.engines.transformers import PRECISIONS
from finewhisper.model import ModelFolder
from finewhisper.training import methods
from finewhisper.training.batches import Clip, Window
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.labels import PROMPT_AND_END
from finewhisper.vocabulary import MAX_TOKENS
from finewhisper.whisper import FEW_KEYS, LengthAwareWhisper

#: What holes in a CPU's heap add, as a share of what layers keep without gradient checkpointing, measured. torch asks glibc for aligned
#: blocks; what one of them leaves behind is too small for the next of its size (https://sourceware.org/bugzilla/show_bug.cgi?id=14581),
#: so much of what is freed within a step is not used again. An adapted layer makes three tensors on its way to one; blocks above 32 MB
#: are not in the heap. By the bytes of the type that matrices are multiplied in; source: benchmarks/results/memory.md.
HOLES = {"lora": {4: 1.4, 2: 0.9}, "adalora": {4: 1.6, 2: 2.0}, "full": {4: 0.25, 2: 0.0}}
#: How many times ``d_model`` a linear layer reads and writes.
_READS = {"q_proj": 1, "k_proj": 1, "v_proj": 1, "out_proj": 1, "fc1": 1, "fc2": 4}
_WRITES = {"q_proj": 1, "k_proj": 1, "v_proj": 1, "out_proj": 1, "fc1": 4, "fc2": 1}
#: The linear layers of an encoder layer, and of a decoder layer for each token, by the tensor that they read.
_ENCODER = (("q_proj", "k_proj", "v_proj"), ("out_proj",), ("fc1",), ("fc2",))
_DECODER = (*_ENCODER, ("q_proj",), ("out_proj",))
#: What safetensors calls a precision.
_STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
#: Bytes of a base weight held in few bits, with its share of the scales: one of 8 bits per row, of 4 bits two levels per 64 and 256.
_QUANTIZED = {"8bit": 1.01, "4bit": 0.52}


class Load(NamedTuple):
    """One process' part of a batch."""

    windows: int
    frames: int
    tokens: int  #: of the window with most
    labels: int  #: tokens of all windows that carry loss
    silence: int = 0  #: blocks of condensed silence after each window

    @classmethod
    def of(cls, batch: Sequence[Window], clips: Sequence[Clip], *, previous_text: bool = False) -> Load:
        """At most: prompts are counted as if they were to be learnt."""
        said = [sum(clips[row].tokens for row in window.rows) + PROMPT_AND_END for window in batch]
        return cls(len(batch), batch[0].frames, MAX_TOKENS if previous_text else max(said), sum(said), len(batch[0].silence))

    @property
    def positions(self) -> int:
        """Of the encoder, for each window."""
        return self.frames // 2 + self.silence

    def __str__(self) -> str:
        return f"{self.windows} windows of {self.frames / 100:.1f} s"


@dataclass(frozen=True)
class Demand:
    """Bytes that a run needs at its peak."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def lasting(self) -> int:
        """What lies in memory when an optimizer step is taken, whatever the batch was."""
        return self.weights + self.gradients + self.optimizer

    @property
    def total(self) -> int:
        return self.lasting + self.activations


@dataclass(frozen=True)
class Footprint:
    """A model that is trained with the options of a run, as far as memory is concerned.

    Attributes:
        encoder_layers, decoder_layers: those that keep activations.
    """

    config: FinetuneConfig
    sizes: WhisperConfig
    device: str  #: its type, "cpu" or "cuda"
    weights: int
    learning: int  #: weights that learn
    optimizer: int
    encoder_layers: int
    decoder_layers: int
    convolutions_learn: bool
    embedding_learns: bool

    @classmethod
    def of(cls, config: FinetuneConfig, sizes: WhisperConfig, device: str = "cpu") -> Footprint:
        """Lay the model out without storage.

        Raises:
            UsageError: as :func:`methods.adapt`.
        """
        with torch.random.fork_rng(devices=[]):
            with torch.device("meta"):
                model = LengthAwareWhisper(sizes)
            model.tie_weights()
            adapted = methods.adapt(model, config.model_copy(update={"compile": False}))
        named = {name.removeprefix("base_model.model.").removeprefix("model."): weight for name, weight in adapted.named_parameters()}
        # peft's AdaLoRA keeps each rank as a weight, which without storage seems to learn
        learning = {name: weight for name, weight in named.items() if weight.requires_grad and ".ranknum." not in name}
        frozen = sum(_frozen_bytes(name, weight, config) for name, weight in named.items() if name not in learning)
        count = sum(weight.numel() for weight in learning.values())
        encoder = _keeping(learning, "encoder", sizes.encoder_layers)
        reaches_all = encoder > 0 or any(name.startswith("decoder.embed") for name in learning)
        return cls(
            config,
            sizes,
            device,
            weights=frozen + 4 * count,
            learning=count,
            optimizer=sum(_optimizer_bytes(name, weight.shape, config) for name, weight in learning.items()),
            encoder_layers=encoder,
            decoder_layers=sizes.decoder_layers if reaches_all else _keeping(learning, "decoder", sizes.decoder_layers),
            convolutions_learn=any(name.startswith("encoder.conv") for name in learning),
            embedding_learns="decoder.embed_tokens.weight" in learning,
        )

    @property
    def recomputes(self) -> bool:
        """Whether layers are computed again in the backward pass."""
        return methods.checkpoints(self.config, self._width)

    def demand(self, load: Load, processes: int = 1) -> Demand:
        """What a step with the batch needs in each of so many processes; several keep the gradients twice, to add them up."""
        return Demand(self.weights, self.learning * (8 if processes > 1 else 4), self.optimizer, self._activations(load))

    def kept(self, load: Load) -> int:
        """What the forward pass keeps for the backward pass."""
        width, positions, tokens = self._width, load.windows * load.positions, load.windows * load.tokens
        kept = positions * width * (8 if self.encoder_layers else 4)  # into the encoder's last LayerNorm, and out of it
        kept += positions * (5 * width + 2 * int(self.sizes.num_mel_bins)) * self._s * self.convolutions_learn
        kept += 8 * tokens * width + 4 * load.labels * self._vocabulary
        if not self.recomputes:
            return round(kept + self._layers(load))
        stream = 4 if self.config.method == "full" else self._s
        return kept + stream * width * (self.encoder_layers * positions + self.decoder_layers * tokens)

    def _activations(self, load: Load) -> int:
        """What is kept, and the most of what is made and freed again: for the loss of all labels, in one layer, or for the embedding."""
        positions = load.windows * (load.positions if self.encoder_layers else load.tokens)
        backward: float = positions * self._width * (8 * self._s + 16)
        if self.recomputes:
            backward += max(self._encoder_layer(load) * bool(self.encoder_layers), self._decoder_layer(load))
        loss = load.labels * self._vocabulary * (4 if self._s == 4 else 6)
        copies = 2 * self.learning if self._s == 2 else 0
        embedding = 8 * self._vocabulary * self._width * self.embedding_learns
        holes = self._layers(load) * HOLES[self.config.method][self._s] if self.device == "cpu" else 0
        return round(self.kept(load) + holes + copies + max(loss, backward, embedding))

    def _layers(self, load: Load) -> float:
        """What all layers keep without gradient checkpointing."""
        return self.encoder_layers * self._encoder_layer(load) + self.decoder_layers * self._decoder_layer(load)

    def _encoder_layer(self, load: Load) -> float:
        channels = 2 * self._norm + 8 * self._s + sum(map(self._linear, _ENCODER))
        return load.windows * (load.positions * self._width * channels + self._scores(load.positions, load.positions))

    def _decoder_layer(self, load: Load) -> float:
        across = self._linear(("k_proj", "v_proj")) if self._copies else 0.0  # else one tensor for all layers, the encoder's output
        spoken = load.tokens * (3 * self._norm + 10 * self._s + sum(map(self._linear, _DECODER)))
        scores = self._scores(load.tokens, load.tokens) + self._scores(load.tokens, load.positions)
        return load.windows * (self._width * (spoken + load.positions * (2 * self._s + across)) + scores)

    def _scores(self, queries: int, keys: int) -> int:
        """What attention keeps of each pair of positions, bytes for a window."""
        plain = self.device == "cpu" and self.config.precision == "bfloat16" and keys <= FEW_KEYS
        return self._s * int(self.sizes.encoder_attention_heads) * queries * keys * plain

    @property
    def _width(self) -> int:
        return int(self.sizes.d_model)

    @property
    def _vocabulary(self) -> int:
        return int(self.sizes.vocab_size)

    @property
    def _s(self) -> int:
        return PRECISIONS[self.config.precision].itemsize

    @property
    def _wide_norms(self) -> bool:
        """Whether LayerNorms read and write float32 though matrices are multiplied in 16 bits."""
        return self._s == 2 and (self.device != "cpu" or not self.config.trains_adapter)

    @property
    def _norm(self) -> int:
        """What a LayerNorm keeps."""
        return 4 if self._wide_norms else self._s

    @property
    def _copies(self) -> bool:
        """Whether each linear layer has a copy of its input to itself."""
        return self._wide_norms or (self.config.trains_adapter and self.config.lora.dropout > 0)

    def _linear(self, names: Sequence[str]) -> float:
        """What linear layers keep that read the same tensor, bytes for each position and channel."""
        lora, adapter = self.config.lora, self.config.trains_adapter
        targets = [target.rpartition(".")[2] for target in lora.targets] if adapter else names
        learning = [name for name in names if name in targets]
        reads = [_READS[name] for name in learning]
        kept = float(self._s * (sum(reads) if self._copies else max(reads, default=0)))
        if adapter:
            rank = methods.initial_rank(self.config) if self.config.method == "adalora" else lora.rank
            kept += len(learning) * rank / self._width * self._s
            kept += 4 * sum(reads) * (lora.dropout > 0)
            kept += (4 + self._s) * sum(_WRITES[name] for name in learning) * lora.dora
        return kept


def converted_bytes(base: ModelFolder, config: FinetuneConfig) -> int:
    """Bytes of the base's files that are in memory beside the weights made of them: those stored in another type than they are held in.

    The files are mapped: the system counts their pages to the process, and takes them back where memory is short.
    """
    held = _STORED[config.precision if config.trains_adapter else "float32"]
    return sum(tensor.end - tensor.begin for tensors in base.tensors.values() for tensor in tensors.values() if tensor.type != held)


def _keeping(learning: dict[str, Any], part: str, layers: int) -> int:
    """How many layers of the encoder or decoder keep activations: from the first that learns, or all where what lies below learns."""
    inside = [re.match(rf"{part}\.(?:layers\.(\d+)|conv|embed)", name) for name in learning]
    first = min((int(found[1] or 0) for found in inside if found), default=layers)
    return layers - first


def _frozen_bytes(name: str, weight: nn.Parameter, config: FinetuneConfig) -> int:
    """What a weight takes that does not learn: below an adapter in the compute precision, or in few bits where it is a layer's matrix."""
    if config.quantize != "none" and ".layers." in name and weight.dim() == 2:
        return round(weight.numel() * _QUANTIZED[config.quantize])
    return weight.numel() * (PRECISIONS[config.precision].itemsize if config.trains_adapter else 4)


def _optimizer_bytes(name: str, shape: Sequence[int], config: FinetuneConfig) -> int:
    """What is kept beside a weight: two float32 (AdamW), two bytes and their scales (8 bits), or two sums (Adafactor).

    bitsandbytes holds fewer than 4096 weights in 32 bits, and Trainer has it do so with embeddings. AdaLoRA keeps three more float32:
    the importance of each weight, its mean and its spread.
    """
    count = torch.Size(shape).numel()
    allocation = 12 * count if config.method == "adalora" else 0
    if config.optimizer == "adamw-8bit" and count >= 4096 and "embed" not in name:
        return allocation + 2 * count + count // 32
    if config.optimizer == "adafactor" and len(shape) > 1:
        return allocation + 4 * (count // shape[-1] + count // shape[-2])
    return allocation + (4 if config.optimizer == "adafactor" else 8) * count
