"""The small JSON and text files that lie beside the weights of a model: how they are read, and made where they are missing.

Different tools read different ones (docs/convert.md has the table), and none tells the user which one it missed.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from finewhisper import json_values
from finewhisper.audio import HOP_LENGTH, N_FFT, SAMPLE_RATE, WINDOW_FRAMES, WINDOW_S, WINDOW_SAMPLES
from finewhisper.errors import ModelError
from finewhisper.vocabulary import Vocabulary

_ADDED_TOKEN_FIELDS = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises: ModelError: it is none."""
    try:
        content = json_values.read(path)
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error}); copy it from the original model") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path}: is not a JSON object; copy it from the original model")
    return content


def write_json(path: Path, content: Any) -> None:
    """Write JSON as people read it: indented, letters as they are."""
    path.write_text(_json(content), encoding="utf-8")


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


def write_tokenizer(target: Path, vocabulary: Vocabulary, *, only_missing: bool = False) -> None:
    """``tokenizer.json``, and the older files with the same content that whisper.cpp's converter and slow tokenizers read.

    Args:
        only_missing: leave the files that are there as they are.
    """
    for name, content in _tokenizer_files(vocabulary).items():
        if not (only_missing and (target / name).is_file()):
            (target / name).write_text(content, encoding="utf-8")


def _tokenizer_files(vocabulary: Vocabulary) -> dict[str, str]:
    content = json.loads(vocabulary.tokenizer.to_str())
    added = content["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    end = vocabulary.tokenizer.id_to_token(vocabulary.end_of_text)
    plain = content["model"]["vocab"] | {end: ids.pop(end)}
    merges = (merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"])
    roles: dict[str, Any] = dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), end)
    roles["additional_special_tokens"] = [token["content"] for token in added if token["special"]]
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
    spelling = resources.files("whisper_normalizer") / "normalizers" / "english.json"
    return {
        "tokenizer.json": vocabulary.tokenizer.to_str(pretty=True),
        "vocab.json": _json(plain),
        "added_tokens.json": _json(ids),
        "merges.txt": "\n".join(["#version: 0.2", *merges]) + "\n",
        "special_tokens_map.json": _json(roles),
        "tokenizer_config.json": _json(settings | roles),
        "normalizer.json": spelling.read_text(encoding="utf-8"),
    }


def _json(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
