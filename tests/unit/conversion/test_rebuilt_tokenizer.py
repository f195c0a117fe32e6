"""A tokenizer made from the list of tokens alone encodes as the real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from finewhisper.errors import ModelError
from finewhisper.tokenizer import read_tokenizer, read_tokens, rebuild
from finewhisper.vocabulary import Vocabulary

TEXTS = [
    " Printing, in the only sense with which we are at present concerned, differs from most if not from all the arts.",
    " Здравей, как си? Днес времето е хубаво.",
    "近幾年,不但我用書給女兒壓碎,也勸說親朋不要給女兒壓碎錢",
    " नमस्ते दुनिया",
    "こんにちは世界、元気ですか",
    " I'll've  been\n\nthere   at 12:30 – “really”? (no…) $1,234.56 #tag @x",
    "🎉👩‍👩‍👧 emoji",
    "\u0000\u0301 \t\r\n",
    "",
    " ",
    "aaaaaaaaaaaaaaaaaaaa",
    "<|startoftranscript|> is plain text here",
    " kawaiiiiiiiii Straße ŒUVRE ﬁn İstanbul",
]


@pytest.fixture(scope="module")
def pairs(base_ct2_model: Path, tiny_en_ct2_model: Path) -> dict[str, tuple[Vocabulary, Vocabulary]]:
    """For vocabulary.json (multilingual) and vocabulary.txt (English-only): the real tokenizer and the rebuilt one."""

    def pair(folder: Path, size: int) -> tuple[Vocabulary, Vocabulary]:
        return Vocabulary.load(folder), Vocabulary(rebuild(read_tokens(folder, size)))

    return {"base": pair(base_ct2_model, 51865), "tiny.en": pair(tiny_en_ct2_model, 51864)}


@pytest.mark.real
@pytest.mark.parametrize("name", ["base", "tiny.en"])
def test_tables_are_the_original_s(pairs: dict[str, tuple[Vocabulary, Vocabulary]], name: str) -> None:
    real, rebuilt = (json.loads(vocabulary.tokenizer.to_str()) for vocabulary in pairs[name])
    assert [tuple(merge) for merge in rebuilt["model"]["merges"]] == [tuple(merge) for merge in real["model"]["merges"]]
    assert [(token["id"], token["content"], token["special"]) for token in rebuilt["added_tokens"]] == [
        (token["id"], token["content"], token["special"]) for token in real["added_tokens"]
    ]
    assert rebuilt["post_processor"] == real["post_processor"]


@pytest.mark.real
@pytest.mark.parametrize("name", ["base", "tiny.en"])
@pytest.mark.parametrize("text", TEXTS)
def test_texts_encode_alike(pairs: dict[str, tuple[Vocabulary, Vocabulary]], name: str, text: str) -> None:
    real, rebuilt = pairs[name]
    ids = real.encode(text)
    assert rebuilt.encode(text) == ids
    assert rebuilt.decode(ids) == real.decode(ids)
    assert rebuilt.tokenizer.encode(text).ids == real.tokenizer.encode(text).ids  # with the prompt around it


@pytest.mark.real
@settings(max_examples=300, deadline=None)
@given(text=st.text(max_size=60), name=st.sampled_from(["base", "tiny.en"]))
def test_any_text_encodes_alike(pairs: dict[str, tuple[Vocabulary, Vocabulary]], text: str, name: str) -> None:
    real, rebuilt = pairs[name]
    assert rebuilt.encode(text) == real.encode(text)


@pytest.mark.real
def test_files_of_another_model_are_refused(base_ct2_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"vocabulary\.json: has 51865 tokens, but the model has 51866"):
        read_tokens(base_ct2_model, 51866)
    with pytest.raises(ModelError, match=r"tokenizer\.json: has 51865 tokens, but the model has 51864"):
        read_tokenizer(base_ct2_model, 51864)
    with pytest.raises(ModelError, match=r"has no tokenizer\.json, vocabulary\.json, vocabulary\.txt or vocab\.json"):
        read_tokenizer(tmp_path, 51865)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be read as a tokenizer"):
        read_tokenizer(tmp_path, 51865)


@pytest.mark.real
def test_the_file_is_read_where_it_is_there(base_ct2_model: Path) -> None:
    assert read_tokenizer(base_ct2_model, 51865).to_str() == Tokenizer.from_file(str(base_ct2_model / "tokenizer.json")).to_str()


@pytest.mark.real
@pytest.mark.parametrize("times", [True, False])
def test_files_of_a_slow_tokenizer_are_enough(base_model: Path, tmp_path: Path, times: bool) -> None:
    """What older transformers saved: vocab.json and added_tokens.json, before 2023 without the times."""
    added = json.loads((base_model / "added_tokens.json").read_text())
    kept = {token: index for token, index in added.items() if times or index < 50364}
    (tmp_path / "vocab.json").write_bytes((base_model / "vocab.json").read_bytes())
    (tmp_path / "added_tokens.json").write_text(json.dumps(kept))
    rebuilt, real = read_tokenizer(tmp_path, 51865), Tokenizer.from_file(str(base_model / "tokenizer.json"))
    assert rebuilt.get_vocab() == real.get_vocab()
    assert json.loads(rebuilt.to_str())["model"]["merges"] == json.loads(real.to_str())["model"]["merges"]
