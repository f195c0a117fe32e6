"""Every block of docs/python.md runs as it stands, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from finewhisper import api, manifest
from finewhisper.conversion.config import ConvertConfig
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.training.config import FinetuneConfig

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

#: Makes the verbs quick without changing what the page says.
SMALL: dict[Any, dict[str, Any]] = {
    FinetuneConfig: {"max_steps": 2, "full_window_share": 0, "precision": "float32"},
    ConvertConfig: {"limit": 4},
    EvaluateConfig: {"limit": 2},
}

pytestmark = pytest.mark.real


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, base_model: Path, base_ct2_model: Path, captions: Path) -> Path:
    """A folder as the page supposes it, with a base that was fetched before, and training that ends after two steps."""
    utterances = [utterance for utterance in manifest.read(captions / "train.jsonl") if utterance.length_s() < 2][:40]
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    rows = ["file_name,transcription"]
    for utterance in utterances:
        soundfile.write(recordings / f"{utterance.id}.flac", utterance.waveform(), 16_000)
        rows.append(f'{utterance.id}.flac,"{utterance.sentence}"')
    (recordings / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    interview = np.concatenate([utterance.waveform() for utterance in utterances[:4]])
    for ending in ("mp3", "wav"):
        soundfile.write(tmp_path / f"interview.{ending}", interview, 16_000)
    for name, target in (("models/whisper-base", base_model), ("kept/models/base-ctranslate2", base_ct2_model)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).symlink_to(target)
    monkeypatch.setenv("FINEWHISPER_CACHE", str(tmp_path / "kept"))
    build = api.build

    def small(kind: Any, values: Any, **rest: Any) -> Any:
        return build(kind, {**values, **SMALL.get(kind, {})}, **rest)

    monkeypatch.setattr(api, "build", small)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_block_runs(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "docs"}
    printed = {}
    for block in BLOCKS:
        exec(compile(block, "docs/python.md", "exec", dont_inherit=True), names)
        printed[block.splitlines()[0]] = capsys.readouterr().out
    assert "00:00:00" in (workplace / "interview.srt").read_text(encoding="utf-8")
    assert "float32 (16000,)" in printed["import numpy as np"]
    assert len(names["losses"].found) >= 1
    assert printed['score = fw.wer(["Добро утро", "Лека нощ"], ["добро утро", "лека вечер"], language="bg")'].startswith("25.0 ")
    assert "normalize:without_hesitations" in printed["def without_hesitations(text: str) -> str:"]
    assert printed["import csv"] == "40\n"
    assert any(type(event).__name__ == "Final" for event in [*names["stream"].finish(), names["event"]]) or printed["import soundfile"]

    from fastapi.testclient import TestClient

    with (workplace / "interview.mp3").open("rb") as file, TestClient(names["app"]) as client:
        answer = client.post("/transcribe?language=bg", files={"file": file}).json()
    assert answer["duration"] == pytest.approx(names["transcript"].duration_s, abs=5)
    assert answer["text"]


def test_every_public_name_is_on_the_page_or_in_what_it_returns() -> None:
    shown = set(re.findall(r"\bfw\.(\w+)", PAGE))
    assert {"load", "read_audio", "wer", "cer", "prepare", "finetune", "merge", "evaluate", "convert"} <= shown
