"""The verb in this process: what only shows with settings that the command line does not have, and quick looks at its options."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import srt
from pydantic import ValidationError

from finewhisper import audio
from finewhisper.audio import Waveform, soundfiles
from finewhisper.cli import main
from finewhisper.errors import AudioError, DiskFullError, StorageError, UsageError
from finewhisper.transcription import reels
from finewhisper.transcription import run as module
from finewhisper.transcription.config import TranscribeConfig
from finewhisper.transcription.guards import repeats
from finewhisper.transcription.run import run

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
    talks: Path, tiny_en_ct2_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(module, "_LONG_S", 1.0)
    (talks / "noise.mp3").write_bytes(bytes(20_000))
    config = TranscribeConfig(files=(str(talks),), model=tiny_en_ct2_model, output=tmp_path, precision="int8", device="cpu")
    with pytest.raises(AudioError, match=r"1 of 3 recordings.*\n.*noise\.mp3: "):
        run(config)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.txt", "whole.txt"]
    assert "cut.mp3: is cut short: its header promises" in capsys.readouterr().err
    assert "ask not what your country" in (tmp_path / "whole.txt").read_text()


@pytest.fixture
def blips(tmp_path: Path) -> Path:
    """Three recordings of a twentieth of a second: noise."""
    noise = np.random.default_rng(0).normal(0, 0.1, 800).astype(np.float32)
    (tmp_path / "in").mkdir()
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / "in" / f"{name}.wav", noise, 16_000)
    return tmp_path / "in"


def test_whatever_one_recording_fails_with_the_others_are_done(
    blips: Path, tiny_en_ct2_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A defect of ours or of a library, which nobody can have on demand; and a result whose place is taken by a folder."""
    original = audio.read

    def faulty(path: Path, **options: Any) -> Waveform:
        if path.name == "b.wav":
            raise ZeroDivisionError("by a header")
        return original(path, **options)

    monkeypatch.setattr(audio, "read", faulty)
    monkeypatch.setattr(audio, "duration", lambda path: 1 / 0)
    (tmp_path / "out" / "c.txt").mkdir(parents=True)
    done = main(["transcribe", str(blips), "-o", str(tmp_path / "out"), "-m", str(tiny_en_ct2_model), "--precision", "int8"])
    told = capsys.readouterr().err
    assert done == 2
    assert (tmp_path / "out" / "a.txt").is_file()
    listed = told.partition("2 of 3 recordings could not be transcribed; the others are done:")[2]
    assert "c.txt: is a folder, where a file is to be written" in listed
    assert "b.wav: failed with ZeroDivisionError (by a header), a defect of finewhisper; please report the traceback above" in listed
    assert "in faulty" in told.partition("2 of 3")[0]


@pytest.mark.parametrize(("error", "written"), [(StorageError("a.txt: cannot be written"), 2), (DiskFullError("a.txt: no space"), 0)])
def test_a_result_that_cannot_be_written_stops_nothing_but_a_full_disk_stops_all(
    blips: Path, tiny_en_ct2_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: StorageError, written: int
):
    """Disks that fail or fill up in the middle of a run."""
    original = module.atomic_file

    @contextmanager
    def failing(path: Path) -> Iterator[Path]:
        if path.name == "a.txt":
            raise error
        with original(path) as temporary:
            yield temporary

    monkeypatch.setattr(module, "atomic_file", failing)
    config = TranscribeConfig(files=(str(blips),), model=tiny_en_ct2_model, output=tmp_path / "out", precision="int8", device="cpu")
    with pytest.raises(AudioError if written else DiskFullError, match=r"a\.txt: "):
        run(config)
    assert len(list(tmp_path.glob("out/*"))) == written


def test_what_was_heard_is_printed_although_another_recording_is_missing(
    talks: Path, tiny_en_ct2_model: Path, capsys: pytest.CaptureFixture[str]
):
    done = main(["transcribe", str(talks / "whole.mp3"), "absent.wav", "-o", "-", "-m", str(tiny_en_ct2_model), "--precision", "int8"])
    output = capsys.readouterr()
    assert done == 2
    assert "ask not what your country" in output.out
    assert "1 of 2 recordings could not be transcribed; the others are done:\n  absent.wav: no such file" in output.err


def test_sound_without_speech_makes_no_loops(blips: Path, tiny_en_ct2_model: Path, data: Path, tmp_path: Path):
    """Music and noise as users have them, shorter and longer than a window, and next to nothing."""
    sounds = [data / "noise_rir" / name for name in ("nonspeech/acoustic_guitar.flac", "noise/speechbrain_noise1.flac")]
    files = (*map(str, sounds), str(blips / "a.wav"))
    run(TranscribeConfig(files=files, model=tiny_en_ct2_model, output=tmp_path, format=("json",), precision="int8", device="cpu"))
    texts = [json.loads((tmp_path / f"{Path(file).stem}.json").read_text())["text"] for file in files]
    assert not [text for text in texts if repeats(text) or len(text) > 200]


def test_memory_does_not_grow_with_a_recording(
    talks: Path, tiny_en_ct2_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Ten minutes, mostly silent, in pieces of half a minute; three hours take the same way in pieces of ten minutes."""
    monkeypatch.setattr(module, "_LONG_S", 30.0)
    monkeypatch.setattr(reels, "_REEL_S", 30.0)
    monkeypatch.setattr(soundfiles, "BLOCK_S", 10.0)
    speech = audio.read(talks / "whole.mp3")[: 16_000 * 11]
    silence = np.zeros(16_000 * 289, np.float32)
    soundfile.write(tmp_path / "long.flac", np.concatenate([speech, silence, speech, silence]), 16_000)
    config = TranscribeConfig(files=(str(tmp_path / "long.flac"),), model=tiny_en_ct2_model, precision="int8", device="cpu")
    tracemalloc.start()
    try:
        text = run(config)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert text is not None
    assert text.count("ask not what your country") == 2, "it is said twice"
    assert peak < 45e6, "with the model's vocabulary; the recording alone takes 38 MB, and twice that while it is looked through"


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
