"""Scored utterances, and the scores of sets of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from finewhisper.audio import Seconds
from finewhisper.errors import UsageError
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.timing import Times, times
from finewhisper.language import LANGUAGES, scoring_languages
from finewhisper.manifest import Utterance
from finewhisper.metrics import ErrorRate, Interval, Unit, compare, difference, interval, total
from finewhisper.text import spelled
from finewhisper.transcript import UNSPACED, Transcript, written_language


@dataclass(frozen=True)
class Row:
    """One utterance: what was said, what was heard, and the errors between their normalised forms."""

    line: int  #: in the manifest, from 1
    id: str
    language: str | None  #: given by the manifest or --language; None: detected
    detected_language: str | None  #: what the model took it for where none was given
    speaker: str | None
    label: str | None  #: what is heard where nothing is said, such as "music"
    duration_s: Seconds
    reference: str
    hypothesis: str
    normalized_reference: str
    normalized_hypothesis: str
    words: ErrorRate | None  #: None for languages written without spaces
    characters: ErrorRate
    times: Times | None = None  #: None where none were asked for
    scored_as: str | None = None  #: the language by whose rules it is scored, where it was detected

    @property
    def spoken(self) -> str | None:
        """The language by whose rules the row is scored."""
        return self.language or self.scored_as

    def rate(self, unit: str = "auto") -> ErrorRate:
        """The rate that the row is judged by: words where there are any, unless characters are asked for."""
        return self.characters if self.words is None or unit == "character" else self.words


@dataclass(frozen=True)
class Score:
    """The rate of a set, how sure it is, and what it was in the baseline."""

    rate: ErrorRate
    interval: Interval | None  #: percent
    before: Score | None = None
    difference: Interval | None = None  #: this rate minus the baseline's, percentage points

    @property
    def relative(self) -> float | None:
        """Change against the baseline in percent of the baseline's rate; negative is better."""
        if self.before is None or not 0 < self.before.rate.percent < float("inf"):
            return None
        return 100.0 * (self.rate.percent / self.before.rate.percent - 1)

    def json(self) -> dict[str, Any]:
        """As in ``result.json``; null where a rate is not finite."""
        content: dict[str, Any] = {
            "percent": _finite(self.rate.percent),
            "errors": self.rate.errors,
            "substitutions": self.rate.substitutions,
            "deletions": self.rate.deletions,
            "insertions": self.rate.insertions,
            "reference_units": self.rate.reference_units,
            "interval": _pair(self.interval),
        }
        if self.before is not None:
            change = {"relative_change": _finite(self.relative), "difference_interval": _pair(self.difference)}
            content["baseline"] = self.before.json() | change
        return content


@dataclass(frozen=True)
class Group:
    """The scores of the utterances of one language, of one speaker, or of all."""

    name: str  #: the language, the speaker, or "all"
    rows: tuple[Row, ...]
    words: Score | None  #: over the rows whose language has words; None where there are none
    characters: Score
    normalizers: str  #: as in the signature

    @property
    def audio_s(self) -> Seconds:
        return sum(row.duration_s for row in self.rows)

    @property
    def no_speech(self) -> int:
        """Rows in which nothing is said."""
        return sum(not row.normalized_reference for row in self.rows)

    @property
    def wordless(self) -> int:
        """Rows in languages written without spaces."""
        return sum(row.words is None for row in self.rows)


def scored_as(utterances: Sequence[Utterance], heard: Sequence[Transcript], config: EvaluateConfig) -> list[str]:
    """The language by whose rules each utterance is scored: its own, else what was detected."""
    given = [config.language or utterance.language for utterance in utterances]
    return scoring_languages(given, [(transcript.language, transcript.language_probability) for transcript in heard])


