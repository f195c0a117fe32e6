"""What every verb that scores is asked."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from finewhisper import cli
from finewhisper.config import options
from finewhisper.scoring.config import ScoringConfig

SCORING = ("evaluate", "compare", "parity")
DEVICES = ("transcribe", "evaluate", "compare", "parity", "finetune", "serve")


@pytest.mark.parametrize("verb", SCORING)
def test_a_verb_that_scores_takes_all_options_of_scoring_after_its_own(verb: str) -> None:
    names = [option.name for option in options(cli.load(cli.VERBS[verb].config))]
    shared = [option.name for option in options(ScoringConfig)]
    assert set(shared) <= set(names)
    assert names[0] in {"--model", "--models"}


@pytest.mark.parametrize("verb", DEVICES)
def test_a_device_is_the_same_in_every_verb(verb: str) -> None:
    field = cli.load(cli.VERBS[verb].config).__pydantic_validator__
    for device in ("cpu", "cuda", "cuda:1", "auto"):
        with pytest.raises(ValidationError) as found:
            field.validate_python({"device": device})
        assert "device" not in {error["loc"][0] for error in found.value.errors() if error["loc"]}
    with pytest.raises(ValidationError, match="must be auto, cpu, cuda"):
        field.validate_python({"device": "gpu"})


def test_a_signature_says_which_languages_were_detected() -> None:
    config = ScoringConfig(beam_size=2)
    assert config.decoding("30 s", {"zh", "en"}) == "beam 2,loops:again,timestamps:no,context:30 s,silence:left-out,language:detected en+zh"
    assert config.decoding("30 s", (), again=False) == "beam 2,timestamps:no,context:30 s,silence:left-out"


def test_the_documentation_shows_signatures_as_they_are_written() -> None:
    docs = Path(__file__).parents[3] / "docs"
    shown = {page: re.findall(r"\|decoding:([^|]*)\|", (docs / page).read_text(encoding="utf-8")) for page in ("evaluate.md", "parity.md")}
    assert set(shown["evaluate.md"]) == {ScoringConfig().decoding("from-20s", ())}
    assert set(shown["parity.md"]) == {ScoringConfig().decoding("from-20s", (), again=False)}
