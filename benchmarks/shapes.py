"""Whispers of random weights in their published shapes, and made-up speech of a real corpus's lengths: nothing is downloaded.

What a step costs depends on shapes and lengths alone, not on what the weights know or what is said.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, WhisperConfig

from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.language import LANGUAGES
from finewhisper.manifest import Utterance
from finewhisper.vocabulary import TIMESTAMP_TOKENS, Vocabulary
from finewhisper.whisper import LengthAwareWhisper


@dataclass(frozen=True)
class Shape:
    """The sizes of a Whisper, as in its ``config.json``."""

    encoder_layers: int
    decoder_layers: int
    d_model: int
    heads: int
    n_mels: int
    vocabulary: int

    @property
    def ffn(self) -> int:
        """Width of the feed-forward layers: four times the model's in every Whisper."""
        return 4 * self.d_model


#: From the config.json of openai/whisper-large-v3, -large-v3-turbo, -medium, -small and -base; "tiny" is this benchmark's own
#: and far below OpenAI's.
SHAPES = {
    "large-v3": Shape(32, 32, 1280, 20, 128, 51866),
    "turbo": Shape(32, 4, 1280, 20, 128, 51866),
    "medium": Shape(24, 24, 1024, 16, 80, 51865),
    "small": Shape(12, 12, 768, 12, 80, 51865),
    "base": Shape(6, 6, 512, 8, 80, 51865),
    "tiny": Shape(2, 2, 64, 2, 80, 51865),
}

#: Ids below this one are text in every multilingual Whisper; then come the end of text and the other special tokens.
TEXT_TOKENS = 50257


def build(shape: Shape, device: torch.device, dtype: torch.dtype, seed: int = 0) -> LengthAwareWhisper:
    """A model of ``shape`` whose weights are drawn on ``device``; it can write any word and nothing else, so it never ends by itself."""
    sides = {
        f"{side}_{name}": value
        for side, layers in (("encoder", shape.encoder_layers), ("decoder", shape.decoder_layers))
        for name, value in (("layers", layers), ("attention_heads", shape.heads), ("ffn_dim", shape.ffn))
    }
    config = WhisperConfig(
        vocab_size=shape.vocabulary, num_mel_bins=shape.n_mels, d_model=shape.d_model, attn_implementation="sdpa", **sides,
        pad_token_id=TEXT_TOKENS, bos_token_id=TEXT_TOKENS, eos_token_id=TEXT_TOKENS, decoder_start_token_id=TEXT_TOKENS + 1,
    )  # fmt: skip
    torch.manual_seed(seed)
    with torch.device(device):
        model: LengthAwareWhisper = LengthAwareWhisper(config).to(dtype)
    model.generation_config = GenerationConfig(suppress_tokens=list(range(TEXT_TOKENS - 1, shape.vocabulary)))
    return model


def vocabulary(shape: Shape) -> Vocabulary:
    """A tokenizer of the right size with Whisper's special tokens in their places; every text token is a made-up word.

    But the last is empty, as in every multilingual Whisper: CTranslate2 knows them by that.
    """
    languages = list(LANGUAGES)[: shape.vocabulary - 51766]  # 99 or 100
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages), "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    words = {f"w{index}": index for index in range(TEXT_TOKENS - 1)} | {"": TEXT_TOKENS - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(TIMESTAMP_TOKENS)
    return Vocabulary(tokenizer)


#: A log-normal distribution after the published quantiles of AISHELL-1's training set: icefall, egs/aishell/ASR/local/
#: display_manifest_statistics.py (5, 50, 95, 99 %: 2.7, 4.3, 7.2, 8.8 s; three speeds mixed) and 150.9 h in 120,098 clips, mean 4.52 s.
MEDIAN_S, LOG_DEVIATION, SHORTEST_S, LONGEST_S = 4.32, 0.30, 1.2, 14.5
#: Tokens of Whisper's multilingual vocabulary per second of AISHELL's speech: 3.6 in 800 of its sentences.
TOKENS_PER_SECOND = 3.6


def durations_s(count: int, seed: int = 0) -> list[float]:
    """Lengths of ``count`` clips as AISHELL-1 has them, seconds."""
    rng = random.Random(seed)
    drawn = (MEDIAN_S * rng.lognormvariate(0.0, LOG_DEVIATION) for _ in range(count))
    return [min(max(duration, SHORTEST_S), LONGEST_S) for duration in drawn]


#: Clips that one voice reads in a row: AISHELL-1's training set has 340 speakers.
CLIPS_PER_SPEAKER = 120_098 // 340


class Noise(Utterance):
    """An utterance without a file: it sounds of noise."""

    def waveform(self) -> Waveform:
        rng = np.random.default_rng(self.line)
        return rng.normal(scale=0.1, size=round(self.length_s() * SAMPLE_RATE)).astype(np.float32)


def text_tokens(duration_s: float) -> int:
    """How many tokens are said in a clip of this length."""
    return max(1, round(TOKENS_PER_SECOND * duration_s))


def speech(count: int, seed: int = 0) -> list[Utterance]:
    """Clips of AISHELL's lengths with as many made-up words as are said in that time, for :func:`vocabulary`."""
    rng = random.Random(seed)
    utterances: list[Utterance] = []
    for index, duration_s in enumerate(durations_s(count, seed)):
        sentence = " ".join(f"w{rng.randrange(TEXT_TOKENS - 1)}" for _ in range(text_tokens(duration_s)))
        speaker = {"speaker": f"S{index // CLIPS_PER_SPEAKER}"}
        utterances.append(Noise(Path(f"noise{index}"), sentence, "en", duration_s, extra=speaker, line=index + 1))
    return utterances
