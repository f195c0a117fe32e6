"""Whisper in torch: transformers' model with an encoder that accepts any length up to 30 s.

Whisper's encoder adds fixed sinusoidal positions to what two convolutions make of the spectrogram; nothing in it needs 1500 positions
except a check. For a shorter input the first positions are used, which is what the full window would give its first frames.

A full window can be had for little more. What follows a clip in it is silence: a thousand positions that differ in their position alone.
*Condensed silence* keeps a few of them, each for a block of its neighbours, and adds the logarithm of the block's width to every
attention score of it, so that the softmax weighs it like the whole block. Token merging weighs merged tokens so (Bolya et al. 2022,
arXiv 2210.09461, "proportional attention"); here nothing has to be merged, for the blocks are known before the encoder runs.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, GenerationConfig, WhisperForConditionalGeneration
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.whisper.modeling_whisper import WhisperAttention, WhisperEncoder

from finewhisper.errors import ModelError
from finewhisper.model import AUXILIARY_FILES, ModelFolder
from finewhisper.vocabulary import IGNORED

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # its libraries' concern, not a user's
transformers.utils.logging.disable_progress_bar()  # loading takes a second and we show our own bars

# On a CPU oneDNN, and torch's layer above it, keep what they compiled for each of the last thousand shapes. Lengths that are all their own
# would fill that with gigabytes; a step needs a few dozen (benchmarks/LOG.md). Both look here when they compute for the first time.
for _name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_name, "64")

#: Keys up to which :func:`attention` multiplies matrices: 7.5 s of sound. For more, the scores need too much memory.
FEW_KEYS = 384


def attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' scaled dot-product attention, but for training in bfloat16 on a CPU, where it is made of plain matrix products.

    torch's fused kernel is made for long sequences; its backward pass takes 1.5 times as long as the products for 290 positions, three
    times as long for 120 (``benchmarks/LOG.md``).

    Args:
        query: (batch, heads, positions, width), as ``key`` and ``value`` are.
    """
    learning = torch.is_grad_enabled() and query.device.type == "cpu" and query.dtype == torch.bfloat16
    additive = attention_mask is None or attention_mask.is_floating_point()
    if not (learning and additive and dropout == 0.0 and key.shape[2] <= FEW_KEYS):
        result: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    scores = query * (query.shape[-1] ** -0.5 if scaling is None else scaling) @ key.transpose(2, 3)
    if attention_mask is not None:
        scores = scores + attention_mask.to(scores.dtype)
    elif query.shape[2] > 1 and getattr(module, "is_causal", False):
        scores = scores.masked_fill(torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1), -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register("finewhisper", attention)
AttentionMaskInterface.register("finewhisper", sdpa_mask)


class LengthAwareEncoder(WhisperEncoder):  # type: ignore[misc]
    """The encoder over (batch, n_mels, frames) with any even ``frames`` up to 3000, to (batch, positions, d_model).

    There are ``frames // 2`` positions, and one more for each block of condensed silence.
    """

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        silence: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """As transformers' forward.

        Args:
            silence: (batch, blocks), the widths in positions of the blocks of silence that follow, the same in every row; the last is
                the window's last position, of width 1. The features must end in a tenth of a second of silence.
        """
        hidden = nn.functional.gelu(self.conv1(input_features.to(self.conv1.weight.dtype)))
        hidden = nn.functional.gelu(self.conv2(hidden)).transpose(1, 2)  # (batch, positions, d_model)
        heard = hidden.shape[1]
        if heard > self.max_source_positions:
            raise ValueError(f"the encoder takes up to {2 * self.max_source_positions} frames, not {input_features.shape[-1]}")
        if silence is None:
            hidden, weight = hidden + self.embed_positions.weight[:heard], None
        else:
            hidden, weight = self._with_silence(hidden, silence[0]), attention_weight(heard, silence, hidden.dtype)
        hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            if self.training and self.layerdrop > 0.0 and torch.rand(()) < self.layerdrop:
                continue  # LayerDrop, arXiv 1909.11556
            hidden = layer(hidden, weight)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))

    def _with_silence(self, hidden: torch.Tensor, widths: torch.Tensor) -> torch.Tensor:
        """Continue (batch, heard, d_model) with a position in the middle of each block, and add the positions' embeddings."""
        heard = hidden.shape[1]
        middles = heard + widths.cumsum(0) - widths + widths // 2
        places = torch.cat([torch.arange(heard, device=hidden.device), middles])
        # the last position heard has the zeros behind it that the convolutions put at the end of a window, so there it goes
        silent = hidden[:, heard - 2 : heard - 1].expand(-1, len(widths), -1)
        hidden = torch.cat([hidden[:, : heard - 1], silent, hidden[:, heard - 1 :]], dim=1)
        positioned: torch.Tensor = hidden + self.embed_positions.weight[places]
        return positioned


