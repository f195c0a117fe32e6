"""The small files beside the weights of a Hugging Face folder, complete, made from the tokenizer and the network's measures.

Different tools read different ones (docs/convert.md has the table), and none tells the user which one it missed.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from finewhisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, WINDOW_FRAMES, WINDOW_S, WINDOW_SAMPLES
from finewhisper.errors import ModelError
from finewhisper.generation import generation_config
from finewhisper.model import ModelFolder
from finewhisper.vocabulary import Vocabulary

_ADDED_TOKEN_FIELDS = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")


def checked_vocabulary(source: ModelFolder) -> Vocabulary:
    """The tokenizer of a transformers folder. Raises: ModelError: it does not fit the weights."""
    vocabulary = Vocabulary.load(source.path)
    if vocabulary.size != source.config.get("vocab_size"):
        raise ModelError(
            f"{source.path}: tokenizer.json has {vocabulary.size} tokens, config.json says {source.config.get('vocab_size')}; "
            "copy the tokenizer of the model that this one was made from"
        )
    return vocabulary


def write(target: Path, vocabulary: Vocabulary, config: dict[str, Any], decoding: dict[str, Any]) -> None:
    """Write every small file but ``config.json`` into ``target``.

    Args:
        config: the ``config.json`` of the folder.
        decoding: CTranslate2's ``config.json``: tokens to suppress and alignment heads.
    """
    write_json(target / "generation_config.json", generation_config(vocabulary, config, decoding))
    write_json(target / "preprocessor_config.json", preprocessor_config(config["num_mel_bins"]))
    _write_tokenizer(target, vocabulary)


def write_json(path: Path, content: Any) -> None:
    """Write JSON as people read it: indented, letters as they are."""
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def non_speech_tokens(vocabulary: Vocabulary) -> list[int]:
    """What OpenAI's decoder suppresses: symbols that stand for no sound, and control tokens (``Tokenizer.non_speech_tokens``)."""
    found = {vocabulary.encode(" -")[0], vocabulary.encode(" '")[0]}
    for symbol in (*_SYMBOLS, *_MUSIC):
        for tokens in (vocabulary.encode(symbol), vocabulary.encode(" " + symbol)):
            if len(tokens) == 1 or symbol in _MUSIC:
                found.add(tokens[0])
    return sorted(found | {vocabulary.id(f"<|{name}|>") for name in _CONTROL} | {vocabulary.no_speech})


#: One or several characters each.
_SYMBOLS = (
    *'"#()*+/:;<=>@[\\]^_`{|}~「」『』',
    *("<<", ">>", "<<<", ">>>", "--", "---", "-(", "-[", "('", '("', "((", "))", "(((", ")))", "[[", "]]", "{{", "}}", "♪♪", "♪♪♪"),
)
_MUSIC = "♩♪♫♬♭♮♯"  # some share their first bytes' token, which is suppressed with them
_CONTROL = ("startoftranscript", "translate", "transcribe", "startoflm", "startofprev")


def preprocessor_config(n_mels: int) -> dict[str, Any]:
    """The feature extractor's settings, which CTranslate2's users, faster-whisper and transformers.js look for in this file."""
    return {
        "chunk_length": WINDOW_S,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": n_mels,
        "hop_length": HOP_LENGTH,
        "n_fft": N_FFT,
        "n_samples": WINDOW_SAMPLES,
        "nb_max_frames": WINDOW_FRAMES,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": SAMPLE_RATE,
    }


def _write_tokenizer(target: Path, vocabulary: Vocabulary) -> None:
    """``tokenizer.json``, and the older files with the same content that whisper.cpp's converter and slow tokenizers read."""
    vocabulary.tokenizer.save(str(target / "tokenizer.json"))
    content = json.loads(vocabulary.tokenizer.to_str())
    added = content["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    end = vocabulary.tokenizer.id_to_token(vocabulary.end_of_text)
    write_json(target / "vocab.json", content["model"]["vocab"] | {end: ids.pop(end)})
    write_json(target / "added_tokens.json", ids)
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"])
    (target / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    roles: dict[str, Any] = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end)
    roles["additional_special_tokens"] = [token["content"] for token in added if token["special"]]
    write_json(target / "special_tokens_map.json", roles)
    settings = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {str(token["id"]): {field: token[field] for field in _ADDED_TOKEN_FIELDS} for token in added},
        "clean_up_tokenization_spaces": False,  # true would delete spaces before punctuation
        "errors": "replace",
        "model_max_length": 1024,
        "processor_class": "WhisperProcessor",
        "tokenizer_class": "WhisperTokenizer",
    }
    write_json(target / "tokenizer_config.json", settings | roles)
    spelling = resources.files("whisper_normalizer") / "normalizers" / "english.json"
    (target / "normalizer.json").write_text(spelling.read_text(encoding="utf-8"), encoding="utf-8")
