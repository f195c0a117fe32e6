"""The small files beside the weights of a Hugging Face folder, complete, made from the tokenizer and the network's measures.

Different tools read different ones (docs/convert.md has the table), and none tells the user which one it missed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finewhisper.errors import ModelError
from finewhisper.generation import generation_config
from finewhisper.model import ModelFolder
from finewhisper.small_files import non_speech_tokens, preprocessor_config, write_json, write_tokenizer
from finewhisper.vocabulary import Vocabulary

__all__ = ["checked_vocabulary", "non_speech_tokens", "preprocessor_config", "write", "write_json"]


def checked_vocabulary(source: ModelFolder) -> Vocabulary:
    """The tokenizer of a transformers folder. Raises: ModelError: it does not fit the weights."""
    vocabulary = Vocabulary.load(source.files)
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
    write_tokenizer(target, vocabulary)
