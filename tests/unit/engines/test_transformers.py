"""What the transformers engine has of its own: devices, and drafts that change nothing. The rest is in the contract suite."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from finewhisper import audio, whisper
from finewhisper.audio import Waveform
from finewhisper.cli import main
from finewhisper.engines import drafts, load_engine
from finewhisper.engines.transformers import TransformersEngine
from finewhisper.errors import UnsupportedError, UsageError
from finewhisper.model import Context, ModelFolder
from finewhisper.transcript import DecodeOptions

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def clips(data: Path) -> list[Waveform]:
    """The beginnings of two sentences, of one length, so that they are one batch."""
    return [audio.read(data / "en_misc" / "audio" / f"{name}.opus", 0.0, 3.5) for name in ("jfk", "LJ001-0001")]


@pytest.fixture(scope="module")
def cut_model(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model with two of its six decoder layers: often wrong, and with the same encoder."""
    folder = tmp_path_factory.mktemp("cut")
    model = whisper.load(ModelFolder.open(base_model))
    model.model.decoder.layers = torch.nn.ModuleList([model.model.decoder.layers[layer] for layer in (0, 5)])
    model.config.decoder_layers = 2
    whisper.save(model, base_model, folder)
    return folder


def load(folder: Path, assistant: Path | None = None) -> TransformersEngine:
    engine = load_engine(ModelFolder.open(folder), device="cpu", assistant=assistant)
    assert isinstance(engine, TransformersEngine)
    engine.context = Context(trimmed=True)  # quick, and each assistant must get the same short context
    return engine


@pytest.fixture(scope="module")
def expected(base_model: Path, clips: list[Waveform]) -> dict[bool, list[str]]:
    """What greedy decoding writes, with times and without."""
    engine = load(base_model)
    return {timestamps: told(engine, clips, timestamps=timestamps) for timestamps in (True, False)}


def told(engine: TransformersEngine, clips: list[Waveform], *, timestamps: bool) -> list[str]:
    """Text and times."""
    transcripts = engine.transcribe(clips, DecodeOptions(language="en", timestamps=timestamps))
    return [f"{segment.start_s} {segment.end_s} {segment.text}" for transcript in transcripts for segment in transcript.segments]


@pytest.mark.parametrize(
    ("assistant", "timestamps", "most_passes"),
    [("base_model", False, 8), ("cut_model", True, 40), ("random_model", True, 40)],
    ids=["right", "poor", "nonsense"],
)
def test_the_text_is_that_of_greedy_decoding_whatever_the_assistant(
    request: pytest.FixtureRequest,
    base_model: Path,
    clips: list[Waveform],
    expected: dict[bool, list[str]],
    assistant: str,
    timestamps: bool,
    most_passes: int,
    monkeypatch: pytest.MonkeyPatch,
):
    """Two sentences have some forty tokens and times."""
    engine = load(base_model, request.getfixturevalue(assistant))
    passes = []
    logits = drafts.Reader.logits

    def counted(reader: drafts.Reader, tokens: torch.Tensor, count: int) -> torch.Tensor:
        if reader._model is engine.model:
            passes.append(count)
        return logits(reader, tokens, count)

    monkeypatch.setattr(drafts.Reader, "logits", counted)
    assert told(engine, clips, timestamps=timestamps) == expected[timestamps]
    assert 0 < len(passes) <= most_passes


@pytest.mark.parametrize("device", ["mps", "meta", "xpu", "hpu", "tpu"])
def test_a_device_that_is_not_there_is_refused(random_model: Path, device: str):
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has it")
    with pytest.raises(UnsupportedError, match=f"--device {device}: .* use .*cpu"):
        load_engine(ModelFolder.open(random_model), device=device)


def test_a_number_without_a_device_is_refused(random_model: Path, monkeypatch: pytest.MonkeyPatch):
    """As on a machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UnsupportedError, match=r"--device cuda:9: .* only cuda:0, cuda:1; .* --device cpu"):
        load_engine(ModelFolder.open(random_model), device="cuda:9")


def test_an_encoder_that_both_have_is_kept_and_run_once(base_model: Path, cut_model: Path, random_model: Path):
    for assistant, same in ((cut_model, True), (random_model, False)):
        engine = load(base_model, assistant)
        assert engine._assistant is not None
        assert (engine._assistant.model.encoder is engine.model.model.encoder) is same


def test_what_is_drawn_by_chance_is_not_drafted(random_model: Path, clips: list[Waveform]):
    options = DecodeOptions(language="en", temperature=1.0, seed=3, max_tokens_per_second=1.0)
    plain, helped = (load(random_model, assistant).transcribe(clips[1:], options) for assistant in (None, random_model))
    assert helped == plain


def test_beams_are_not_drafted(random_model: Path, clips: list[Waveform]):
    with pytest.raises(UnsupportedError, match=r"--assistant: .* --beam-size 1"):
        load(random_model, random_model).transcribe(clips[1:], DecodeOptions(language="en", beam_size=2))


def test_other_engines_refuse_an_assistant(tiny_en_ct2_model: Path, tiny_en_model: Path):
    with pytest.raises(UnsupportedError, match=r"--assistant .*tiny.en: .* ctranslate2 folder"):
        load_engine(ModelFolder.open(tiny_en_ct2_model), assistant=tiny_en_model)


def test_an_assistant_that_hears_other_features_is_refused(random_model: Path, tmp_path: Path):
    other = shutil.copytree(random_model, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"num_mel_bins": 128}))
    with pytest.raises(UsageError, match=f"--assistant {other}: .* 128 mel bins, the model 80"):
        load(random_model, other)


@pytest.mark.parametrize("verb", ["transcribe", "evaluate"])
def test_an_assistant_with_another_vocabulary_is_refused(
    verb: str, random_model: Path, tiny_en_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]
):
    manifest, clip = speech_folder / "dev.jsonl", speech_folder / "audio" / "clip0.wav"
    own = {
        "transcribe": [str(clip), "-m", str(random_model)],
        "evaluate": [str(random_model), "--manifest", str(manifest), "-o", str(speech_folder / "scores")],
    }
    assert main([verb, *own[verb], "--device", "cpu", "--assistant", str(tiny_en_model)]) == 2
    assert f"--assistant {tiny_en_model}: has another vocabulary (English-only (.en), 51864 tokens)" in capsys.readouterr().err
