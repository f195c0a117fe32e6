"""A folder in sherpa-onnx's layout, decoded by sherpa-onnx itself from its graphs and its list of tokens alone."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from finewhisper import audio
from finewhisper.conversion import to_onnx
from finewhisper.engines import load_engine
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions

pytestmark = [pytest.mark.real, pytest.mark.skipif(find_spec("sherpa_onnx") is None, reason="sherpa-onnx is not installed")]

#: In a process of its own, because sherpa-onnx ends the process where it misses something in a graph.
SCRIPT = """
import json, sys
import numpy, sherpa_onnx
encoder, decoder, tokens, samples, language = sys.argv[1:]
recognizer = sherpa_onnx.OfflineRecognizer.from_whisper(
    encoder, decoder, tokens, language=language, tail_paddings=3000, enable_segment_timestamps=True
)
stream = recognizer.create_stream()
stream.accept_waveform(16000, numpy.fromfile(samples, dtype="float32"))
recognizer.decode_stream(stream)
print(json.dumps([stream.result.lang, list(zip(stream.result.segment_timestamps, stream.result.segment_texts))]))
"""


def heard(model: Path, samples: Path, language: str) -> tuple[str, list[tuple[float, str]]]:
    (encoder,), (decoder,) = (model.glob(f"sherpa-onnx/{part}*.onnx") for part in ("encoder", "decoder"))
    arguments = [str(path) for path in (encoder, decoder, model / "sherpa-onnx" / "tokens.txt", samples)]
    done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments, language], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found, segments = json.loads(done.stdout.splitlines()[-1])
    return found, [(start_s, text) for start_s, text in segments]


def export(source: Path, target: Path, quantization: Any) -> ModelFolder:
    target.mkdir()
    to_onnx.write(ModelFolder.open(source), target, quantization, "sherpa-onnx")
    return ModelFolder.open(target, "onnx")


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_sherpa_onnx_hears_what_we_hear(tiny_en_model: Path, data: Path, tmp_path: Path, quantization: Any) -> None:
    folder = export(tiny_en_model, tmp_path / "model", quantization)
    waveform = audio.read(data / "en_misc" / "audio" / "jfk.opus")
    waveform.tofile(tmp_path / "samples")
    language, segments = heard(folder.path, tmp_path / "samples", "en")
    assert language == ""  # an English-only model has no languages
    assert "ask what you can do for your country" in " ".join(text for _, text in segments)
    if quantization == "float32":
        (expected,) = load_engine(folder, device="cpu").transcribe([waveform], DecodeOptions())
        assert [text.strip() for _, text in segments] == [segment.text for segment in expected.segments]
        # its spectrogram is a little another one, and it fills the window with zeros
        assert [start_s for start_s, _ in segments] == pytest.approx([segment.start_s for segment in expected.segments], abs=0.5)


def test_sherpa_onnx_finds_the_language(base_model: Path, data: Path, tmp_path: Path) -> None:
    folder = export(base_model, tmp_path / "model", "int8")
    audio.read(data / "longform" / "audio" / "simplicissimus_de.mp3", 0.0, 9.0).tofile(tmp_path / "samples")
    language, segments = heard(folder.path, tmp_path / "samples", "")
    assert language == "de"
    assert "der" in " ".join(text for _, text in segments).split()
