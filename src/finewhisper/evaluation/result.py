"""What an evaluation found: printed in short, written as ``result.json``, drawn by ``report``."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from finewhisper.audio import Seconds
from finewhisper.evaluation import silence, timing
from finewhisper.evaluation.baseline import Baseline
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.scores import Group, Row, Sign, by_speaker
from finewhisper.evaluation.silence import Silence, silences
from finewhisper.evaluation.sweep import Sweep
from finewhisper.evaluation.timing import Times, together
from finewhisper.model import Context
from finewhisper.scoring.config import detected_note
from finewhisper.scoring.rates import REPLICATIONS, SEED, Interval
from finewhisper.scoring.scores import Score
from finewhisper.terminal import table


@dataclass(frozen=True)
class Setting:
    """What the scores were made with, beside the configuration."""

    kind: str  #: of the model folder
    model_sha256: str
    engine: str  #: with its precision, such as "ctranslate2 int8"
    context: Context
    manifest_sha256: str
    versions: dict[str, str]
    detected: frozenset[str]  #: the languages by whose rules utterances are scored whose language nobody named

    def decoding(self, config: EvaluateConfig) -> str:
        """How text was made from audio, as in a signature."""
        return config.decoding(self.context.name, self.detected)

    def sign(self, config: EvaluateConfig, skipped: int) -> Sign:
        """What signs the scores of sets.

        Args:
            skipped: clips that were left out.
        """
        return partial(
            config.signature,
            context=self.context.name,
            detected=self.detected,
            engine=self.engine,
            manifest_sha256=self.manifest_sha256,
            skipped=skipped,
        )


@dataclass(frozen=True)
class Evaluation:
    """The value of ``finewhisper evaluate``."""

    config: EvaluateConfig
    setting: Setting
    groups: tuple[Group, ...]  #: all utterances, then each language by itself where there are several
    skipped: tuple[str, ...]  #: one sentence for each clip that was left out
    seconds: Seconds  #: that transcribing took, without loading of the model and reading of the sound that was kept from checking it
    baseline: Baseline | None
    created: datetime
    sweep: Sweep | None = None  #: of contexts, where it was asked for; the scores are those of the chosen one

    @property
    def everything(self) -> Group:
        return self.groups[0]

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.everything.rows

    @cached_property
    def before(self) -> tuple[Row, ...] | None:
        """The baseline's rows in the order of :attr:`rows`."""
        return None if self.baseline is None else tuple(self.baseline.rows[row.line] for row in self.rows)

    @cached_property
    def speakers(self) -> tuple[Group, ...]:
        """Each speaker by itself where the manifest names several."""
        return tuple(by_speaker(self.rows, self.before, self.config, self.setting.sign(self.config, len(self.skipped))))

    @cached_property
    def silences(self) -> tuple[Silence, ...]:
        """What was heard where nothing is said, in all such clips and in those of each label."""
        return tuple(silences(self.rows, self.before))

    @cached_property
    def times(self) -> Times | None:
        """How good the model's times are; None where none were asked for."""
        return together(row.times for row in self.rows)

    @cached_property
    def times_before(self) -> Times | None:
        """The same of the baseline."""
        return None if self.before is None else together(row.times for row in self.before)

    @property
    def model(self) -> Path:
        """The folder of the model."""
        return self.config.model[0]

    @property
    def manifest(self) -> Path:
        """The manifest that was scored."""
        return self.config.manifest[0]

    @property
    def title(self) -> str:
        return self.config.title or f"{self.model.resolve().name} on {self.manifest.name}"

    @property
    def scores(self) -> dict[str, Score]:
        """The set's scores by name, "WER" and "CER"; no WER where no language has words."""
        return named(self.everything)

    @property
    def report(self) -> Path:
        return self.config.output / "report.html"

    def signature(self, name: str) -> str:
        """What a score must be quoted with."""
        return self.scores[name].signature

    def json(self) -> dict[str, Any]:
        """The content of ``result.json``."""
        content: dict[str, Any] = {
            "title": self.title,
            "created": self.created.isoformat(timespec="seconds"),
            **_json(self.everything),
            "signature": {name.lower(): self.signature(name) for name in self.scores},
            "seconds": round(self.seconds, 2),
            "skipped": list(self.skipped),
            "languages": {group.name: _json(group) for group in self.groups[1:]},
            "speakers": {group.name: _json(group) for group in self.speakers},
            "model": {"path": str(self.model), "kind": self.setting.kind, "sha256": self.setting.model_sha256},
            "engine": self.setting.engine,
            "manifest": {"path": str(self.manifest), "sha256": self.setting.manifest_sha256},
            "bootstrap": {"replications": REPLICATIONS, "seed": SEED, "level": 0.95},
            "config": self.config.model_dump(mode="json", exclude={"names"}) | {"model": str(self.model), "manifest": str(self.manifest)},
            "versions": self.setting.versions,
        }
        if self.silences:
            everywhere, *labels = self.silences
            content["no_speech_report"] = everywhere.json() | {"labels": {one.name: one.json() for one in labels}}
        if self.times is not None:
            content["timestamps"] = self.times.json() | ({"baseline": self.times_before.json()} if self.times_before else {})
        if self.sweep is not None:
            content["context_sweep"] = self.sweep.json()
        if self.baseline is not None:
            content["baseline"] = {
                "path": str(self.baseline.path),
                "title": self.baseline.title,
                "model": self.baseline.model,
                "signature": dict(self.baseline.signature),
            }
        return content

    def _repr_html_(self) -> str:
        """The scores and their signatures, for notebooks."""
        rows = [cells for group in self.groups for cells in _cells(group.name, group)]
        headings = _HEADINGS[: None if self.baseline else -3]
        table = "".join(
            "<tr>" + "".join(f"<{kind}>{html.escape(cell)}</{kind}>" for cell in cells) + "</tr>"
            for kind, cells in [("th", headings), *(("td", row) for row in rows)]
        )
        signatures = "".join(f"<p><small>{html.escape(self.signature(name))}</small></p>" for name in self.scores)
        return f"<table><caption>{html.escape(self.title)}</caption>{table}</table>{signatures}"

    def __str__(self) -> str:
        printed = [(group.name, group) for group in self.groups]
        if len(self.speakers) <= MOST_SPEAKERS:
            printed += [(f"speaker {group.name}", group) for group in self.speakers]
        lines = table([_HEADINGS[: None if self.baseline else -3], *[cells for name, group in printed for cells in _cells(name, group)]])
        swept = self.sweep.printed() if self.sweep else []
        more = [rows for rows in (silence.printed(self.silences), timing.printed(self.times, self.times_before), swept) if rows]
        lines += [line for rows in more for line in ["", *table(rows)]] + [""] * bool(more)
        lines += [self.sweep.conclusion] if self.sweep else []
        lines += [f"{len(self.skipped)} clips left out, listed in result.json"] if self.skipped else []
        unnamed = sum(row.language is None for row in self.rows)
        lines += [detected_note(unnamed, self.setting.detected)] if self.setting.detected else []
        lines += [self.signature(name) for name in self.scores]
        return "\n".join([*lines, f"report: {self.report}"])


