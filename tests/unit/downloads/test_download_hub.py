"""Models from the hub, by the real client library against a server on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from finewhisper.files import sha256
from finewhisper.model import ModelFolder
from finewhisper.vocabulary import Vocabulary

if TYPE_CHECKING:
    from conftest import Hub

pytestmark = pytest.mark.real
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def download(hub: Hub, output: Path, *options: str, model: str = "someone/their-whisper") -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, because the library reads the hub's address when it is imported."""
    environment = {
        **os.environ, "HF_ENDPOINT": hub.address, "HF_HOME": str(output.parent.parent / "hf-home"), "HF_HUB_ETAG_TIMEOUT": "2",
        "HF_HUB_DOWNLOAD_TIMEOUT": "2", "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    command = [sys.executable, "-m", "finewhisper", "download", model, "-o", str(output), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def whisper_hub(hub: Hub, random_model: Path) -> Hub:
    """A repository with everything that real ones hold."""
    hub.files = {path.name: path.read_bytes() for path in random_model.iterdir() if path.name != "finewhisper.json"}
    hub.files |= {
        "README.md": b"# Whisper",
        "pytorch_model.bin": b"a pickle",
        "model.fp32-00001-of-00002.safetensors": b"once more, in float32",
        "model.safetensors.index.fp32.json": b"{}",
        "onnx/config.json": b"{}",
        "flax_model.msgpack": b"flax",
    }
    return hub


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models" / "theirs"


def test_only_what_is_needed_is_fetched_and_recorded(whisper_hub: Hub, output: Path, random_model: Path) -> None:
    done = download(whisper_hub, output)
    assert done.returncode == 0, done.stderr
    assert f"someone/their-whisper at {COMMIT}" in done.stdout
    folder = ModelFolder.open(output, "transformers")
    digest = sha256(random_model / "model.safetensors")
    assert folder.card.source == {"hub": "someone/their-whisper", "revision": COMMIT, "sha256": {"model.safetensors": digest}}
    assert {name for _, name, _ in whisper_hub.requests} == {path.name for path in random_model.iterdir()} - {"finewhisper.json"}
    assert [path.name for path in output.parent.iterdir()] == ["theirs"]
    assert not (output / ".cache").exists()

    whisper_hub.requests.clear()
    whisper_hub.refusal = (500, "Down")
    again = download(whisper_hub, output)
    assert again.returncode == 0, again.stderr
    assert "there already" in again.stdout
    assert whisper_hub.requests == []


def test_a_broken_download_goes_on_where_it_stopped(whisper_hub: Hub, output: Path) -> None:
    whisper_hub.break_after = 11_000_000
    first = download(whisper_hub, output)
    assert first.returncode == 2, first.stderr
    assert "run the same command again to go on" in first.stderr
    assert "Traceback" not in first.stderr
    assert not output.exists()

    whisper_hub.refusal = None
    second = download(whisper_hub, output)
    assert second.returncode == 0, second.stderr
    assert whisper_hub.sent("model.safetensors")[0] == 0
    assert whisper_hub.sent("model.safetensors")[-1] > 5_000_000, "only the rest was sent again"
    assert (output / "model.safetensors").read_bytes() == whisper_hub.files["model.safetensors"]
    assert [path.name for path in output.parent.iterdir()] == ["theirs"]


@pytest.mark.parametrize(
    ("refusal", "options", "message"),
    [
        ((401, "RepoNotFound"), (), "there is no such model on the hub, or it is private"),
        ((403, "GatedRepo"), (), "needs its licence accepted on the hub"),
        ((500, "Down"), (), "the hub cannot be reached"),
        (None, ("--revision", "v9"), "has no revision 'v9'"),
    ],
)
def test_refusals_in_one_sentence(
    whisper_hub: Hub, output: Path, refusal: tuple[int, str] | None, options: tuple[str, ...], message: str
) -> None:
    whisper_hub.refusal = refusal
    done = download(whisper_hub, output, *options)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(output.parent.iterdir()) == []


def test_a_hub_that_is_not_there(whisper_hub: Hub, output: Path) -> None:
    whisper_hub.server.server_close()
    done = download(whisper_hub, output)
    assert done.returncode == 2, done.stdout
    assert "the hub cannot be reached" in done.stderr
    assert "base or tiny.en, which come from the package index" in done.stderr


def test_pickles_are_refused_before_anything_is_fetched(whisper_hub: Hub, output: Path) -> None:
    del whisper_hub.files["model.safetensors"]
    done = download(whisper_hub, output)
    assert done.returncode == 2
    assert "has no safetensors weights on the hub" in done.stderr
    assert whisper_hub.requests == []


def test_another_kind_of_model_is_refused_before_its_weights_are_fetched(whisper_hub: Hub, output: Path) -> None:
    whisper_hub.files["config.json"] = json.dumps({"model_type": "wav2vec2"}).encode()
    done = download(whisper_hub, output)
    assert done.returncode == 2
    assert "is a model of type 'wav2vec2', not Whisper" in done.stderr
    assert whisper_hub.sent("model.safetensors") == []
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["generation_config.json", "preprocessor_config.json"])
def test_a_repository_that_lacks_a_file_says_which_before_its_weights_are_fetched(whisper_hub: Hub, output: Path, name: str) -> None:
    del whisper_hub.files[name]
    done = download(whisper_hub, output)
    assert done.returncode == 2
    assert f"someone/their-whisper: has no {name}" in done.stderr
    assert whisper_hub.sent("model.safetensors") == []
    assert list(output.parent.iterdir()) == []


def test_a_tokenizer_is_made_where_the_author_left_only_its_tables(whisper_hub: Hub, output: Path, random_model: Path) -> None:
    """Fine-tuning with the slow tokenizer leaves vocab.json, merges.txt and added_tokens.json, which our engines do not read."""
    del whisper_hub.files["tokenizer.json"]
    done = download(whisper_hub, output)
    assert done.returncode == 0, done.stderr
    theirs, original = Vocabulary.load(output), Vocabulary.load(random_model)
    assert theirs.tokenizer.get_vocab() == original.tokenizer.get_vocab()
    assert theirs.encode(" Здравей, world!") == original.encode(" Здравей, world!")
