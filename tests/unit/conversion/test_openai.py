"""OpenAI's checkpoints: the same weights, and never anything that runs."""

from __future__ import annotations

import base64
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finewhisper import tokenizer
from finewhisper.conversion import openai
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.openai import Checkpoint, Dimensions
from finewhisper.conversion.run import Converted, run
from finewhisper.engines import load_engine
from finewhisper.errors import ModelError, UnsupportedError
from finewhisper.model import ModelFolder
from finewhisper.tensors import Tensors
from finewhisper.vocabulary import Vocabulary

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.real


def content(folder: Path) -> dict[str, Any]:
    """What OpenAI's training would have saved of a model."""
    source = ModelFolder.open(folder)
    dimensions, tensors = Dimensions.of_config(folder, source.config), Tensors(source)
    state = {tensor.original: torch.from_numpy(tensors[tensor.name]) for tensor in openai.layout(dimensions)}
    return {"dims": asdict(dimensions), "model_state_dict": state}


def convert(source: Path, target: Path, **options: Any) -> Converted:
    return run(ConvertConfig(source=source, target=target, to="transformers", **options))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_becomes_the_model_it_was(random_model: Path, tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "tiny.pt"
    torch.save(content(random_model), path, _use_new_zipfile_serialization=zipped)
    (tmp_path / "tokenizer.json").write_bytes((random_model / "tokenizer.json").read_bytes())
    result = convert(path, tmp_path / "back")
    assert result.agreement is not None
    assert result.agreement.weight_error == 0
    assert "the weights alone" in str(result)
    before, after = Tensors(ModelFolder.open(random_model)), Tensors(ModelFolder.open(tmp_path / "back"))
    assert set(before) == set(after)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    verification = ModelFolder.open(tmp_path / "back").card.verification
    assert verification is not None
    assert verification["source"]["kind"] == "openai"
    assert (verification["source"]["stored"], verification["source"]["lossy"]) == ("float32", False)


@pytest.mark.parametrize("name", ["v2", "en", "v3"])
def test_tokens_come_from_openai_s_own_lists(vocabularies: dict[str, Vocabulary], tmp_path: Path, name: str) -> None:
    """The lists end before the multilingual model's last, empty token."""
    real = vocabularies[name]
    tokens = [token for token in tokenizer.text_bytes(real.tokenizer) if token]
    lines = [base64.b64encode(token) + f" {rank}\n".encode() for rank, token in enumerate(tokens)]
    (tmp_path / ("gpt2.tiktoken" if name == "en" else "multilingual.tiktoken")).write_bytes(b"".join(lines))
    rebuilt = Vocabulary(tokenizer.official_tokenizer(tmp_path, real.size))
    assert rebuilt.languages == real.languages
    assert rebuilt.encode(" Здравей, how are you? 你好") == real.encode(" Здравей, how are you? 你好")
    assert rebuilt.prompt("en", timestamps=False) == real.prompt("en", timestamps=False)
    assert (rebuilt.no_speech, rebuilt.first_timestamp, rebuilt.previous_text) == (real.no_speech, real.first_timestamp, real.previous_text)


def test_without_tokens_the_next_step_is_named(random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "find_spec", lambda _: None)  # openai-whisper may be installed
    torch.save(content(random_model), tmp_path / "tiny.pt")
    with pytest.raises(ModelError, match=r"holds no tokens; put the tokenizer\.json of any Whisper of 51865 tokens"):
        convert(tmp_path / "tiny.pt", tmp_path / "back", verify=False)
    assert not (tmp_path / "back").exists()


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("kind", ["zip", "torch before 1.6", "plain pickle"])
def test_code_in_a_checkpoint_is_refused_and_never_run(random_model: Path, tmp_path: Path, kind: str) -> None:
    path, sprung = tmp_path / "evil.pt", tmp_path / "sprung"
    evil = content(random_model) | {"optimizer": Trap(sprung)}
    if kind == "plain pickle":
        path.write_bytes(pickle.dumps({"dims": {}, "model_state_dict": {}, "optimizer": Trap(sprung)}))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(ModelError, match=r"evil\.pt: (holds more than tensors and numbers|cannot be read)"):
        convert(path, tmp_path / "back", verify=False)
    assert not sprung.exists()
    assert not (tmp_path / "back").exists()


def test_other_files_of_torch_are_not_taken_for_whisper(random_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ModelError, match=r"other\.pt: is not a checkpoint of OpenAI's whisper"):
        Checkpoint(path)
    whole = content(random_model)
    whole["dims"]["n_vocab"] = 51867
    torch.save(whole, path)
    with pytest.raises(ModelError, match="51867 tokens"):
        Checkpoint(path)
    whole["dims"]["n_vocab"] = 51865
    del whole["model_state_dict"]["decoder.ln.bias"]
    torch.save(whole, path)
    with pytest.raises(ModelError, match=r"has no decoder\.ln\.bias"):
        Checkpoint(path)["decoder.ln.bias"]
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match=r"other\.pt"):
        convert(path, tmp_path / "back", verify=False)


def test_a_checkpoint_is_converted_not_run(random_model: Path, tmp_path: Path) -> None:
    torch.save(content(random_model), tmp_path / "tiny.pt")
    with pytest.raises(UnsupportedError, match=r"finewhisper convert .*tiny\.pt .*tiny --to transformers"):
        load_engine(ModelFolder.open(tmp_path / "tiny.pt"))
