"""Values that tests of several modules share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finewhisper.conversion import auxiliary_files
from finewhisper.tokenizer import rebuild
from finewhisper.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def vocabularies(base_model: Path, tiny_en_model: Path) -> dict[str, Vocabulary]:
    """The three that exist: v2 (also v1) and en as published, v3 made of v2's tokens and one more language."""
    multilingual = Vocabulary.load(base_model)
    tokens = [multilingual.tokenizer.id_to_token(index) for index in range(multilingual.size)]
    tokens.insert(tokens.index("<|su|>") + 1, "<|yue|>")
    return {"v2": multilingual, "en": Vocabulary.load(tiny_en_model), "v3": Vocabulary(rebuild(tokens))}


@pytest.fixture(scope="session")
def make_random(vocabularies: dict[str, Vocabulary], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a Hugging Face Whisper with random weights: kind of vocabulary and any value of config.json."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    def make(kind: str = "v2", **changes: Any) -> Path:
        vocabulary = vocabularies[kind]
        sizes = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in _SIZES.items()}
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), vocabulary.end_of_text)
        start = vocabulary.start_of_transcript
        values = {"vocab_size": vocabulary.size, "d_model": 64, "decoder_start_token_id": start, **special, **sizes, **changes}
        torch.manual_seed(0)
        model = WhisperForConditionalGeneration(WhisperConfig(**values))
        for parameter in model.parameters():  # biases and norms too, else many arrays are equal and CTranslate2 stores them once
            parameter.data += 0.02 * torch.randn_like(parameter)
        folder = tmp_path_factory.mktemp("random") / kind
        model.save_pretrained(folder)
        decoding = {"suppress_ids": [1, 2, 7], "suppress_ids_begin": [220, vocabulary.end_of_text], "alignment_heads": [[1, 0], [1, 1]]}
        auxiliary_files.write(folder, vocabulary, json.loads((folder / "config.json").read_text()), decoding)
        return folder

    return make


_SIZES = {"layers": 2, "attention_heads": 2, "ffn_dim": 256}
