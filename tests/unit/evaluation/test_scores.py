"""Sets of utterances: each language by its own rules, and all together."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluations import Make
from finewhisper.errors import UsageError
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.scores import require_unit
from finewhisper.manifest import Utterance
from finewhisper.scoring.rates import ErrorRate
from finewhisper.scoring.sets import SpeechSet

MIXED = [
    ("bg", "Здравей, свят!", "здравей свет"),
    ("zh", "設定29度。", "设定三十九度"),
    ("en", "", "thank you"),
    (None, "one two", "one two"),
]


def test_a_set_of_one_language(evaluated: Make) -> None:
    evaluation, _ = evaluated([("bg", "Здравей, свят!", "здравей свет"), ("bg", "да", "")])
    (group,) = evaluation.groups
    assert group.name == "Bulgarian"
    assert group.normalizers == "basic+spaces"
    assert group.words is not None
    assert group.words.rate == ErrorRate("word", substitutions=1, deletions=1, reference_units=3)
    assert group.characters.rate == ErrorRate("character", substitutions=1, deletions=2, reference_units=14)
    assert group.words.before is None


def test_a_set_of_several_languages(evaluated: Make) -> None:
    evaluation, _ = evaluated(MIXED)
    everything, bulgarian, english, chinese = evaluation.groups
    assert [group.name for group in evaluation.groups] == ["all", "Bulgarian", "English", "Chinese"]
    assert [row.scored_as for row in evaluation.rows if row.language is None] == ["en"], "what was detected where nobody named it"
    assert everything.normalizers == "bg,en:basic+spaces;zh:simplified+numerals+lower+punctuation+no_spaces"
    assert chinese.words is None, "Chinese has no spaces to count words by"
    assert chinese.characters.rate == ErrorRate("character", substitutions=1, reference_units=6), "29度 is 二十九度"
    assert english.words is not None
    assert english.words.rate == ErrorRate("word", insertions=2, reference_units=2), (
        "the row detected as English counts with those named so"
    )
    assert english.no_speech == 1
    assert everything.words is not None
    assert everything.words.rate == ErrorRate("word", substitutions=1, insertions=2, reference_units=4), "without the Chinese row"
    counts = [group.characters.rate.errors for group in (bulgarian, english, chinese)]
    assert everything.characters.rate.errors == sum(counts)
    assert (everything.wordless, everything.no_speech) == (1, 1)


def test_each_speaker(evaluated: Make) -> None:
    said = [("zh", "二九", "二九"), ("zh", "二九", "三"), ("zh", "", ""), ("en", "one two", "one")]
    evaluation, _ = evaluated(said, extra=[{"speaker": "S2"}, {"speaker": "S1"}, {"speaker": ""}, {"speaker": "S1"}])
    first, second = evaluation.speakers
    assert [group.name for group in evaluation.speakers] == ["S1", "S2"]
    assert [len(group.rows) for group in evaluation.speakers] == [2, 1], "the clip without a speaker is nobody's"
    assert first.words is not None
    assert first.words.rate == ErrorRate("word", deletions=1, reference_units=2)
    assert first.characters.rate == ErrorRate("character", 1, 1 + len(" two"), 0, 2 + len("one two"))
    assert second.characters.rate.errors == 0
    assert evaluation.json()["speakers"]["S2"]["cer"]["percent"] == 0.0


def test_a_single_speaker_is_not_split(evaluated: Make) -> None:
    evaluation, _ = evaluated([("bg", "да", "да"), ("bg", "не", "не")])
    assert evaluation.speakers == ()


def test_rows_keep_what_the_table_needs(evaluated: Make) -> None:
    evaluation, _ = evaluated(MIXED)
    bulgarian, chinese, silent, unknown = evaluation.rows
    assert (bulgarian.line, bulgarian.id, bulgarian.speaker) == (1, "clip0", "Ann")
    assert (bulgarian.language, bulgarian.detected_language) == ("bg", None)
    assert (unknown.language, unknown.detected_language) == (None, "en")
    assert chinese.normalized_reference == "设定二十九度"
    assert chinese.rate("auto").unit == "character"
    assert bulgarian.rate("auto").unit == "word"
    assert bulgarian.rate("character").unit == "character"
    assert silent.rate().percent == float("inf")


def test_a_given_language_wins(evaluated: Make) -> None:
    evaluation, _ = evaluated([("en", "二九", "29")], language="Chinese")
    assert [row.language for row in evaluation.rows] == ["zh"]
    assert evaluation.everything.words is None


def test_a_translation_is_scored_as_english(evaluated: Make) -> None:
    evaluation, _ = evaluated([("zh", "Good day.", "good day")], task="translate")
    assert evaluation.everything.name == "Chinese"
    assert evaluation.everything.words is not None
    assert evaluation.everything.words.rate.percent == 0.0
    assert "task:translate" in evaluation.signature("WER")


def test_raw_text(evaluated: Make) -> None:
    evaluation, _ = evaluated([("bg", "Да.", "да")], normalize="none")
    assert evaluation.everything.normalizers == "none"
    assert evaluation.everything.words is not None
    assert evaluation.everything.words.rate.percent == 100.0


def test_words_of_a_language_without_spaces() -> None:
    config = EvaluateConfig(model=Path("m"), manifest=Path("x"), output=Path("o"), unit="word")
    with pytest.raises(UsageError, match="--unit word: zh is written without spaces; use --unit character"):
        require_unit(SpeechSet("m", (Utterance(Path("a"), "一", "zh"),)), config)
    require_unit(SpeechSet("m", (Utterance(Path("a"), "一", "zh"), Utterance(Path("b"), "one", "en"))), config)
    require_unit(SpeechSet("m", (Utterance(Path("a"), "one", "zh"),)), config.model_copy(update={"task": "translate"}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "basic,upper"}, "--normalize: there is no step 'upper'"),
        ({"language": "klingon"}, "--language: language 'klingon' is not one of Whisper's"),
        ({"limit": 0}, "--limit"),
        ({"unit": "syllable"}, "--unit"),
        ({"players": -1}, "--players"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    from finewhisper.config import build

    with pytest.raises(UsageError, match=message):
        build(EvaluateConfig, {"model": "m", "manifest": "x", "output": "o"} | options)
