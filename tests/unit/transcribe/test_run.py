"""The verb in this process: what only shows with settings that the command line does not have, and quick looks at its options."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import srt
from pydantic import ValidationError

from finewhisper import audio
from finewhisper.errors import AudioError, UsageError
from finewhisper.transcribe import run as module
from finewhisper.transcribe.config import TranscribeConfig
from finewhisper.transcribe.run import run

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def talks(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talks")
    speech = audio.read(data / "en_misc" / "audio" / "jfk.opus")
    soundfile.write(folder / "whole.mp3", speech, 16_000)
    content = (folder / "whole.mp3").read_bytes()
    (folder / "cut.mp3").write_bytes(content[: len(content) // 2])
    return folder


def test_long_recordings_are_read_in_pieces_and_a_fault_in_one_stops_no_other(
    talks: Path, tiny_en_ct2_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_LONG_S", 1.0)
    config = TranscribeConfig(files=(str(talks),), model=tiny_en_ct2_model, output=tmp_path, precision="int8", device="cpu")
    with pytest.raises(AudioError, match=r"1 of 2 recordings.*\n.*cut\.mp3: is cut short"):
        run(config)
    assert [path.name for path in tmp_path.iterdir()] == ["whole.txt"]
    assert "ask not what your country" in (tmp_path / "whole.txt").read_text()


def test_words_lines_and_punctuation_as_asked_for(talks: Path, tiny_en_ct2_model: Path, tmp_path: Path):
    config = TranscribeConfig(
        files=(str(talks / "whole.mp3"),),
        model=tiny_en_ct2_model,
        output=tmp_path,
        format=("json", "srt", "ass", "lrc"),
        precision="int8",
        device="cpu",
        word_timestamps=True,
        max_line_width=20,
        max_line_count=1,
        remove_pun=True,
        hotwords=("Kennedy",),
    )
    run(config)
    content = json.loads((tmp_path / "whole.json").read_text())
    words = [word for segment in content["segments"] for word in segment["words"]]
    assert [word["text"] for word in words] == content["text"].split()
    assert not set(content["text"]) & set(",.")
    cues = list(srt.parse((tmp_path / "whole.srt").read_text()))
    assert len(cues) > len(content["segments"])
    assert all(len(cue.content) <= 20 for cue in cues)
    starts = {word["start"] for word in words} | {segment["start"] for segment in content["segments"]}
    assert {round(cue.start.total_seconds(), 3) for cue in cues} <= starts
    assert (tmp_path / "whole.ass").read_text().count("Dialogue:") == len(cues)
    assert (tmp_path / "whole.lrc").read_text().startswith("[00:0")


def test_a_language_that_the_model_lacks_is_refused_before_anything_is_read(talks: Path, tiny_en_ct2_model: Path, tmp_path: Path):
    config = TranscribeConfig(files=(str(talks),), model=tiny_en_ct2_model, output=tmp_path, device="cpu", language_of=("*.ogg=de",))
    with pytest.raises(UsageError, match="English-only"):
        run(config)
    assert not list(tmp_path.iterdir())


def configured(**options: object) -> TranscribeConfig:
    return TranscribeConfig.model_validate({"files": ("a.mp3",), "model": "m", **options})


def test_the_first_pattern_that_fits_gives_the_language():
    config = configured(language="bg", language_of=("*_de.mp3=German", "talks/zh/*=zh", "talks/*=en"))
    expected = {"x_de.mp3": "de", "talks/zh/a.mp3": "zh", "talks/zh/a_de.mp3": "de", "talks/b.mp3": "en", "c.mp3": "bg"}
    assert {path: config.spoken_in(Path(path)) for path in expected} == expected
    assert config.spoken_in(None) == "bg"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"language_of": ("de",)}, "PATTERN=LANGUAGE"),
        ({"language_of": ("*.mp3=klingon",)}, "klingon"),
        ({"max_line_count": 2}, "--max-line-width"),
        ({"sequential": True, "vad": True}, "--sequential"),
        ({"sequential": True, "timestamps": False}, "--sequential"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], message: str):
    with pytest.raises(ValidationError, match=message):
        configured(**options)
