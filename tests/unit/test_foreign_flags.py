"""What is said where another program's option is typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from finewhisper import cli
from finewhisper.config import options
from finewhisper.errors import UsageError
from finewhisper.foreign_flags import ANSWERS

#: Options of the scripts of Whisper-Finetune, and which verb does their work here.
UPSTREAM = {
    "finetune": "train_data test_data base_model output_dir warmup_steps logging_steps eval_steps save_steps num_workers learning_rate "
    "min_audio_len max_audio_len use_adalora fp16 use_8bit timestamps use_compile local_files_only num_train_epochs language task "
    "augment_config_path resume_from_checkpoint per_device_train_batch_size gradient_accumulation_steps push_to_hub save_total_limit",
    "transcribe": "audio_path model_path use_gpu language num_beams batch_size use_compile task assistant_model_path local_files_only "
    "beam_size vad_filter output_format compute_type word_timestamps initial_prompt",
    "merge": "lora_model local_files_only output_dir",
    "evaluate": "test_data model_path batch_size num_workers language remove_pun to_simple timestamps local_files_only task metric",
}


@pytest.mark.parametrize("verb", ANSWERS)
def test_every_option_that_an_answer_names_is_one_of_the_verb(verb: str) -> None:
    ours = {option.name for option in options(cli.load(cli.VERBS[verb].config))}
    others = {"--to"}  # of finewhisper convert, which the answer names
    named = {flag for told in ANSWERS[verb].values() for flag in re.findall(r"--[a-z][a-z-]*", told)}
    assert named - others <= ours


@pytest.mark.parametrize(("verb", "flag"), [(verb, flag) for verb, flags in UPSTREAM.items() for flag in flags.split()])
def test_every_upstream_option_is_understood_or_answered(verb: str, flag: str) -> None:
    config = cli.load(cli.VERBS[verb].config)
    ours = {option.name for option in options(config)}
    spelt = f"--{flag.replace('_', '-')}"
    if spelt in ours:
        assert cli.translated(verb, config, [f"--{flag}=1"]) == [f"{spelt}=1"]
    else:
        with pytest.raises(UsageError, match=f"no option --{flag} in finewhisper {verb}"):
            cli.translated(verb, config, [f"--{flag}=1"])


def test_the_base_model_is_said_to_be_the_first_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["finetune", "--base_model", "m", "--train_data", "t"]) == 2
    assert "there is no option --base_model in finewhisper finetune; the base is the first argument" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "gbk"])
def test_output_is_utf8_whatever_the_console_says(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    code = "import sys; from finewhisper import cli; cli._speak_utf8(); print('设定 ½ \\udcff'); print('Ж', file=sys.stderr)"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    assert found.stdout.decode("utf-8").strip() == "设定 ½ \\udcff"
    assert found.stderr.decode("utf-8").strip() == "Ж"
