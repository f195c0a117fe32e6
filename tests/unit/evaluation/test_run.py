"""The verb itself, with a small model of random weights: what is written, what is refused, and what is left behind."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from finewhisper import cli, manifest
from finewhisper.errors import ManifestError, ModelError, StorageError, UsageError
from finewhisper.evaluation import clips
from finewhisper.evaluation import run as module
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.run import run
from finewhisper.files import sha256
from finewhisper.manifest import Utterance
from finewhisper.model import ModelCard, ModelFolder
from finewhisper.outputs import RECORD

FIELD = Path(__file__).parents[2] / "field" / "audio"


def config(model: Path, folder: Path, **options: object) -> EvaluateConfig:
    given = {"model": model, "manifest": folder / "train.jsonl", "output": folder / "out", "device": "cpu", "threads": 1}
    return EvaluateConfig.model_validate(given | options)


def test_what_is_wrong_with_the_sound_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = [Utterance(FIELD / name, "Some words.", line=line) for line, name in enumerate(("pad0.mp3", "corrupt_mid.mp3"), 1)]
    measured = clips.measure(damaged, tmp_path / "m.jsonl")
    usable, problems = measured.utterances, measured.problems
    assert (len(usable), problems) == (2, ())
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clips with")]
    assert told == [f"clips with damaged packets: 2; the first is {FIELD / 'pad0.mp3'}: 1 damaged packet is skipped, at 9.66 s"]


@pytest.mark.parametrize(("kept_s", "times"), [(3600.0, 1), (0.0, 2)])
def test_each_clip_is_decoded_once_unless_the_set_is_large(
    kept_s: float, times: int, random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "_KEPT_S", kept_s)
    read = Counter[str]()
    waveform = Utterance.waveform
    monkeypatch.setattr(Utterance, "waveform", lambda own, *more: read.update([own.id]) or waveform(own, *more))
    run(config(random_model, speech_folder, players=0))
    assert set(read.values()) == {times}


def spoil(folder: Path, *names: str) -> None:
    for name in names:
        (folder / "audio" / name).write_bytes(b"not audio")


def test_outputs(random_model: Path, speech_folder: Path) -> None:
    evaluation = run(config(random_model, speech_folder, title="Noise"))
    output = speech_folder / "out"
    assert sorted(path.name for path in output.iterdir()) == [RECORD, "report.html", "result.json", "utterances.csv"]
    result = json.loads((output / "result.json").read_text(encoding="utf-8"))
    assert result == json.loads(json.dumps(evaluation.json()))
    assert result["manifest"]["sha256"] == sha256(speech_folder / "train.jsonl")
    assert (result["title"], result["utterances"], result["audio_s"]) == ("Noise", 8, 12.0)
    assert result["wer"]["reference_units"] == 32
    assert result["seconds"] > 0
    with (output / "utterances.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["line"] for row in rows] == [str(line) for line in range(1, 9)], "in the manifest's order"
    assert sum(int(row["word_errors"]) for row in rows) == result["wer"]["errors"]
    assert [float(row["duration_s"]) for row in rows] == pytest.approx([0.5 + 2.0 * index / 7 for index in range(8)], abs=1e-3)


@pytest.mark.parametrize(("full_windows", "context"), [(False, "from-20s"), (True, "30s")])
def test_the_signature_says_in_which_windows_it_was_heard(
    random_model: Path, speech_folder: Path, full_windows: bool, context: str
) -> None:
    evaluation = run(config(random_model, speech_folder, full_windows=full_windows, limit=1))
    assert f",context:{context}," in evaluation.signature("WER")


def test_a_second_run_gives_the_same(random_model: Path, speech_folder: Path) -> None:
    first = run(config(random_model, speech_folder))
    second = run(config(random_model, speech_folder, overwrite=True, batch_size=3))
    assert [row.hypothesis for row in first.rows] == [row.hypothesis for row in second.rows]
    assert first.scores == second.scores


def test_durations_are_found(random_model: Path, speech_folder: Path) -> None:
    path = speech_folder / "short.jsonl"
    path.write_text('{"audio": "audio/clip7.wav", "sentence": "a"}\n', encoding="utf-8")
    assert run(config(random_model, speech_folder, manifest=path)).rows[0].duration_s == pytest.approx(2.5)


def test_limit(random_model: Path, speech_folder: Path) -> None:
    evaluation = run(config(random_model, speech_folder, limit=2))
    assert [row.line for row in evaluation.rows] == [1, 2]
    assert evaluation.signature("WER").endswith("|first:2")


def test_bad_clips_stop_it_before_the_model_is_loaded(random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(speech_folder, "clip1.wav", "clip5.wav")
    (speech_folder / "audio" / "clip6.wav").unlink()
    monkeypatch.setattr(module, "load_for", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(ManifestError, match=r"3 of 8 clips cannot be used; correct these lines, or .* --skip-bad") as caught:
        run(config(random_model, speech_folder))
    assert [problem.split(": ")[0] for problem in caught.value.problems] == [
        f"{speech_folder / 'train.jsonl'}:{line}" for line in (2, 6, 7)
    ]
    assert not (speech_folder / "out").exists()


def test_every_bad_clip_is_listed(random_model: Path, speech_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = speech_folder / "many.jsonl"
    path.write_text("".join(f'{{"audio": "gone{index}.wav", "sentence": "a"}}\n' for index in range(30)), encoding="utf-8")
    assert cli.main(["evaluate", str(random_model), "--manifest", str(path), "-o", str(speech_folder / "out")]) == 2
    assert capsys.readouterr().err.count("no such file") == 30


def test_bad_clips_are_left_out_and_counted(random_model: Path, speech_folder: Path) -> None:
    spoil(speech_folder, "clip1.wav")
    evaluation = run(config(random_model, speech_folder, skip_bad=True))
    assert [row.line for row in evaluation.rows] == [1, 3, 4, 5, 6, 7, 8]
    result = json.loads((speech_folder / "out" / "result.json").read_text(encoding="utf-8"))
    assert len(result["skipped"]) == 1
    assert result["skipped"][0].startswith(f"{speech_folder / 'train.jsonl'}:2: ")
    assert "1 clips left out" in str(evaluation)
    assert evaluation.signature("WER").endswith("|skipped:1")


def test_nothing_but_bad_clips(random_model: Path, speech_folder: Path) -> None:
    spoil(speech_folder, *(f"clip{index}.wav" for index in range(8)))
    with pytest.raises(ManifestError, match="8 of 8 clips cannot be used; none is left"):
        run(config(random_model, speech_folder, skip_bad=True))


def test_baseline(random_model: Path, speech_folder: Path) -> None:
    run(config(random_model, speech_folder, output=speech_folder / "base"))
    evaluation = run(config(random_model, speech_folder, baseline=speech_folder / "base"))
    score = evaluation.scores["WER"]
    assert score.before is not None
    assert score.before.rate == score.rate
    assert score.relative == 0.0
    assert score.difference is not None
    assert (score.difference.low, score.difference.high) == (0.0, 0.0)


def test_a_baseline_of_another_manifest(random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(config(random_model, speech_folder, output=speech_folder / "base", manifest=speech_folder / "dev.jsonl"))
    monkeypatch.setattr(module, "load_for", lambda *_, **__: pytest.fail("the model was loaded"))
    with pytest.raises(UsageError, match="was made on another manifest"):
        run(config(random_model, speech_folder, baseline=speech_folder / "base"))


def test_training_curves_are_drawn(random_model: Path, speech_folder: Path, tmp_path: Path) -> None:
    log = random_model / "training.json"
    log.write_text('[{"step": 1, "loss": 2}, {"step": 2, "loss": 1, "eval_wer": 50}]', encoding="utf-8")
    try:
        run(config(random_model, speech_folder))
    finally:
        log.unlink()
    page = (speech_folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "Training loss" in page
    assert "Error rate on the dev set while training" in page


def test_an_existing_output_is_kept(random_model: Path, speech_folder: Path) -> None:
    (speech_folder / "out").mkdir()
    (speech_folder / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(StorageError, match="exists already"):
        run(config(random_model, speech_folder))
    assert (speech_folder / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"


def test_ctrl_c_leaves_nothing(random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module.report, "render", interrupt)
    before = sorted(speech_folder.iterdir())
    with pytest.raises(KeyboardInterrupt):
        run(config(random_model, speech_folder))
    assert sorted(speech_folder.iterdir()) == before


@pytest.mark.parametrize(("content", "message"), [("", "holds no utterances"), ('{"audio": "a.wav"}\n', "'sentence' is missing")])
def test_unusable_manifest(random_model: Path, speech_folder: Path, content: str, message: str) -> None:
    (speech_folder / "train.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(ManifestError, match=message):
        run(config(random_model, speech_folder))


def test_not_a_model(speech_folder: Path) -> None:
    with pytest.raises(ModelError, match="there is no such model"):
        run(config(speech_folder / "gone", speech_folder))


def test_a_clip_longer_than_a_window(random_model: Path, speech_folder: Path) -> None:
    """Whisper hears 30 s at once; evaluation cuts longer clips as transcription does."""
    import numpy as np
    import soundfile

    path = speech_folder / "audio" / "long.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(35 * 16_000) / 20).astype("float32"), 16_000)
    manifest.write(speech_folder / "long.jsonl", [manifest.Utterance(path, "tone", "en")])
    evaluation = run(config(random_model, speech_folder, manifest=speech_folder / "long.jsonl"))
    assert evaluation.rows[0].duration_s == pytest.approx(35.0)


@pytest.mark.parametrize("learnt", [True, False])
def test_a_test_set_that_was_learnt_and_clips_that_are_there_twice_are_told(
    learnt: bool, speech_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = speech_folder / "train.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, lines[0]]) + "\n", encoding="utf-8")
    digest = sha256(path)
    ModelCard(training={"manifest_sha256": digest if learnt else "0" * 64}).write(speech_folder)
    clips.look(path, manifest.read(path), digest, [ModelFolder(speech_folder, "transformers")])
    said = capsys.readouterr().err
    assert f"{path}:9: duplicate: the same clip and text as {path}:1" in said
    assert (f"{path}: {speech_folder} was trained on this very manifest; take other speech" in said) == learnt
