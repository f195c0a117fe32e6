"""Whisper in torch: transformers' model with an encoder that accepts any length up to 30 s.

Whisper's encoder adds fixed sinusoidal positions to what two convolutions make of the spectrogram; nothing in it needs 1500 positions
except a check. For a shorter input the first positions are used, which is what the full window would give its first frames.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch import nn
from transformers import WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.vocabulary import IGNORED

warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")  # its libraries' concern, not a user's
transformers.utils.logging.disable_progress_bar()  # loading takes a second and we show our own bars


class LengthAwareEncoder(WhisperEncoder):  # type: ignore[misc]
    """The encoder over (batch, n_mels, frames) with any even ``frames`` up to 3000, to (batch, frames // 2, d_model)."""

    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        hidden = nn.functional.gelu(self.conv1(input_features.to(self.conv1.weight.dtype)))
        hidden = nn.functional.gelu(self.conv2(hidden)).transpose(1, 2)  # (batch, positions, d_model)
        positions = hidden.shape[1]
        if positions > self.max_source_positions:
            raise ValueError(f"the encoder takes up to {2 * self.max_source_positions} frames, not {input_features.shape[-1]}")
        hidden = hidden + self.embed_positions.weight[:positions]
        hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            if self.training and self.layerdrop > 0.0 and torch.rand(()) < self.layerdrop:
                continue  # LayerDrop, arXiv 1909.11556
            hidden = layer(hidden, None)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))


class LengthAwareWhisper(WhisperForConditionalGeneration):  # type: ignore[misc]
    """transformers' Whisper with :class:`LengthAwareEncoder`, and a loss that projects only the positions that have a label.

    The projection to 50 000 tokens costs more than a short clip's whole encoder, so padding and prompt positions are left out of it.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.encoder.__class__ = LengthAwareEncoder

    @functools.wraps(WhisperForConditionalGeneration.forward)  # generate() looks at the signature for what it may pass
    def forward(
        self,
        input_features: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """As transformers' forward; with ``labels`` (batch, tokens; -100 ignored) only ``loss`` is returned.

        The loss is the mean over labelled tokens, or their sum divided by ``num_items_in_batch``, with which Trainer makes
        accumulated batches weigh every token alike.
        """
        if labels is None:
            return super().forward(input_features=input_features, **kwargs)
        hidden = self.model(input_features, use_cache=False, **kwargs).last_hidden_state
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
            folder.path,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{folder.path}: cannot be loaded ({error}); download or convert the model again") from error
    missing = sorted(set(report["missing_keys"]) - {"proj_out.weight"})  # tied to the token embedding, so often not stored
    if missing or report["unexpected_keys"] or report["mismatched_keys"]:
        wrong = missing or sorted(report["unexpected_keys"]) or [str(key) for key in report["mismatched_keys"]]
        raise ModelError(f"{folder.path}: the weights do not fit config.json (first: {wrong[0]}, {len(wrong)} in all); download it again")
    loaded: LengthAwareWhisper = model
    return loaded


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
    for name in COMPANIONS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


#: The small files beside the weights that a Whisper folder may hold; which tool reads which is in docs/convert.md.
COMPANIONS = (
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "normalizer.json",
)