def named(group: Group) -> dict[str, Score]:
    """A group's scores by name."""
    return {score.name: score for score in (group.words, group.characters) if score is not None}


#: More speakers are not printed, and folded in the report.
MOST_SPEAKERS = 20
_HEADINGS = ("", "utterances", "audio", "score", "%", "95 % interval", "sub", "del", "ins", "of", "baseline %", "change", "points")


def _cells(title: str, group: Group) -> list[tuple[str, ...]]:
    """A line of the printed table for each score."""
    found: list[tuple[str, ...]] = []
    for name, score in named(group).items():
        size = (title, str(len(group.rows)), f"{group.audio_s:.0f} s")
        rate = score.rate
        counts = (str(rate.substitutions), str(rate.deletions), str(rate.insertions), str(rate.reference_units))
        cells: tuple[str, ...] = (*size, name, f"{rate.percent:.2f}", _or_dash(score.interval), *counts)
        if score.before is not None:
            relative = "–" if score.relative is None else f"{score.relative:+.1f} %"
            cells = (*cells, f"{score.before.rate.percent:.2f}", relative, _or_dash(score.difference))
        found.append(cells)
    return found


def _or_dash(interval: Interval | None) -> str:
    return "–" if interval is None else str(interval)


def _json(group: Group) -> dict[str, Any]:
    return {
        "wer": None if group.words is None else group.words.json(),
        "cer": group.characters.json(),
        "normalize": group.normalizers,
        "utterances": len(group.rows),
        "no_speech": group.no_speech,
        "audio_s": round(group.audio_s, 2),
    }
