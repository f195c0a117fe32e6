"""The checkpoint is chosen by the mean of the development sets' own error rates."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from transformers import TrainerControl, TrainerState

from finetuning import quick_run
from finewhisper.errors import UsageError
from finewhisper.manifest import read, write
from finewhisper.scoring.rates import Comparison, compare, interval
from finewhisper.scoring.text import Normalizer
from finewhisper.training import scoring
from finewhisper.training.run import run
from finewhisper.training.trainer import Patience


def heard(*pairs: tuple[str, str, str]) -> list[Comparison]:
    """Comparisons of (language, said, heard)."""
    return compare([pair[1:] for pair in pairs], [pair[0] for pair in pairs], Normalizer.for_language)


BULGARIAN = heard(("bg", "синя риба", "синя риба"), ("bg", "бяла риба", "бяла рибка"))  # 1 of 4 words, 1 of 18 characters
CHINESE = heard(*[("zh", "设定", "设法")] * 30)  # 30 of 60 characters


def test_every_set_weighs_the_same_whatever_its_size() -> None:
    found = scoring.scores({"bg": BULGARIAN, "zh": CHINESE})
    assert found["bg/wer"] == 25
    assert found["zh/cer"] == 50
    assert "zh/wer" not in found, "Chinese has no words to count"
    assert found["macro"] == pytest.approx((25 + 50) / 2)
    assert found["wer"] == 25
    assert found["cer"] == pytest.approx((100 / 18 + 50) / 2)


def test_characters_may_be_asked_for_everywhere() -> None:
    found = scoring.scores({"bg": BULGARIAN, "zh": CHINESE}, "cer")
    assert found["macro"] == found["cer"]


def test_a_set_of_several_languages_counts_each_by_its_own_rules() -> None:
    """One normaliser for all, that of the first line, would not know traditional characters."""
    found = scoring.scores({"mixed": heard(("bg", "Риба!", "риба"), ("zh", "設定。", "设定"))})
    assert found == {name + bound: 0 for name in ("macro", "cer") for bound in ("", "_low", "_high")}


def test_every_score_stands_beside_its_interval() -> None:
    found = scoring.scores({"dev": CHINESE})
    exact = interval([pair.characters for pair in CHINESE])
    assert exact is not None
    assert (found["cer_low"], found["cer_high"]) == (found["macro_low"], found["macro_high"]) == (exact.low, exact.high)
    mixed = heard(*[("bg", "синя риба", "синя риба")] * 9, ("bg", "бяла риба", "рибка"))
    assert scoring.text(scoring.scores({"dev": mixed})) == "WER 10.0 % (0.0 … 30.0), CER 6.7 % (0.0 … 20.0)"
    both = scoring.scores({"bg": mixed, "zh": CHINESE})
    assert scoring.text(both) == (
        "macro average 30.0 % (25.0 … 40.0); bg: WER 10.0 % (0.0 … 30.0), CER 6.7 % (0.0 … 20.0); zh: CER 50.0 % (50.0 … 50.0)"
    )
    assert scoring.card(both, ["bg", "zh"]) == {
        "macro": 30.0,
        "macro_interval": [25.0, 40.0],
        "sets": {"bg": {"wer": 10.0, "cer": 6.67}, "zh": {"cer": 50.0}},
        "intervals": {"bg": {"wer": [0.0, 30.0], "cer": [0.0, 20.0]}, "zh": {"cer": [50.0, 50.0]}},
    }


def test_a_log_from_before_there_were_intervals_can_be_shown() -> None:
    old = {"macro": 25.0, "wer": 25.0, "cer": 5.6}
    assert scoring.text(old) == "WER 25.0 %, CER 5.6 %"
    assert scoring.card(old, ["dev"]) == {
        "macro": 25.0,
        "macro_interval": None,
        "sets": {"dev": {"wer": 25.0, "cer": 5.6}},
        "intervals": {"dev": {"wer": None, "cer": None}},
    }


@pytest.fixture
def chinese(speech_folder: Path) -> Path:
    """A second development set, as zh.jsonl."""
    rows = [json.loads(line) for line in (speech_folder / "dev.jsonl").read_text().splitlines()]
    text = [json.dumps(row | {"language": "zh", "sentence": "设定"}) for row in rows[:2]]
    (speech_folder / "zh.jsonl").write_text("\n".join(text))
    return speech_folder / "zh.jsonl"


def test_the_best_checkpoint_of_several_sets_is_kept(random_model: Path, speech_folder: Path, chinese: Path) -> None:
    sets = (speech_folder / "dev.jsonl", chinese)
    result = run(quick_run(speech_folder, random_model, dev=sets, eval_steps=2, max_steps=3, learning_rate=3e-3, method="full"))
    log = [entry for entry in json.loads((result.output / "training.json").read_text()) if "eval_macro" in entry]
    assert [entry["step"] for entry in log] == [2, 3], "every --eval-steps, and once more at the end"
    for entry in log:
        assert entry["eval_macro"] == pytest.approx((entry["eval_dev/wer"] + entry["eval_zh/cer"]) / 2)
    best = min(log, key=lambda entry: entry["eval_macro"])
    card = json.loads((result.output / "finewhisper.json").read_text())["training"]
    assert card["kept_step"] == best["step"]
    assert card["dev"]["macro"] == pytest.approx(best["eval_macro"], abs=0.01)
    assert set(card["dev"]["sets"]) == {"dev", "zh"}
    assert set(card["dev"]["sets"]["dev"]) == {"wer", "cer"}
    assert "macro average" in str(result)
    assert "macro average" in (result.output / "README.md").read_text()
    assert [Path(path).name for path in yaml.safe_load((result.output / "config.yaml").read_text())["dev"]] == ["dev.jsonl", "zh.jsonl"]
    assert (result.output / "training.png").read_bytes().startswith(b"\x89PNG")


def test_training_stops_when_it_gets_no_better(random_model: Path, speech_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = quick_run(
        speech_folder, random_model, dev=speech_folder / "dev.jsonl", epochs=9, eval_steps=1, patience=2, learning_rate=1e-9
    )
    result = run(options)
    assert result.steps == 3, "the first evaluation is the best, two more are no better"
    assert "--patience 2" in capfd.readouterr().err
    assert {path.name for path in (result.output / "checkpoints").iterdir()} == {"checkpoint-1", "checkpoint-3"}, "the best and the last"


@pytest.mark.parametrize(("macros", "stops"), [([9, 8, 8, 8], True), ([9, 8, 8], False), ([9, 8, 9, 7], False)])
def test_patience_counts_evaluations_from_before_a_resumption_too(macros: list[float], stops: bool) -> None:
    """transformers' own callback begins at 0 again."""
    state = TrainerState(log_history=[{"step": step, "eval_macro": value} for step, value in enumerate(macros)])
    control = TrainerControl()
    Patience(2).on_evaluate(None, state, control)
    assert control.should_training_stop == stops


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"patience": 2}, "--patience: there is nothing to evaluate; add --dev"),
        ({"eval_steps": 2}, "--eval-steps: there is nothing to evaluate"),
        ({"dev": ["a.jsonl", "a.jsonl"]}, "names a manifest twice"),
    ],
)
def test_options_that_have_no_effect_are_refused(tmp_path: Path, options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        quick_run(tmp_path, Path("m"), **options)


def test_one_manifest_needs_no_list_in_a_recipe(tmp_path: Path) -> None:
    assert quick_run(tmp_path, Path("m"), dev="a.jsonl").dev == (Path("a.jsonl"),)
    assert quick_run(tmp_path, Path("m"), dev=None).dev == ()


def test_a_set_without_an_error_rate_is_refused_before_training(random_model: Path, speech_folder: Path, chinese: Path) -> None:
    with pytest.raises(UsageError, match=r"--metric wer: .*zh\.jsonl holds zh, written without spaces"):
        run(quick_run(speech_folder, random_model, dev=chinese, metric="wer"))
    silent = [utterance.__class__(utterance.path, "", "en", utterance.duration_s) for utterance in read(speech_folder / "dev.jsonl")]
    write(speech_folder / "silent.jsonl", silent)
    with pytest.raises(UsageError, match=r"silent\.jsonl: nothing is said in it"):
        run(quick_run(speech_folder, random_model, dev=speech_folder / "silent.jsonl"))
    assert not (speech_folder / "result").exists()


@pytest.mark.parametrize("said", ["", "...", "♪"])
def test_a_set_in_which_nothing_is_said_cannot_be_kept(said: str, random_model: Path, speech_folder: Path) -> None:
    """Its error rate is 0 or infinite, and their difference is no number, which no limit is below."""
    silent = [replace(utterance, sentence=said) for utterance in read(speech_folder / "dev.jsonl")]
    write(speech_folder / "silent.jsonl", silent)
    with pytest.raises(UsageError, match=r"--keep .*silent\.jsonl: nothing is said in it"):
        run(quick_run(speech_folder, random_model, keep=(speech_folder / "silent.jsonl",)))
    assert not (speech_folder / "result").exists()
