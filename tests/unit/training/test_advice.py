"""What a run cannot be expected to do is said before it trains, and stands in the model card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetuning import quick_run
from finewhisper.manifest import Utterance, read, write
from finewhisper.model import ModelFolder
from finewhisper.scoring.sets import SpeechSet
from finewhisper.training.advice import FEW, advise
from finewhisper.training.run import run

ENOUGH = FEW


def spoken(*voices: str | None) -> list[Utterance]:
    """An utterance of each voice."""
    return [
        Utterance(Path(f"{number}.wav"), f"sentence {number}", "en", 2.0, extra={} if voice is None else {"speaker": voice})
        for number, voice in enumerate(voices)
    ]


def advice(train: list[Utterance], dev: list[Utterance] | None = None, **options: object) -> list[str]:
    sets = [SpeechSet("dev", tuple(dev))] if dev else []
    return [str(each) for each in advise(quick_run(Path(), Path("m"), **options), train, sets)]


def test_a_run_of_many_voices_that_keeps_something_needs_no_advice() -> None:
    assert advice(spoken(*["anna", "ben"] * ENOUGH), keep=["other.jsonl"]) == []


def test_one_voice_is_told_with_its_name_and_what_to_do() -> None:
    (told,) = advice(spoken(*["S0252"] * 320), keep=["other.jsonl"])
    assert told.startswith("100 % of the utterances are spoken by one voice (S0252).")
    assert "train on other voices too, or see with --keep" in told


def test_a_voice_that_hardly_shares_with_others_is_one_voice() -> None:
    mostly = [*["anna"] * 19, "ben"] * 20
    assert "95 % of the utterances are spoken by one voice (anna)" in advice(spoken(*mostly), keep=["k.jsonl"])[0]
    assert advice(spoken(*[*["anna"] * 17, "ben", "cem", "dora"] * 20), keep=["k.jsonl"]) == []


def test_a_development_set_of_the_same_voice_is_told() -> None:
    train = spoken(*["anna"] * ENOUGH)
    assert len(advice(train, spoken("anna", "anna"), keep=["k.jsonl"])) == 2
    assert len(advice(train, spoken("anna", "ben"), keep=["k.jsonl"])) == 1
    assert len(advice(train, spoken("anna", None), keep=["k.jsonl"])) == 1, "who knows"


def test_slices_of_one_recording_are_one_voice() -> None:
    slices = [Utterance(Path("talk.flac"), "word", "en", start_s=float(second), end_s=second + 1.0) for second in range(ENOUGH)]
    assert "one voice (talk.flac)" in advice(slices, keep=["k.jsonl"])[0]


def test_a_manifest_that_names_nobody_may_be_of_one_person() -> None:
    (told,) = advice(spoken(*[None] * ENOUGH), keep=["k.jsonl"])
    assert told.startswith("The manifest does not say who speaks (`speaker`). If it is one person")


@pytest.mark.parametrize(("count", "few"), [(FEW - 1, True), (FEW, False)])
def test_few_utterances_are_told_and_those_without_speech_do_not_count(count: int, few: bool) -> None:
    silent = [Utterance(Path("noise.wav"), "  ", "en", 2.0)] * FEW
    told = advice([*spoken(*["anna", "ben"] * FEW)[:count], *silent], keep=["k.jsonl"])
    assert [f"{count} utterances are few. Below some 200" in each for each in told] == [True] * few


def test_without_a_kept_set_what_is_forgotten_is_not_seen() -> None:
    (told,) = advice(spoken(*["anna", "ben"] * ENOUGH))
    assert told.startswith("Nothing will show what the model forgets.")
    assert "--keep" in told


def test_it_is_said_before_training_and_stands_in_the_card(
    random_model: Path, speech_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train = [
        Utterance(each.path, each.sentence, "en", each.duration_s, extra={"speaker": "anna"})
        for each in read(speech_folder / "train.jsonl")
    ]
    write(speech_folder / "train.jsonl", train)
    result = run(quick_run(speech_folder, random_model, dev=speech_folder / "dev.jsonl", max_steps=1))
    printed = capfd.readouterr().err
    told = ModelFolder.open(result.output).card.model_dump()["training"]["advice"]
    assert [each.split(" ", 1)[0] for each in told] == ["100", f"{len(train)}", "Nothing"]
    readme = (result.output / "README.md").read_text(encoding="utf-8")
    assert "## Before you rely on it" in readme
    for each in told:
        assert printed.index(f"  - {each}") < printed.index("on the development set")
        assert f"- {each}\n" in readme
    (line,) = [line for line in readme.splitlines() if line.startswith("| development set |")]
    assert line.endswith("), with 95 % intervals |")
    assert line.count(" … ") == 2, "of both rates"
    dev = json.loads((result.output / "finewhisper.json").read_text())["training"]["dev"]
    low, high = dev["intervals"]["dev"]["wer"]
    assert low <= dev["sets"]["dev"]["wer"] <= high
