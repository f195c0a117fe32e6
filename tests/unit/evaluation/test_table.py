"""The table is read back as it was written, whatever the transcripts hold."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluations import Make
from finewhisper.evaluation import table
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.scores import score
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.scoring.sets import SpeechSet
from finewhisper.transcript import Segment, Transcript

#: Anything but halves of surrogate pairs, which no UTF-8 file can hold, and zero, which Python 3.10 does not read from CSV.
text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from(["bg", "zh", None]), text, text), min_size=1, max_size=4),
    st.sampled_from(["auto", "none"]),
    st.booleans(),
)
def test_round_trip(tmp_path: Path, said: list[tuple[str | None, str, str]], normalize: str, timestamps: bool) -> None:
    config = EvaluateConfig(
        model=tmp_path,
        manifest=tmp_path / "m.jsonl",
        output=tmp_path.parent / f"{tmp_path.name}-out",
        normalize=normalize,
        timestamps=timestamps,
    )
    utterances = [
        Utterance(Path("clip.wav"), sentence, language, 1.5, sentences=(TimedSentence(0.1, 1.23, sentence),), line=7)
        for language, sentence, _ in said
    ]
    transcripts = [Transcript((Segment(heard, 0.0, 1.0),), "en", 1.5, None, (True,)) for _, _, heard in said]
    rows = score(SpeechSet("m", tuple(utterances)), transcripts, config)
    table.write(tmp_path / "rows.csv", rows)
    assert table.read(tmp_path / "rows.csv") == rows


def test_columns(evaluated: Make, tmp_path: Path) -> None:
    evaluation, _ = evaluated([("bg", 'Той каза: "да", и', "той каза не"), ("zh", "二十九", "30"), ("en", "", "you")])
    table.write(tmp_path / "rows.csv", evaluation.rows)
    assert (tmp_path / "rows.csv").read_bytes().startswith(b"\xef\xbb\xbfline,id,"), "spreadsheets know UTF-8 by its mark"
    with (tmp_path / "rows.csv").open(encoding="utf-8-sig", newline="") as stream:
        bulgarian, chinese, silent = csv.DictReader(stream)
    assert bulgarian["reference"] == 'Той каза: "да", и'
    assert (bulgarian["normalized_reference"], bulgarian["normalized_hypothesis"]) == ("той каза да и", "той каза не")
    assert (bulgarian["words"], bulgarian["word_errors"], bulgarian["wer"]) == ("4", "2", "50.0")
    assert (chinese["words"], chinese["wer"], chinese["characters"], chinese["cer"]) == ("", "", "3", "66.67")
    assert (silent["words"], silent["word_errors"], silent["wer"]) == ("0", "1", "")
    assert (bulgarian["speaker"], bulgarian["duration_s"], bulgarian["line"]) == ("Ann", "0.5", "1")


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("id,text\n1,a\n", encoding="utf-8")
    with pytest.raises(ValueError, match="its columns are not line, id"):
        table.read(tmp_path / "rows.csv")
