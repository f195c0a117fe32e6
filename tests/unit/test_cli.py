"""The command line as a user meets it: fast help, verbs in order, and errors that name what to change."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from finewhisper import __version__
from finewhisper.cli import VERBS, load, main, parse
from finewhisper.config import options, save
from finewhisper.errors import UsageError

PIPELINE = [
    "download",
    "prepare",
    "augment",
    "finetune",
    "merge",
    "evaluate",
    "convert",
    "parity",
    "transcribe",
    "serve",
]
FRAMEWORKS = {"torch", "transformers", "peft", "ctranslate2", "numpy"}


def child(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "finewhisper", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
        check=False,
    )


def imported_by(*arguments: str) -> set[str]:
    """The top-level modules in memory after one command line, in a process of its own."""
    script = f"import sys; from finewhisper.cli import main; main({list(arguments)!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_help_takes_a_fifth_of_a_second():
    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        child("--help")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.2  # processor time: what other processes do meanwhile is not ours


def test_help_imports_no_framework():
    assert not imported_by("--help") & FRAMEWORKS


@pytest.mark.parametrize("verb", PIPELINE)
def test_the_help_of_a_verb_imports_no_deep_learning_framework(verb):
    assert not imported_by(verb, "--help") & (FRAMEWORKS - {"numpy"})


def test_verbs_are_listed_in_pipeline_order(capsys):
    assert main(["--help"]) == 0
    assert re.findall(r"^  (\w+) ", capsys.readouterr().out, re.MULTILINE) == PIPELINE


@pytest.mark.parametrize("verb", PIPELINE)
def test_every_option_of_every_verb_is_explained(verb, capsys):
    config_type = load(VERBS[verb].config)
    assert config_type.__doc__
    assert not [option.name for option in options(config_type) if not option.help]
    assert main([verb, "--help-all"]) == 0
    shown = capsys.readouterr().out
    assert not [option.name for option in options(config_type) if option.name not in shown]
    assert "--empty-" not in shown


@pytest.mark.parametrize(
    ("verb", "usage"),
    [
        ("prepare", "CORPUS [SOURCE] -o OUTPUT [OPTIONS]"),
        ("convert", "SOURCE TARGET --to TO [OPTIONS]"),
        ("transcribe", "FILES... -m MODEL [OPTIONS]"),
    ],
)
def test_the_first_line_of_help_is_a_command_to_fill_in(verb, usage, capsys):
    assert main([verb, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: finewhisper {verb} {usage}")


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - set(PIPELINE)))
def test_a_verb_that_another_took_over_is_not_shown(verb, capsys):
    assert main(["--help"]) == 0
    assert main(["transcibe"]) == 2
    shown = capsys.readouterr()
    assert not re.search(rf"\b{verb}\b", shown.out + shown.err)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"finewhisper {__version__}\n"


def test_help_shows_what_matters_first_in_groups_and_help_all_shows_everything(capsys):
    for verb in ("finetune", "serve", "transcribe"):
        config = load(VERBS[verb].config)
        known = {option.key: option for option in options(config)}
        grouped = [key for keys in config.groups.values() for key in keys]
        assert len(grouped) == len(set(grouped)) <= 25
        assert set(grouped) <= known.keys()
        required = {key for key, option in known.items() if option.field.is_required()}
        assert required <= set(grouped)
        assert main([verb, "--help"]) == 0
        first = capsys.readouterr().out
        assert f"--help-all shows {len(known) - len(grouped)} more options" in " ".join(first.split())
        assert main([verb, "--help-all"]) == 0
        everything = capsys.readouterr().out
        for key, option in known.items():
            assert option.name in everything, key
            assert (f" {option.name} " in first or f"{option.name}\n" in first) == (key in grouped), key


def test_no_arguments_show_the_help_and_fail():
    done = child()
    assert done.returncode == 2
    assert "Usage: finewhisper VERB" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcibe"], "finewhisper transcibe: there is no such verb; did you mean transcribe?"),
        (["fine-tune"], "finewhisper fine-tune: there is no such verb; did you mean finetune?"),
        (["download", "base", "--outptu", "x"], "finewhisper download: Unknown option: --outptu. Did you mean --output?"),
        (["merge"], "finewhisper merge: --models: is required"),
        (["transcribe", "a.wav", "--config"], "finewhisper transcribe: --config: needs a YAML file"),
        (["transcribe", "--config", "no.yaml"], "finewhisper transcribe: --config: no such file: no.yaml"),
        (["transcribe", "--config", "a.yaml", "--config=b.yaml"], "--config: takes one YAML file, but 2 were given: a.yaml, b.yaml"),
    ],
)
def test_a_mistake_is_named_with_the_next_step_and_no_traceback(arguments, message, capsys):
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert not shown.out


def test_every_wrong_value_is_reported_in_one_message(capsys, monkeypatch):
    monkeypatch.setenv("FINEWHISPER_TRANSCRIBE_LANGUAGES", "bg")
    assert main(["transcribe", "a.wav", "-m", "m"]) == 2
    assert "FINEWHISPER_TRANSCRIBE_LANGUAGES: the environment sets an unknown option; did you mean" in capsys.readouterr().err
    monkeypatch.delenv("FINEWHISPER_TRANSCRIBE_LANGUAGES")
    monkeypatch.setenv("FINEWHISPER_TRANSCRIBE_BEAM_SIZE", "many")
    assert main(["transcribe", "a.wav", "--task", "sing"]) == 2
    error = capsys.readouterr().err
    assert "--model: is required" in error
    assert "--task: must be 'transcribe' or 'translate', not 'sing'" in error
    assert "FINEWHISPER_TRANSCRIBE_BEAM_SIZE: must be a whole number, not 'many'" in error


def test_flags_win_over_environment_over_recipe_over_defaults(tmp_path, monkeypatch):
    verb = VERBS["transcribe"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: m\nfiles: [a.wav]\nbeam_size: 2\n", encoding="utf-8")
    assert parse("transcribe", verb, ["a.wav", "-m", "m"]).beam_size == 1
    assert parse("transcribe", verb, ["--config", str(recipe)]).beam_size == 2
    monkeypatch.setenv("FINEWHISPER_TRANSCRIBE_BEAM_SIZE", "3")
    assert parse("transcribe", verb, ["--config", str(recipe)]).beam_size == 3
    config = parse("transcribe", verb, ["--config", str(recipe), "--beam-size", "4"])
    assert (config.beam_size, config.model) == (4, Path("m"))


def test_a_saved_configuration_can_be_given_again(tmp_path):
    verb = VERBS["finetune"]
    config = parse("finetune", verb, ["--model", "m", "--train", "train.jsonl", "-o", "out"])
    save(config, tmp_path / "config.yaml")
    assert parse("finetune", verb, ["--config", str(tmp_path / "config.yaml")]) == config


def test_a_dash_is_standard_input_and_two_end_the_options():
    verb = VERBS["transcribe"]
    assert [str(file) for file in parse("transcribe", verb, ["-", "-m", "m"]).files] == ["-"]
    assert [str(file) for file in parse("transcribe", verb, ["-m", "m", "--", "-a.wav", "--help"]).files] == ["-a.wav", "--help"]


def test_errors_of_a_verb_end_as_one_line_and_code_2(tmp_path):
    done = child("merge", str(tmp_path / "nothing"), "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith("finewhisper merge: ")
    assert "Traceback" not in done.stderr


def test_control_c_ends_with_130(monkeypatch, capsys):
    def interrupted(config: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("finewhisper.transcription.run.run", interrupted)
    assert main(["transcribe", "a.wav", "-m", "m"]) == 130
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["merge", "--help"]])
def test_a_pipe_whose_reader_has_left_is_no_error(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "finewhisper", *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.returncode in {0, 1}  # 1 is rich's choice, which prints the help of a verb
    assert not done.stderr


def test_parse_refuses_with_a_usage_error():
    with pytest.raises(UsageError, match="--help lists the options"):
        parse("merge", VERBS["merge"], ["--bogus"])
