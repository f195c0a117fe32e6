"""Scored utterances, and the scores of sets of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from finewhisper.audio import Seconds
from finewhisper.errors import UsageError
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.timing import Times, times
from finewhisper.language import LANGUAGES
from finewhisper.manifest import Utterance
from finewhisper.scoring.rates import ErrorRate, Unit
from finewhisper.scoring.scores import Score
from finewhisper.scoring.sets import SpeechSet, compare_heard
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


def score(speech: SpeechSet, heard: Sequence[Transcript], config: EvaluateConfig) -> list[Row]:
    """Compare each utterance with what a model heard, by the rules that the set is scored by."""
    settled = speech.settle(heard)
    compared = compare_heard(settled, heard, config.task, config.normalizer)
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
        for utterance, transcript, language, rule, pair in zip(
            speech.utterances, heard, speech.languages, settled.settled, compared, strict=True
        )
    ]


def _times(utterance: Utterance, heard: Transcript, language: str, config: EvaluateConfig) -> Times:
    written = written_language(language, config.task)
    return times(utterance, heard, config.normalizer(written), spaced=written not in UNSPACED)


def require_unit(speech: SpeechSet, config: EvaluateConfig) -> None:
    """Refuse to count words where no language of the set has them, before any work is done. Raises: UsageError."""
    languages = {written_language(language, config.task) for language in speech.languages}
    if config.unit == "word" and languages <= UNSPACED:
        raise UsageError(f"--unit word: {', '.join(sorted(filter(None, languages)))} is written without spaces; use --unit character")


#: Signs the score of a set, given its unit and the steps of its normalisers.
Sign = Callable[[Unit, str], str]


def groups(rows: Sequence[Row], before: Sequence[Row] | None, config: EvaluateConfig, sign: Sign) -> list[Group]:
    """All rows, then each language by itself where there are several.

    Args:
        before: the same utterances in the same order, heard by the baseline.
    """
    by_language = split(rows, before, lambda row: row.spoken)
    if len(by_language) == 1:
        return [_group(_name(rows[0].spoken), rows, before, config, sign)]
    languages = [_group(_name(code), *part, config, sign) for code, part in by_language.items()]
    return [_group("all", rows, before, config, sign), *languages]


def by_speaker(rows: Sequence[Row], before: Sequence[Row] | None, config: EvaluateConfig, sign: Sign) -> list[Group]:
    """Each speaker by itself where the manifest names several; rows without a speaker are in no group."""
    named = {name: part for name, part in split(rows, before, lambda row: row.speaker).items() if name}
    return [_group(name, *part, config, sign) for name, part in named.items()] if len(named) > 1 else []


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


def _group(name: str, rows: Sequence[Row], before: Sequence[Row] | None, config: EvaluateConfig, sign: Sign) -> Group:
    worded = [index for index, row in enumerate(rows) if row.words is not None]
    steps = config.normalizers({row.spoken for row in rows})

    def scored(chosen: Iterable[int], unit: Unit) -> Score:
        rates = [(rows[index].rate(unit), None if before is None else before[index].rate(unit)) for index in chosen]
        earlier = None if before is None else Score(unit, tuple(rate for _, rate in rates if rate is not None))
        return Score(unit, tuple(rate for rate, _ in rates), sign(unit, steps), earlier)

    return Group(name, tuple(rows), scored(worded, "word") if worded else None, scored(range(len(rows)), "character"), steps)


def _text(value: object) -> str | None:
    return None if value is None or value == "" else str(value)