def attention_weight(heard: int, silence: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the attention scores of ``heard`` positions and of blocks (batch, blocks): (1, 1, 1, heard + blocks)."""
    widths = torch.cat([torch.ones(heard, device=silence.device), silence[0]])
    return widths.log().to(dtype)[None, None, None]


class LengthAwareCrossAttention(WhisperAttention):  # type: ignore[misc]
    """Attention from the decoder to the encoder's positions, some of which may stand for many."""

    def forward(self, hidden_states: torch.Tensor, *args: Any, source_weight: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """As transformers' forward; ``source_weight`` is what :func:`attention_weight` answers."""
        if source_weight is not None:
            kwargs["attention_mask"] = source_weight
        return super().forward(hidden_states, *args, **kwargs)


class LengthAwareWhisper(WhisperForConditionalGeneration):  # type: ignore[misc]
    """transformers' Whisper with :class:`LengthAwareEncoder`, and a loss that projects only the positions that have a label.

    The projection to 50 000 tokens costs more than a short clip's whole encoder, so padding and prompt positions are left out of it.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.encoder.__class__ = LengthAwareEncoder
        for layer in self.model.decoder.layers:
            layer.encoder_attn.__class__ = LengthAwareCrossAttention

    @functools.wraps(WhisperForConditionalGeneration.forward)  # generate() looks at the signature for what it may pass
    def forward(
        self,
        input_features: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        silence: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """As transformers' forward; with ``labels`` (batch, tokens; -100 ignored) only ``loss`` is returned.

        The loss is the mean over labelled tokens, or their sum divided by ``num_items_in_batch``, with which Trainer makes
        accumulated batches weigh every token alike.

        Args:
            silence: with ``labels`` only, as in :meth:`LengthAwareEncoder.forward`.
        """
        if labels is None:
            return super().forward(input_features=input_features, **kwargs)
        assert input_features is not None
        states = self.model.encoder(input_features, silence=silence).last_hidden_state
        if silence is not None:
            kwargs["source_weight"] = attention_weight(input_features.shape[-1] // 2, silence, states.dtype)
        hidden = self.model.decoder(kwargs.pop("decoder_input_ids"), encoder_hidden_states=states, use_cache=False, **kwargs)[0]
        counted = labels != IGNORED
        logits = self.proj_out(hidden[counted])  # (labelled positions, vocabulary)
        total = nn.functional.cross_entropy(logits.float(), labels[counted], reduction="sum")
        return Seq2SeqLMOutput(loss=total / (counted.sum() if num_items_in_batch is None else num_items_in_batch))


@contextmanager
def cross_attention(
    model: WhisperForConditionalGeneration, heads: Sequence[tuple[int, int]], positions: int
) -> Iterator[list[torch.Tensor]]:
    """Watch how some of the decoder's heads look at the audio: a list that a forward pass of one clip fills.

    Fast attention gives no weights, so they are computed again from the queries and keys of the layers that are asked for.

    Args:
        heads: (layer, head) of each head.
        positions: of the encoder's output that count; the silence behind them gets no weight.

    Yields:
        For each layer in ``heads`` the weights (its heads, tokens, positions).
    """
    weights: list[torch.Tensor] = []

    def watch(wanted: list[int], module: Any, arguments: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        hidden, audio = arguments[0] if arguments else named["hidden_states"], named["key_value_states"][0, :positions]
        shape = (-1, module.num_heads, module.head_dim)
        queries = module.q_proj(hidden[0]).view(shape).transpose(0, 1)[wanted] * module.scaling  # (heads, tokens, head_dim)
        keys = module.k_proj(audio).view(shape).transpose(0, 1)[wanted]  # (heads, positions, head_dim)
        weights.append((queries @ keys.transpose(1, 2)).float().softmax(dim=-1))

    handles = []
    for index, layer in enumerate(model.model.decoder.layers):
        wanted = [head for place, head in heads if place == index]
        if wanted:
            handles.append(layer.encoder_attn.register_forward_pre_hook(functools.partial(watch, wanted), with_kwargs=True))
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


def load(folder: ModelFolder, dtype: torch.dtype = torch.float32, **options: Any) -> LengthAwareWhisper:
    """Load a transformers folder, safetensors only, without touching the network.

    Args:
        options: of transformers' ``from_pretrained``, such as ``quantization_config``.

    Raises:
        ModelError: the weights do not fit the configuration.
    """
    try:
        model, report = LengthAwareWhisper.from_pretrained(
            folder.files,
            dtype=dtype,
            attn_implementation="finewhisper",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # its libraries raise of everything for a configuration that is not one
        raise ModelError(f"{folder.path}: cannot be loaded ({error}); download or convert the model again") from error
    require_fitting(report, folder.path, tied=model.config.tie_word_embeddings)
    loaded: LengthAwareWhisper = model
    loaded.name_or_path = str(folder.path.absolute())  # which peft writes beside an adapter, for whoever loads it from elsewhere
    loaded.generation_config = _own(loaded.generation_config)
    return loaded


def require_fitting(report: Mapping[str, Any], path: Path, *, tied: bool) -> None:
    """Refuse a model of which transformers has made a part up: what a file does not have, it draws at random.

    Args:
        report: the second answer of ``from_pretrained(…, output_loading_info=True)``.
        tied: the output matrix is the token embedding, so it need not be stored.

    Raises:
        ModelError: naming a weight that is missing, in excess or of another shape.
    """
    missing = sorted(set(report["missing_keys"]) - ({"proj_out.weight"} if tied else set()))
    if missing or report["unexpected_keys"] or report["mismatched_keys"]:
        wrong = missing or sorted(report["unexpected_keys"]) or [str(key) for key in report["mismatched_keys"]]
        fault = "are missing" if missing else "are too many" if report["unexpected_keys"] else "are of another shape"
        raise ModelError(
            f"{path}: the weights do not fit config.json: {len(wrong)} {fault}, the first is {wrong[0]}; download the model again"
        )


def _own(stored: GenerationConfig) -> GenerationConfig:
    """What is read here of a generation config: ``generate`` would honour the rest of it too, such as another number of tokens."""
    names = ("suppress_tokens", "begin_suppress_tokens", "max_initial_timestamp_index", "alignment_heads")
    own = GenerationConfig()
    for name in names:
        if hasattr(stored, name):
            setattr(own, name, getattr(stored, name))
    return own


def save(model: WhisperForConditionalGeneration, source: Path, target: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
    """Write ``model`` to the existing folder ``target`` with every file that transformers, CTranslate2 and whisper.cpp look for.

    transformers 5 writes ``processor_config.json`` alone where other tools read ``preprocessor_config.json``, ``vocab.json`` and
    ``added_tokens.json``; all small files are therefore copied from ``source``, the folder that the model was loaded from.

    Args:
        weights: what to write in place of the model's own, for a model that holds only a part of them.
    """
    import json
    import shutil

    if weights is not None and model.config.tie_word_embeddings:  # gathered weights no longer share memory
        weights = {name: weight for name, weight in weights.items() if name != "proj_out.weight"}
    model.save_pretrained(target, state_dict=weights)
    config_path = target / "config.json"
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["architectures"] = ["WhisperForConditionalGeneration"]
    config_path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in AUXILIARY_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
