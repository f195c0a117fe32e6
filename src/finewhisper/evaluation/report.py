"""``report.html``: one page that shows every error and needs nothing but a browser.

The rows are data in the page and drawn by a small script, a screenful at a time, so that thousands of utterances stay quick to search.
Its security policy forbids any request, so a report can be mailed, archived or published as it is.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from finewhisper import __version__, audio
from finewhisper.audio import Seconds
from finewhisper.evaluation import timing
from finewhisper.evaluation.curves import Curves
from finewhisper.evaluation.figures import confusions, figures, row_unit
from finewhisper.evaluation.result import MOST_SPEAKERS, Evaluation, named
from finewhisper.evaluation.scores import Group, Row
from finewhisper.language import LANGUAGES
from finewhisper.manifest import Utterance
from finewhisper.progress import track
from finewhisper.scoring.rates import Interval, align
from finewhisper.scoring.scores import Score

#: Rows in the page, worst first; the rest is in the table beside it.
LISTED = 5000
#: Longer clips have no player: half an hour takes 10 MB.
LONGEST_PLAYED_S: Seconds = 120.0

_OPERATIONS = {"equal": 0, "substitute": 1, "delete": 2, "insert": 3}


def render(evaluation: Evaluation, utterances: Sequence[Utterance], curves: Curves) -> str:
    """The page as HTML.

    Args:
        utterances: those of ``evaluation.rows``, for their audio.
    """
    unit = evaluation.config.unit
    order = sorted(range(len(evaluation.rows)), key=lambda index: badness(evaluation.rows[index], unit), reverse=True)[:LISTED]
    before = evaluation.before
    sounds = _sounds(evaluation, utterances, order)
    rows = [_row(evaluation.rows[index], before[index] if before else None, sounds.get(index), unit) for index in order]
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"percent": _percent, "signed": _signed, "length_of": _length, "interval": _interval, "visible": _visible}
    return environment.from_string(_asset("report.html")).render(
        evaluation=evaluation,
        groups=_named(evaluation.groups),
        speakers=_named(evaluation.speakers),
        most_speakers=MOST_SPEAKERS,
        times=timing.printed(evaluation.times, evaluation.times_before),
        figures=figures(evaluation, curves),
        confusions=confusions(evaluation.rows, unit),
        languages=sorted({row["lang"] for row in rows if row["lang"]}),
        names=LANGUAGES,
        tally=_tally(evaluation.rows, before, unit),
        silent=len(evaluation.rows) - len(sounds),
        listed=len(rows),
        verdicts={name: _verdict(score) for name, score in evaluation.scores.items()},
        data=_script_json({"rows": rows, "baseline": before is not None}),
        style=_asset("report.css"),
        script=_asset("report.js"),
        version=__version__,
    )


def _named(groups: Sequence[Group]) -> list[tuple[Group, list[tuple[str, Score]]]]:
    return [(group, list(named(group).items())) for group in groups]


def badness(row: Row, unit: str) -> tuple[float, int]:
    """Sorts the worst utterances last: by error rate, then by errors; words heard in silence are the worst."""
    rate = row.rate(unit)
    return rate.percent, rate.errors


def _row(row: Row, before: Row | None, sound: str | None, unit: str) -> dict[str, Any]:
    """What the script needs to draw an utterance; short names, because there are thousands."""
    rate = row.rate(unit)
    content: dict[str, Any] = {
        "line": row.line,
        "id": row.id,
        "lang": row.spoken or row.detected_language,
        "detected": row.language is None,
        "speaker": row.speaker,
        "label": row.label,
        "s": round(row.duration_s, 2),
        "unit": rate.unit,
        "said": row.reference,
        "units": rate.reference_units,
        **_heard(row, unit),
    }
    if before is not None:
        content["before"] = _heard(before, unit)
    if sound is not None:
        content["sound"] = sound
    return content


def _heard(row: Row, unit: str) -> dict[str, Any]:
    rate, joint = row.rate(unit), " " if row_unit(row, unit) == "word" else ""
    return {
        "heard": row.hypothesis,
        "errors": rate.errors,
        "edits": [
            [_OPERATIONS[edit.operation], joint.join(edit.reference), joint.join(edit.hypothesis)]
            for edit in align(row.normalized_reference, row.normalized_hypothesis, rate.unit)
        ],
    }


def _sounds(evaluation: Evaluation, utterances: Sequence[Utterance], order: Sequence[int]) -> dict[int, str]:
    """The audio of the utterances in ``order`` that this model or the baseline heard worst, by index, as base64 of MP3."""
    heard = [evaluation.rows, *([evaluation.before] if evaluation.before else [])]
    order = sorted(order, key=lambda index: max(badness(rows[index], evaluation.config.unit) for rows in heard), reverse=True)
    voiced = [index for index in order if evaluation.rows[index].duration_s <= LONGEST_PLAYED_S][: evaluation.config.players]
    if not voiced:
        return {}
    return {
        index: base64.b64encode(audio.encode_mp3(utterances[index].waveform())).decode("ascii")
        for index in track(voiced, "encoding audio", len(voiced), "clip")
    }


def _tally(rows: Sequence[Row], before: Sequence[Row] | None, unit: str) -> dict[str, int]:
    """How many utterances are entirely right, and how many have fewer or more errors than in the baseline."""
    now = [row.rate(unit).errors for row in rows]
    then = now if before is None else [row.rate(unit).errors for row in before]
    return {
        "utterances": len(now),
        "right": now.count(0),
        "right_before": then.count(0),
        "improved": sum(errors < earlier for errors, earlier in zip(now, then, strict=True)),
        "worsened": sum(errors > earlier for errors, earlier in zip(now, then, strict=True)),
    }


def _script_json(value: Any) -> str:
    """JSON that may stand inside a script element whatever the transcripts hold."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _verdict(score: Score) -> str:
    """A CSS class: better or worse where the interval of the difference leaves out 0, else unsure."""
    if score.difference is None or score.difference.low <= 0 <= score.difference.high:
        return "unsure"
    return "better" if score.difference.high < 0 else "worse"


def _percent(value: float, digits: int = 2) -> str:
    return "∞" if value == float("inf") else f"{value:.{digits}f} %"


def _signed(value: float | None) -> str:
    """A change in percent."""
    return "–" if value is None else f"{value:+.1f} %".replace("-", "−")


def _interval(value: Interval | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value.low:.{digits}f} … {value.high:.{digits}f}".replace("-", "−")


def _visible(text: str) -> str:
    """A space that is an error by itself can be seen."""
    return text if text.strip() else text.replace(" ", "␣")


def _length(seconds: Seconds) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _asset(name: str) -> str:
    return resources.files("finewhisper.evaluation").joinpath(name).read_text(encoding="utf-8")
