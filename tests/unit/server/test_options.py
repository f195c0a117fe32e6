"""What a client may ask for is understood alike at every address."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from finewhisper.language import spoken_language
from finewhisper.scoring.config import ScoringConfig
from finewhisper.server.jobs.options import JobOptions
from finewhisper.server.live.realtime_settings import Transcription
from finewhisper.server.live.socket import ListenOptions
from finewhisper.server.openai import TranscriptionOptions
from finewhisper.server.upstream import UpstreamOptions
from finewhisper.training.config import FinetuneConfig
from finewhisper.transcription.config import TranscribeConfig

FORMS = (TranscriptionOptions, UpstreamOptions, ListenOptions, JobOptions)
VERBS: tuple[tuple[type[BaseModel], dict[str, Any]], ...] = (
    (TranscribeConfig, {"files": ["a"], "model": "m"}),
    (ScoringConfig, {}),
    (FinetuneConfig, {"model": "m", "train": "t", "output": "o"}),
)


@pytest.mark.parametrize("name", ["nb", "iw", "fil", "cmn", "zho", "yue-Hant-HK", "German", "auto", "None", "", None])
@pytest.mark.parametrize(("kind", "others"), [*((form, {}) for form in FORMS), (Transcription, {}), *VERBS])
def test_a_language_has_all_its_names_everywhere(kind: type[BaseModel], others: dict[str, Any], name: str | None) -> None:
    found = kind.model_validate({**others, "language": name})
    assert spoken_language(getattr(found, "language")) == spoken_language(name)  # noqa: B009 - the kinds have no base in common


@pytest.mark.parametrize(("kind", "others"), [*((form, {}) for form in FORMS), (Transcription, {}), *VERBS])
def test_a_language_that_is_none_is_refused_with_one_sentence(kind: type[BaseModel], others: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="language 'klingon' is not one of Whisper's"):
        kind.model_validate({**others, "language": "klingon"})


@pytest.mark.parametrize("form", FORMS)
def test_what_a_form_asks_for_reaches_the_service(form: type[Any]) -> None:
    given = {"language": "de", "task": "translate", "prompt": "p", "temperature": 0.5, "beam_size": 3, "vad": True, "model": "m"}
    given |= {"timestamp_granularities": ("word",), "to_simple": True, "remove_pun": True}
    requested = form.model_validate(given).requested()
    for name in form.model_fields.keys() & given.keys() - {"timestamp_granularities"}:
        assert getattr(requested, name) == given[name], name
    assert requested.word_timestamps == ("timestamp_granularities" in form.model_fields)
    assert not requested.language_is_default


def test_nobody_named_a_language() -> None:
    assert UpstreamOptions.model_validate({}).requested().language_is_default
    assert not UpstreamOptions.model_validate({"language": "zh"}).requested().language_is_default
