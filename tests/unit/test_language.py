"""Languages by any of their names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from finewhisper import manifest
from finewhisper.errors import ManifestError, UsageError
from finewhisper.language import LANGUAGES, Language, language_code, scoring_languages, spoken_language

FIELD = Path(__file__).parent.parent / "field" / "manifests"

#: Codes and names that mean no language of Whisper's.
LACKING = {
    "ug",
    "Uyghur",
    "rw",
    "Kinyarwanda",
    "ku",
    "ckb",
    "gsw",
    "fy-NL",
    "ky",
    "ga-IE",
    "ast",
    "kab",
    "kmr",
    "sah",
    "tw",
    "Odia",
    "or",
    "ceb",
}


class Options(BaseModel):
    language: Language = None


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("zh", "zh Chinese CHINESE 中文 cmn zho chi zh-CN zh_CN.UTF-8 zh-Hant-TW zh-HK cmn_hans_cn zh-CHS nan-tw min-nan <|zh|>"),
        ("yue", "yue Cantonese zh-yue yue-Hant-HK yue_hant_hk 粵語"),
        ("no", "no nb nb-NO nob Norwegian Norsk"),
        ("nn", "nn nn-NO nno"),
        ("he", "he iw heb עברית"),
        ("tl", "tl fil Filipino fil_ph"),
        ("de", "de ger deu Deutsch de-CH-1996"),
        ("fr", "fr fre fra francais Français"),
        ("jw", "jw jv jav"),
        ("id", "id in ind"),
        ("yi", "yi ji"),
        ("ro", "ro mo"),
        ("sr", "sr sh sr-Latn sr_RS@latin"),
        ("ar", "ar arb ar-EG arz"),
        ("en", "en eng EN en_us en-US-u-ca-gregory"),
        ("ru", "ru Русский"),
        ("hi", "hi हिन्दी"),
        ("es", "es es-419 es_419"),
    ],
)
def test_a_language_goes_by_all_its_names(code: str, names: str) -> None:
    assert {name: spoken_language(name) for name in names.split()} == dict.fromkeys(names.split(), code)


@pytest.mark.parametrize("name", ["Mandarin Chinese", "Simplified Chinese", "Chinese (Simplified)", " chinese ", "Brazilian Portuguese"])
def test_what_is_added_to_a_name_does_not_hide_it(name: str) -> None:
    assert spoken_language(name) in {"zh", "pt"}


def test_every_code_and_name_in_the_table_means_its_own_line() -> None:
    assert {code: language_code(code) for code in LANGUAGES} == {code: code for code in LANGUAGES}
    assert {name: language_code(name) for name in LANGUAGES.values()} == {name: code for code, name in LANGUAGES.items()}


@pytest.mark.parametrize("name", [None, "", " ", "auto", "Auto", "None", "none", "detect", "und", "null"])
def test_a_language_that_is_not_said_is_none(name: str | None) -> None:
    assert spoken_language(name) is None
    assert Options(language=name).language is None


@pytest.mark.parametrize(("name", "advice"), [("Chineese", "did you mean Chinese"), ("nan", "zh or nan-TW"), ("ky", "close to it")])
def test_what_is_none_of_whispers_is_refused_with_advice(name: str, advice: str) -> None:
    with pytest.raises(UsageError, match=advice):
        spoken_language(name)
    with pytest.raises(ValidationError, match=advice):
        Options(language=name)


def test_a_manifest_takes_every_usual_name_and_names_the_lines_of_those_whisper_lacks() -> None:
    path = FIELD / "langs.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with pytest.raises(ManifestError):
        manifest.read(path)
    usable, problems = manifest.scan(path)
    assert [rows[int(problem.split(":")[1]) - 1]["language"] for problem in problems] == [
        row["language"] for row in rows if row["language"] in LACKING
    ]
    assert len(usable) + len(problems) == len(rows)


def test_a_set_is_scored_by_given_languages_and_else_by_what_most_clips_were_taken_for() -> None:
    detected = [("zh", 0.9), ("zh", 0.8), ("zh", 0.9), ("en", 0.3), ("zh", 0.9)]
    assert scoring_languages([None] * 5, detected) == ["zh"] * 5, "one doubtful clip is a mistake of detection"
    assert scoring_languages(["bg", None, None, None, None], detected) == ["bg", "zh", "zh", "zh", "zh"]
    assert scoring_languages([None] * 4, [("zh", 0.9), ("en", 0.9), ("zh", 0.9), ("en", 0.9)]) == ["zh", "en", "zh", "en"]
    assert scoring_languages([None], [("en", None)]) == ["en"], "an English-only model knows no other"
