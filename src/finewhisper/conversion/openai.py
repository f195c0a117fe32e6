"""Whisper as OpenAI names it: the measures and tensors of a ``.pt`` checkpoint, which ggml files keep.

Source: ``whisper/model.py`` of openai/whisper.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from finewhisper import pickles
from finewhisper.errors import ModelError
from finewhisper.tensors import Float32
from finewhisper.vocabulary import VOCABULARY_SIZES, Vocabulary


@dataclass(frozen=True)
class Dimensions:
    """The network's measures under OpenAI's names."""

    n_mels: int
    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int

    @classmethod
    def of_config(cls, path: Path, config: dict[str, Any]) -> Dimensions:
        """From transformers' ``config.json``.

        Raises:
            ModelError: the network is not one that OpenAI's code can build.
        """
        width = config["d_model"]
        if any(config[f"{side}_ffn_dim"] != 4 * width for side in ("encoder", "decoder")):
            raise ModelError(f"{path}: its feed-forward layers are not four times as wide as the model; OpenAI's format knows no others")
        if config.get("activation_function", "gelu") != "gelu" or config.get("scale_embedding", False):
            raise ModelError(f"{path}: has another activation than Whisper's, or scaled embeddings; OpenAI's format knows neither")
        return cls(
            n_mels=config["num_mel_bins"],
            n_vocab=config["vocab_size"],
            n_audio_ctx=config["max_source_positions"],
            n_audio_state=width,
            n_audio_head=config["encoder_attention_heads"],
            n_audio_layer=config["encoder_layers"],
            n_text_ctx=config["max_target_positions"],
            n_text_state=width,
            n_text_head=config["decoder_attention_heads"],
            n_text_layer=config["decoder_layers"],
        )

    def check(self, path: Path) -> None:
        """Refuse what is not a Whisper. Raises: ModelError."""
        if min(asdict(self).values()) < 1 or self.n_audio_state != self.n_text_state:
            raise ModelError(f"{path}: its measures are not a Whisper's ({self}); download it again")
        if self.n_vocab not in VOCABULARY_SIZES:
            known = ", ".join(f"{size} ({name})" for size, name in VOCABULARY_SIZES.items())
            raise ModelError(
                f"{path}: the model has {self.n_vocab} tokens, Whisper's have {known}; models with added tokens are not supported"
            )

    def config(self, vocabulary: Vocabulary) -> dict[str, Any]:
        """transformers' ``config.json``."""
        return {
            "architectures": ["WhisperForConditionalGeneration"],
            "model_type": "whisper",
            "is_encoder_decoder": True,
            "vocab_size": self.n_vocab,
            "num_mel_bins": self.n_mels,
            "d_model": self.n_audio_state,
            "max_source_positions": self.n_audio_ctx,
            "max_target_positions": self.n_text_ctx,
            "activation_function": "gelu",
            "scale_embedding": False,
            "tie_word_embeddings": True,
            "decoder_start_token_id": vocabulary.start_of_transcript,
            **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), vocabulary.end_of_text),
            "encoder_layers": self.n_audio_layer,
            "encoder_attention_heads": self.n_audio_head,
            "encoder_ffn_dim": 4 * self.n_audio_state,
            "decoder_layers": self.n_text_layer,
            "decoder_attention_heads": self.n_text_head,
            "decoder_ffn_dim": 4 * self.n_text_state,
        }


@dataclass(frozen=True)
class Tensor:
    """One tensor under both names."""

    name: str  #: in transformers
    original: str  #: in OpenAI's checkpoints and ggml files
    shape: tuple[int, ...]


def layout(dimensions: Dimensions) -> list[Tensor]:
    """Every tensor of a model in the order of the network; the output matrix is the token embedding."""
    return list(_layout(dimensions))


def _layout(size: Dimensions) -> Iterator[Tensor]:
    width = size.n_audio_state
    for number, channels in ((1, size.n_mels), (2, width)):
        yield Tensor(f"model.encoder.conv{number}.weight", f"encoder.conv{number}.weight", (width, channels, 3))
        yield Tensor(f"model.encoder.conv{number}.bias", f"encoder.conv{number}.bias", (width,))
    yield Tensor("model.decoder.embed_tokens.weight", "decoder.token_embedding.weight", (size.n_vocab, width))
    for side, positions, layers, last in (
        ("encoder", size.n_audio_ctx, size.n_audio_layer, "ln_post"),
        ("decoder", size.n_text_ctx, size.n_text_layer, "ln"),
    ):
        yield Tensor(f"model.{side}.embed_positions.weight", f"{side}.positional_embedding", (positions, width))
        for layer in range(layers):
            yield from _block(f"model.{side}.layers.{layer}", f"{side}.blocks.{layer}", width, cross=side == "decoder")
        yield from _pair(f"model.{side}.layer_norm", f"{side}.{last}", (width,))


def _block(name: str, original: str, width: int, *, cross: bool) -> Iterator[Tensor]:
    for attention, theirs in (("self_attn", "attn"), ("encoder_attn", "cross_attn"))[: 2 if cross else 1]:
        yield from _pair(f"{name}.{attention}_layer_norm", f"{original}.{theirs}_ln", (width,))
        for part, word in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out")):
            pair = _pair(f"{name}.{attention}.{part}", f"{original}.{theirs}.{word}", (width, width))
            yield from (tensor for tensor in pair if word != "key" or tensor.name.endswith(".weight"))  # a key needs no bias
    yield from _pair(f"{name}.final_layer_norm", f"{original}.mlp_ln", (width,))
    yield from _pair(f"{name}.fc1", f"{original}.mlp.0", (4 * width, width))
    yield from _pair(f"{name}.fc2", f"{original}.mlp.2", (width, 4 * width))


def _pair(name: str, original: str, shape: tuple[int, ...]) -> Iterator[Tensor]:
    yield Tensor(f"{name}.weight", f"{original}.weight", shape)
    yield Tensor(f"{name}.bias", f"{original}.bias", shape[:1])


class Checkpoint:
    """A ``.pt`` file of OpenAI's ``whisper``, or of a trainer that writes the same: tensors and numbers, and nothing that runs.

    Attributes:
        dimensions: the network's measures.
        stored: the type of its matrices, such as ``float16``.
    """

    def __init__(self, path: Path) -> None:
        """Map the file into memory.

        Raises:
            ModelError: the file is damaged, holds code, or is not a Whisper checkpoint.
            MissingExtraError: torch is not installed.
        """
        content = pickles.load(path, "{'dims': …, 'model_state_dict': …}")
        try:
            self.dimensions = Dimensions(**{field.name: int(content["dims"][field.name]) for field in fields(Dimensions)})
            self._tensors = dict(content["model_state_dict"])
            self.stored = str(self._tensors["decoder.token_embedding.weight"].dtype).removeprefix("torch.")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{path}: is not a checkpoint of OpenAI's whisper, which has dims and model_state_dict ({error!r})") from error
        self._path = path
        self.dimensions.check(path)

    def __getitem__(self, original: str) -> Float32:
        """The tensor of OpenAI's name ``original``, as float32. Raises: ModelError."""
        if original not in self._tensors:
            raise ModelError(f"{self._path}: has no {original}; it is not a whole Whisper model, download it again")
        values: Float32 = self._tensors[original].float().numpy()
        return values
