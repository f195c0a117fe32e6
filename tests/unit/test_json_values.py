"""JSON that Python reads badly ends in a sentence wherever others write it: files of models and runs, messages, rows of a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finewhisper import completion, json_values, manifest, outputs, yaml_values
from finewhisper.errors import FinewhisperError
from finewhisper.evaluation.baseline import Baseline
from finewhisper.evaluation.curves import Curves
from finewhisper.model import ModelFolder
from finewhisper.model_numbers import safetensors_header
from finewhisper.server.live import connections
from finewhisper.small_files import read_json
from finewhisper.tokenizer import read_tokenizer, read_tokens
from finewhisper.training import inputs
from finewhisper.vocabulary import Vocabulary

BAD = {
    "deep": '{"a": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "deep for us": '{"a": ' + "[" * 200 + "]" * 200 + "}",
    "never closed": "[" * 100_000,
    "a huge number": '{"a": ' + "9" * 4301 + "}",
    "half a character": '{"a": "\\ud800"}',
    "half a character as a key": '{"\\udfff": 1}',
    "a key twice": '{"a": 1, "a": 2}',
    "not UTF-8": b'{"a": "\xff"}'.decode("latin-1"),
}
SAID = {
    "deep": "nested",
    "deep for us": "nested more than 100 deep",
    "never closed": "nested too deeply",
    "a huge number": "a number has more than 4300 digits",
    "half a character": "half a surrogate pair",
    "half a character as a key": "half a surrogate pair",
    "a key twice": r"the key 'a' 2 times \(1, 2\); keep one",
    "not UTF-8": "is not UTF-8",
}


def content(name: str) -> bytes:
    return BAD[name].encode("latin-1")


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_a_sentence(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content(name))
    with pytest.raises(ValueError, match=SAID[name]):
        json_values.read(tmp_path / "file")


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None, "😀"]}, [], "text", 10**4000, json.loads("[" * 100 + "]" * 100)], ids=type)
def test_what_is_right_is_read(value: Any) -> None:
    for escaped in (True, False):
        assert json_values.parse(json.dumps(value, ensure_ascii=escaped)) == value
    assert json_values.parse(b"\xef\xbb\xbf " + json.dumps(value).encode() + b"\r\n") == value


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as stream:
        stream.truncate((1 << 28) + 1)
    with pytest.raises(ValueError, match="268,435,457 bytes, too many"):
        json_values.read(tmp_path / "file")


def _header(folder: Path, raw: bytes) -> Path:
    path = folder / "model.safetensors"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    return path


def _written(folder: Path, name: str, raw: bytes) -> Path:
    (folder / name).write_bytes(raw)
    return folder


def _card(folder: Path, raw: bytes) -> Any:
    for name in ("config.json", "generation_config.json", "tokenizer.json", "preprocessor_config.json", "model.safetensors"):
        (folder / name).write_text('{"model_type": "whisper"}')
    return ModelFolder(_written(folder, "finewhisper.json", raw), "transformers").card


#: Where a file of others is read, by what it is: each is handed a folder and the bytes, and must end in a sentence.
READERS: dict[str, Callable[[Path, bytes], Any]] = {
    "config.json": lambda folder, raw: read_json(_written(folder, "config.json", raw) / "config.json"),
    "adapter_config.json": lambda folder, raw: ModelFolder(_written(folder, "adapter_config.json", raw), "adapter").config,
    "finewhisper.json": _card,
    "vocab.json": lambda folder, raw: read_tokens(_written(folder, "vocab.json", raw), 51865),
    "vocabulary.txt": lambda folder, raw: read_tokens(_written(folder, "vocabulary.txt", raw), 51865),
    "vocabulary.json": lambda folder, raw: read_tokens(_written(folder, "vocabulary.json", raw), 51865),
    "vocabulary.json, counted": lambda folder, raw: completion._listed_tokens(_written(folder, "vocabulary.json", raw)),
    "tokenizer.json": lambda folder, raw: Vocabulary.load(_written(folder, "tokenizer.json", raw)),
    "tokenizer.json, to rebuild": lambda folder, raw: read_tokenizer(_written(folder, "tokenizer.json", raw), 51865),
    "weights": lambda folder, raw: safetensors_header(_header(folder, raw)),
    "baseline": lambda folder, raw: Baseline.read(_written(folder, "result.json", raw)),
    "learning curves": lambda folder, raw: Curves.read(_written(folder, "training.json", raw)),
    "a resumed run": lambda folder, raw: inputs.require_unchanged({}, _written(folder, inputs.NAME, raw)),
    "a message": lambda _, raw: connections._object(raw.decode("utf-8", "replace") if raw.isascii() else "\ud800"),
    "a manifest": lambda folder, raw: manifest.read(_written(folder, "rows.jsonl", raw) / "rows.jsonl"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_says_it(reader: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(FinewhisperError) as refused:
        READERS[reader](tmp_path, content(name))
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("name", BAD)
def test_yaml_says_it(name: str) -> None:
    """JSON is YAML; numbers of any length it refuses as Python does, in a sentence of its own."""
    with pytest.raises(ValueError, match=r"is not YAML|is not UTF-8"):
        yaml_values.parse(content(name))


@pytest.mark.parametrize("name", BAD)
def test_a_record_of_ours_that_is_damaged_counts_as_absent(name: str, tmp_path: Path) -> None:
    assert outputs.written(_written(tmp_path, outputs.RECORD, content(name))) is None


@pytest.mark.parametrize("name", ["generation_config.json", "config.json"])
def test_convert_names_the_file(name: str, random_model: Path, tmp_path: Path) -> None:
    from finewhisper.conversion.config import ConvertConfig
    from finewhisper.conversion.run import run

    shutil.copytree(random_model, tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(content("deep"))
    with pytest.raises(FinewhisperError, match=f"{name}: cannot be read as JSON .*nested"):
        run(ConvertConfig(source=tmp_path / "model", target=tmp_path / "copy", to="ggml", verify=False))
