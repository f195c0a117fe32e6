"""The benchmarks run, and say so where there is nothing to compare."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from finewhisper.model import Context, ModelCard

SCRIPTS = Path(__file__).parent.parent.parent / "benchmarks"


def benchmark(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def decode_speed(model: Path, manifest: Path) -> subprocess.CompletedProcess[str]:
    return benchmark("decode_speed.py", "--model", model, "--manifest", manifest, "--limit", "2", "--threads", "1")


def test_decode_speed_compares_two_contexts_of_one_model(random_model, speech_folder, tmp_path):
    model = shutil.copytree(random_model, tmp_path / "model")
    ModelCard(context=Context(trimmed=True)).write(model)
    done = decode_speed(model, speech_folder / "train.jsonl")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^(trimmed|30 s) +\d+\.\d ", done.stdout, re.MULTILINE) == ["trimmed", "30 s"]
    assert re.search(r"30 s windows take \d+\.\d times as long", done.stdout)


def test_decode_speed_refuses_a_model_that_never_learnt_short_contexts(random_model, speech_folder):
    done = decode_speed(random_model, speech_folder / "train.jsonl")
    assert done.returncode == 2
    assert "has not learnt short contexts" in done.stderr


@pytest.mark.slow
def test_train_gpu_runs_on_a_cpu_and_trimmed_windows_win(tmp_path):
    figures, page = tmp_path / "train.json", tmp_path / "train.md"
    options = ("--device", "cpu", "--shape", "tiny", "--steps", "2", "--warmup", "1", "--methods", "lora", "--seed", "1")
    done = benchmark("train_gpu.py", *options, "--json", figures, "--out", page)
    assert done.returncode == 0, done.stderr
    result = json.loads(figures.read_text())
    assert {"device", "commit", "torch", "precision", "matmul_flops_per_s", "copy_bytes_per_s"} <= set(result["machine"])
    assert [(row["recipe"], row["checkpointing"]) for row in result["rows"]] == [
        (r, c) for c in (False, True) for r in ("trimmed", "padded")
    ]
    for row in result["rows"]:
        assert row["problem"] is None
        assert row["audio_hours_per_hour"] == pytest.approx(1000 * row["audio_s_per_step"] / row["ms_per_step"])
        assert 0 < row["share_of_ceiling"] < 1.2
        assert row["peak_gb"] > 0.1
    assert all(row["times_padded"] > 1.0 for row in result["rows"] if row["recipe"] == "trimmed")
    table = [line for line in done.stdout.splitlines() if line.startswith("| tiny |")]
    assert len(table) == 4
    assert all(line in page.read_text() for line in table)


@pytest.mark.slow
def test_transcribe_gpu_runs_on_a_cpu_and_trimmed_windows_win(tmp_path):
    figures, page = tmp_path / "transcribe.json", tmp_path / "transcribe.md"
    options = ("--device", "cpu", "--shape", "tiny", "--batches", "2", "--repeats", "2")
    done = benchmark("transcribe_gpu.py", *options, "--json", figures, "--out", page)
    assert done.returncode == 0, done.stderr
    rows = {(row["engine"], row["context"]): row for row in json.loads(figures.read_text())["rows"]}
    assert set(rows) == {(engine, context) for engine in ("transformers", "ctranslate2") for context in ("trimmed", "padded")}
    for row in rows.values():
        assert row["problem"] is None
        assert row["times_real_time"] == pytest.approx(2 * 4.5 / row["seconds"])
        assert row["features_s"] > 0
        assert row["floor_s"] > 0
    assert all(rows[engine, "padded"]["floor_s"] > rows[engine, "trimmed"]["floor_s"] for engine in ("transformers", "ctranslate2"))
    assert rows["ctranslate2", "padded"]["seconds"] > rows["ctranslate2", "trimmed"]["seconds"]
    assert "| tiny | ctranslate2 float32 | padded | 2 |" in page.read_text()


@pytest.mark.slow
def test_train_speed_trains_both_sides_and_tells_their_errors(random_model, speech_folder, tmp_path):
    shutil.copyfile(speech_folder / "dev.jsonl", speech_folder / "test.jsonl")
    figures = tmp_path / "figures.json"
    options = ("--base", random_model, "--captions", speech_folder, "--work", tmp_path / "work", "--only", "captions", "--rank", "4")
    sizes = ("--steps", "3", "--timed-steps", "1", "--timing-rounds", "1", "--batch-size", "2", "--threads", "1")
    done = benchmark("train_speed.py", *options, *sizes, "--json", figures)
    assert done.returncode == 0, done.stderr
    row = json.loads(figures.read_text())["captions"]
    assert row["speedup"] > 1
    assert row["mean_seconds"] == pytest.approx(1.5)
    assert row["test_utterances"] == 3
    assert row["recipe_error_interval"][0] <= row["recipe_error_padded"] <= row["recipe_error_interval"][1]
    assert row["ours_error_padded"] > 0
    assert row["ours_error_trimmed"] > 0
    assert 0.1 < row["peak_memory_ratio"] < 1.5
    again = benchmark("train_speed.py", *options, *sizes)
    assert "training" not in again.stderr, "what is done is not done again"
    other = benchmark("train_speed.py", *options, *sizes, "--learning-rate", "1e-3")
    assert other.returncode == 2
    assert "other settings" in other.stderr


@pytest.mark.slow
def test_forgetting_measures_the_base_and_every_scale(random_model, speech_folder):
    from finewhisper.training.config import FinetuneConfig
    from finewhisper.training.run import run

    tuned, dev = speech_folder / "tuned", speech_folder / "dev.jsonl"
    run(FinetuneConfig(model=random_model, train=speech_folder / "train.jsonl", output=tuned, epochs=1, tracker="none", device="cpu"))
    arguments = ["--base", random_model, "--tuned", tuned, "--manifest", f"tones={dev}", "--limit", "2", "--threads", "1"]
    done = benchmark(
        "forgetting.py", *arguments, "--quantization", "float32", "--scales", "0.5", "--padded", "0.5", "-o", speech_folder / "out"
    )
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^\| (.+?) \| [\d.]+ \(", done.stdout, re.MULTILINE) == ["base", "0.5", "0.5, 30 s windows"]
    assert {path.name for path in (speech_folder / "out").glob("forgetting.*")} == {"forgetting.md", "forgetting.json", "forgetting.png"}


@pytest.mark.slow
def test_transcribe_speed_puts_every_tool_beside_ours(random_model, speech_folder, tmp_path):
    shutil.copyfile(speech_folder / "dev.jsonl", speech_folder / "test.jsonl")
    model, figures = shutil.copytree(random_model, tmp_path / "model"), tmp_path / "figures.json"
    ModelCard(context=Context(trimmed=True, margin_s=0.5)).write(model)
    options = ("--captions-model", model, "--captions", speech_folder, "--work", tmp_path / "work", "--only", "captions", "--threads", "1")
    sides = ("--sides", "ours", "transformers", "whispercpp", "--rounds", "1", "--no-cold-start", "--limit", "2")
    done = benchmark("transcribe_speed.py", *options, *sides, "--json", figures)
    assert done.returncode == 0, done.stderr
    row = json.loads(figures.read_text())["captions"]
    assert set(row["sides"]) | set(row["skipped"]) == {"ours", "transformers", "whispercpp"}
    assert (row["clips"], row["trimmed"], row["score"]) == (2, True, "WER")
    assert row["speedup_vs_transformers"] == pytest.approx(row["sides"]["transformers"]["seconds"] / row["sides"]["ours"]["seconds"])
    assert row["speedup_vs_faster_whisper"] is None, "that side was not asked for"
    assert row["error"] > 0
    low, high = row["sides"]["transformers"]["more_than_ours"]
    assert low <= row["sides"]["transformers"]["error"] - row["error"] <= high, "the interval is of the difference on the same clips"
    assert row["sides"]["ours"]["more_than_ours"] is None
    assert re.findall(r"^\| captions \| 2 of .* \| (\w+) \|", done.stdout, re.MULTILINE)[:2] == ["ours", "transformers"]
    assert (tmp_path / "work" / "copies").is_dir()


@pytest.mark.slow
def test_transcribe_speed_takes_sets_of_ones_own(random_model, speech_folder, tmp_path):
    options = ("--work", tmp_path / "work", "--only", "mine", "--threads", "1", "--sides", "ours", "--rounds", "1", "--no-cold-start")
    done = benchmark("transcribe_speed.py", "--set", f"mine={random_model}:{speech_folder / 'dev.jsonl'}", *options)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^\| (\w+) \| 3 of .* \| (\w+) \|", done.stdout, re.MULTILINE) == [("mine", "ours")]
    wrong = benchmark("transcribe_speed.py", "--set", "long=model:test.jsonl")
    assert "'long=model:test.jsonl' is not of the form NAME=MODEL:MANIFEST, with a name of its own" in wrong.stderr
    assert "--only none: is none of captions" in benchmark("transcribe_speed.py", "--only", "none").stderr


def test_transcribe_speed_names_the_model_that_is_missing(speech_folder, tmp_path):
    done = benchmark("transcribe_speed.py", "--captions-model", tmp_path / "none", "--captions", speech_folder, "--only", "captions")
    assert done.returncode == 2
