"""Values that tests of several modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from finewhisper.convert.tokenizer import rebuild
from finewhisper.vocabulary import Vocabulary


@pytest.fixture(scope="session")
def vocabularies(base_model: Path, tiny_en_model: Path) -> dict[str, Vocabulary]:
    """The three that exist: v2 (also v1) and en as published, v3 made of v2's tokens and one more language."""
    multilingual = Vocabulary.load(base_model)
    tokens = [multilingual.tokenizer.id_to_token(index) for index in range(multilingual.size)]
    tokens.insert(tokens.index("<|su|>") + 1, "<|yue|>")
    return {"v2": multilingual, "en": Vocabulary.load(tiny_en_model), "v3": Vocabulary(rebuild(tokens))}
