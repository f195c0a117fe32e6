"""The verb in this process: what only shows with settings that the command line does not have, and quick looks at its options."""

from __future__ import annotations

import json
import os
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import srt
from pydantic import ValidationError

from finewhisper import audio
from finewhisper.audio import Waveform, soundfiles
from finewhisper.cli import main
from finewhisper.errors import AudioError, DiskFullError, StorageError, UsageError
from finewhisper.transcription import chunks
from finewhisper.transcription import run as module
from finewhisper.transcription.config import TranscribeConfig
from finewhisper.transcription.loops import repeats
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
    monkeypatch.setattr(chunks, "_CHUNK_S", 30.0)
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


@pytest.fixture(scope="module")
def call(talks: Path, data: Path) -> Path:
    """Two speakers: one begins on the left, the other answers on the right."""
    left, right = audio.read(talks / "whole.mp3", 0.0, 3.4), audio.read(data / "en_misc" / "audio" / "card_002.opus")
    sides = np.zeros((len(left) + len(right), 2), np.float32)
    sides[: len(left), 0], sides[len(left) :, 1] = left, right
    soundfile.write(talks.parent / "call.wav", sides, 16_000)
    return talks.parent / "call.wav"


def transcribed(model: Path, *arguments: str) -> int:
    return main(["transcribe", *arguments, "-m", str(model), "--precision", "int8", "--device", "cpu"])


def test_each_speaker_has_a_channel_and_a_name(call: Path, tiny_en_ct2_model: Path, tmp_path: Path):
    asked = [str(call), "--channels", "Anna", "李雷", "--vad", "--format", "srt", "json", "-o", str(tmp_path)]
    assert transcribed(tiny_en_ct2_model, *asked) == 0
    segments = json.loads((tmp_path / "call.json").read_text(encoding="utf-8"))["segments"]
    assert [segment["speaker"] for segment in segments] == ["Anna", "李雷"]
    assert "fellow Americans" in segments[0]["text"]
    assert "Queen" in segments[1]["text"]
    assert segments[1]["start"] == pytest.approx(3.4, abs=0.6)
    cues = list(srt.parse((tmp_path / "call.srt").read_text(encoding="utf-8")))
    assert [cue.content.partition(":")[0] for cue in cues] == ["Anna", "李雷"]


def test_more_speakers_than_channels_are_refused(call: Path, tiny_en_ct2_model: Path, capsys: pytest.CaptureFixture[str]):
    assert transcribed(tiny_en_ct2_model, str(call), "--channels", "Anna", "Ben", "Cem") == 2
    assert "call.wav: has 2 channels, but --channels names 3 speakers" in capsys.readouterr().err


def test_another_track_is_read(call: Path, tiny_en_ct2_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with av.open(str(tmp_path / "film.mka"), "w", format="matroska") as output:
        streams = [output.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        sides, _ = soundfile.read(call, dtype="int16")
        for stream, language in zip(streams, ("eng", "deu"), strict=True):
            stream.metadata["language"] = language
        for stream, side in zip(streams, sides.T, strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(side[None]), format="s16", layout="mono")
            frame.rate = 16_000
            output.mux(stream.encode(frame))
    film = str(tmp_path / "film.mka")
    assert transcribed(tiny_en_ct2_model, film) == 0
    heard = capsys.readouterr()
    assert "Americans" in heard.out
    assert "Queen" not in heard.out
    assert "film.mka: has 2 audio tracks: 0 (eng), 1 (deu); 0 is read" in heard.err
    for track in ("1", "deu"):
        assert transcribed(tiny_en_ct2_model, film, "--track", track) == 0
        heard = capsys.readouterr()
        assert "Queen" in heard.out
        assert "audio tracks" not in heard.err
    assert transcribed(tiny_en_ct2_model, film, "--track", "fra") == 2
    assert "film.mka: has no audio track 'fra'; choose of these: 0 (eng), 1 (deu)" in capsys.readouterr().err


ODD_NAMES = ["你好.wav".encode("gbk"), b"two  words .wav", b"two\nlines.wav", b"-m.wav", "🎤[1].wav".encode(), b"%s{0}'\"$x.wav"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not take such names")
def test_names_of_any_bytes_are_transcribed(
    blips: Path, tiny_en_ct2_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    content = (blips / "a.wav").read_bytes()
    (tmp_path / "odd").mkdir()
    for name in ODD_NAMES:
        (tmp_path / "odd" / os.fsdecode(name)).write_bytes(content)
    expected = {os.fsdecode(name.removesuffix(b"wav")) + "json" for name in ODD_NAMES}
    monkeypatch.chdir(tmp_path / "odd")
    assert transcribed(tiny_en_ct2_model, ".", "-o", "../folder", "--format", "json") == 0
    assert set(os.listdir("../folder")) == expected  # noqa: PTH208
    named = [name if not name.startswith("-") else f"./{name}" for name in map(os.fsdecode, ODD_NAMES)]
    assert transcribed(tiny_en_ct2_model, *named, "-o", "../named", "--format", "json") == 0
    assert set(os.listdir("../named")) == expected  # noqa: PTH208
    assert "Traceback" not in capsys.readouterr().err


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