def score(
    utterances: Sequence[Utterance], heard: Sequence[Transcript], config: EvaluateConfig, rules: Sequence[str] | None = None
) -> list[Row]:
    """Compare each utterance with what a model heard.

    Args:
        rules: the language by whose rules each is scored; by default :func:`scored_as`.
    """
    languages = [config.language or utterance.language for utterance in utterances]
    rules = rules or scored_as(utterances, heard, config)
    texts = [(utterance.sentence, transcript.text) for utterance, transcript in zip(utterances, heard, strict=True)]
    compared = compare(texts, [written_language(language, config.task) for language in rules], config.normalizer)
    return [
        Row(
            line=utterance.line,
            id=utterance.id,
            language=language,
            detected_language=None if language else transcript.language,
            speaker=_text(utterance.extra.get("speaker")),
            label=_text(utterance.extra.get("label")),
            duration_s=utterance.duration_s or 0.0,
            reference=utterance.sentence,
            hypothesis=transcript.text,
            normalized_reference=pair.reference,
            normalized_hypothesis=pair.hypothesis,
            words=pair.words,
            characters=pair.characters,
            times=_times(utterance, transcript, rule, config) if config.timestamps else None,
            scored_as=None if language else rule,
        )
        for utterance, transcript, language, rule, pair in zip(utterances, heard, languages, rules, compared, strict=True)
    ]


def _times(utterance: Utterance, heard: Transcript, language: str, config: EvaluateConfig) -> Times:
    written = written_language(language, config.task)
    return times(utterance, heard, config.normalizer(written), spaced=written not in UNSPACED)


def require_unit(utterances: Sequence[Utterance], config: EvaluateConfig) -> None:
    """Refuse to count words where no language of the manifest has them, before any work is done."""
    languages = {written_language(config.language or utterance.language, config.task) for utterance in utterances}
    if config.unit == "word" and languages <= UNSPACED:
        raise UsageError(f"--unit word: {', '.join(sorted(filter(None, languages)))} is written without spaces; use --unit character")


def groups(rows: Sequence[Row], before: Sequence[Row] | None, config: EvaluateConfig) -> list[Group]:
    """All rows, then each language by itself where there are several.

    Args:
        before: the same utterances in the same order, heard by the baseline.
    """
    by_language = split(rows, before, lambda row: row.spoken)
    if len(by_language) == 1:
        return [_group(_name(rows[0].spoken), rows, before, config)]
    return [_group("all", rows, before, config), *[_group(_name(code), *part, config) for code, part in by_language.items()]]


def by_speaker(rows: Sequence[Row], before: Sequence[Row] | None, config: EvaluateConfig) -> list[Group]:
    """Each speaker by itself where the manifest names several; rows without a speaker are in no group."""
    named = {name: part for name, part in split(rows, before, lambda row: row.speaker).items() if name}
    return [_group(name, *part, config) for name, part in named.items()] if len(named) > 1 else []


def split(
    rows: Sequence[Row], before: Sequence[Row] | None, key: Callable[[Row], str | None]
) -> dict[str, tuple[list[Row], list[Row] | None]]:
    """The rows by a key of theirs, each set with the same rows of the baseline; first those without a key, as ""."""
    chosen: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        chosen.setdefault(key(row) or "", []).append(index)
    return {
        name: ([rows[index] for index in indices], None if before is None else [before[index] for index in indices])
        for name, indices in sorted(chosen.items())
    }


def _name(language: str | None) -> str:
    return LANGUAGES[language] if language else "language not given"


def _group(name: str, rows: Sequence[Row], before: Sequence[Row] | None, config: EvaluateConfig) -> Group:
    worded = [index for index, row in enumerate(rows) if row.words is not None]
    return Group(
        name,
        tuple(rows),
        _score(rows, before, worded, "word") if worded else None,
        _score(rows, before, range(len(rows)), "character"),
        normalizers({row.spoken for row in rows}, config),
    )


def normalizers(languages: Collection[str | None], config: EvaluateConfig) -> str:
    """The normalisers' steps, as in a signature."""
    return spelled(languages, lambda language: config.normalizer(written_language(language, config.task)))


def _score(rows: Sequence[Row], before: Sequence[Row] | None, chosen: Sequence[int], unit: Unit) -> Score:
    rates = [rows[index].rate(unit) for index in chosen]
    if before is None:
        return Score(total(rates, unit), interval(rates))
    earlier = [before[index].rate(unit) for index in chosen]
    base = Score(total(earlier, unit), interval(earlier))
    return Score(total(rates, unit), interval(rates), base, difference(earlier, rates))


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)


def _finite(value: float | None) -> float | None:
    return None if value is None or value == float("inf") else round(value, 4)


def _pair(found: Interval | None) -> list[float] | None:
    return None if found is None else [round(found.low, 4), round(found.high, 4)]
