"""The manifest: JSON lines, one utterance a line, in the form that Whisper-Finetune users already have.

::

    {"audio": {"path": "a.flac", "start_time": 1.5, "end_time": 4.0}, "sentence": "Hello.", "language": "en", "duration": 2.5,
     "sentences": [{"start": 0.0, "end": 2.5, "text": "Hello."}]}

Only ``audio`` (also as a plain string) and ``sentence`` are required. Times are seconds; those of ``sentences`` count from
``start_time``. Relative paths start at the manifest's folder. An empty ``sentence`` means no speech. Unknown keys are kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finewhisper import audio
from finewhisper.audio import Seconds, Waveform
from finewhisper.errors import AudioError, ManifestError, UsageError
from finewhisper.files import atomic_file
from finewhisper.vocabulary import language_code

_TOLERANCE_S = 0.05  # headers round; a slice may end this much after the audio


@dataclass(frozen=True)
class TimedSentence:
    """A phrase of an utterance, times in seconds from the utterance's own start."""

    start_s: Seconds
    end_s: Seconds
    text: str


@dataclass(frozen=True)
class Utterance:
    """One line of a manifest."""

    path: Path  #: the audio file
    sentence: str  #: what is said; empty where nothing is
    language: str | None = None  #: a code such as "zh", whatever the file spelt
    duration_s: Seconds | None = None  #: of the slice; None where the line does not say
    start_s: Seconds = 0.0  #: where the slice begins in the file
    end_s: Seconds | None = None  #: where it ends; None: the file's end
    sentences: tuple[TimedSentence, ...] | None = None  #: None: no times are known; empty: known to hold no speech
    extra: Mapping[str, Any] = field(default_factory=dict)  #: unknown keys, written back as they were
    line: int = 0  #: where it stood in its manifest, from 1; 0: made in memory

    @property
    def id(self) -> str:
        """The file's stem, with the slice where there is one."""
        return (
            self.path.stem
            if self.end_s is None and not self.start_s
            else f"{self.path.stem}@{self.start_s:g}-{'' if self.end_s is None else f'{self.end_s:g}'}"
        )

    def waveform(self) -> Waveform:
        """Decode the slice. Raises: AudioError."""
        return audio.read(self.path, self.start_s, self.end_s)

    def length_s(self) -> Seconds:
        """The slice's length: as stated, else from the times, else from the file's header. Raises: AudioError."""
        if self.duration_s is not None:
            return self.duration_s
        return (audio.duration(self.path) if self.end_s is None else self.end_s) - self.start_s


def read(path: Path) -> list[Utterance]:
    """Read a manifest.

    Raises:
        ManifestError: listing every line that cannot be used, each with file and line.
    """
    problems: list[str] = []
    utterances = []
    for number, row in _rows(path, problems):
        utterance = _parse(path, number, row, problems)
        if utterance is not None:
            utterances.append(utterance)
    if problems:
        raise ManifestError(f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}; correct or remove these lines", problems)
    if not utterances:
        raise ManifestError(f"{path}: holds no utterances; make a manifest with: finewhisper prepare")
    return utterances


def write(path: Path, utterances: Iterable[Utterance]) -> int:
    """Write a manifest, paths relative to its folder where the audio lies below it; return the number of lines."""
    count = 0
    base = path.parent.absolute()
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for utterance in utterances:
            stream.write(json.dumps(_row(utterance, base), ensure_ascii=False) + "\n")
            count += 1
    return count


def check(
    utterances: Iterable[Utterance],
    manifest: Path,
    *,
    count_tokens: Callable[[str], int] | None = None,
    max_tokens: int = 0,
    decode: bool = False,
) -> list[str]:
    """Look at every utterance's audio and text and report every problem, each beginning with ``manifest:line:``.

    Args:
        count_tokens: the model's tokenizer, where there is one, to find sentences that do not fit in ``max_tokens``.
        decode: read all samples, not only headers; finds files that are cut short.
    """
    problems = []
    for utterance in utterances:
        where = f"{manifest}:{utterance.line}: "
        try:
            length_s = audio.duration(utterance.path)
            if decode:
                utterance.waveform()
        except AudioError as error:
            problems.append(f"{where}{error}")
            continue
        if utterance.start_s >= length_s:
            problems.append(f"{where}start_time {utterance.start_s:g} s lies behind the end of {utterance.path} ({length_s:.2f} s)")
        elif utterance.end_s is not None and utterance.end_s > length_s + _TOLERANCE_S:
            problems.append(f"{where}end_time {utterance.end_s:g} s lies behind the end of {utterance.path} ({length_s:.2f} s)")
        length_s = (min(utterance.end_s, length_s) if utterance.end_s is not None else length_s) - utterance.start_s
        if length_s > audio.WINDOW_S + _TOLERANCE_S:
            problems.append(
                f"{where}is {length_s:.1f} s long, but Whisper hears {audio.WINDOW_S} s at once; split it with start_time and end_time"
            )
        if count_tokens is not None and (tokens := count_tokens(utterance.sentence)) > max_tokens:
            problems.append(f"{where}the sentence has {tokens} tokens, but only {max_tokens} fit beside the prompt; split the utterance")
    return problems


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines as JSON objects, tolerant of a byte-order mark, CRLF and blank lines."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest; make one with: finewhisper prepare") from None
    except IsADirectoryError:
        raise ManifestError(f"{path}: is a folder; give the .jsonl file in it") from None
    for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            problems.append(f"{path}:{number}: is not UTF-8 ({error.reason} at byte {error.start}); save the file as UTF-8")
        except ValueError as error:
            problems.append(f"{path}:{number}: is not JSON ({error})")
        else:
            if isinstance(row, dict):
                yield number, row
            else:
                problems.append(f'{path}:{number}: is {type(row).__name__}, not an object like {{"audio": …, "sentence": …}}')


class _Fields:
    """Takes typed values out of one row and collects what is wrong with it."""

    def __init__(self, row: dict[str, Any], where: str, problems: list[str]) -> None:
        self.row, self.where, self.problems = dict(row), where, problems

    def problem(self, text: str) -> None:
        self.problems.append(f"{self.where} {text}")

    def text(self, key: str, *, required: bool = False) -> str | None:
        value = self.row.pop(key, None)
        if isinstance(value, str) or (value is None and not required):
            return value
        self.problem(f"{key!r} must be text, not {value!r}" if value is not None else f"{key!r} is missing")
        return None

    def seconds(self, key: str) -> Seconds | None:
        value = self.row.pop(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
            self.problem(f"{key!r} must be seconds, 0 or more, not {value!r}")
            return None
        return float(value)


def _parse(manifest: Path, number: int, row: dict[str, Any], problems: list[str]) -> Utterance | None:
    before = len(problems)
    where = f"{manifest}:{number}:"
    fields = _Fields(row, where, problems)
    source = fields.row.pop("audio", None)
    location = _Fields({"path": source} if isinstance(source, str) else source if isinstance(source, dict) else {}, where, problems)
    if source is None or not isinstance(source, (str, dict)):
        fields.problem(f"'audio' must be a path or an object with one, not {source!r}" if source is not None else "'audio' is missing")
    path = location.text("path", required=isinstance(source, dict))
    start_s, end_s = location.seconds("start_time") or 0.0, location.seconds("end_time")
    if end_s is not None and end_s <= start_s:
        fields.problem(f"end_time {end_s:g} s is not after start_time {start_s:g} s")
    sentence = fields.text("sentence", required=True)
    language = _language(fields)
    sentences = _sentences(fields)
    duration_s = fields.seconds("duration")
    extra = fields.row | ({"audio": location.row} if location.row else {})
    if len(problems) > before:
        return None
    assert path is not None, "its absence was a problem"
    assert sentence is not None, "its absence was a problem"
    return Utterance(manifest.parent / path, sentence, language, duration_s, start_s, end_s, sentences, extra, number)


def _language(fields: _Fields) -> str | None:
    name = fields.text("language")
    if not name:
        return None
    try:
        return language_code(name)
    except UsageError as error:
        fields.problem(str(error))
        return None


def _sentences(fields: _Fields) -> tuple[TimedSentence, ...] | None:
    value = fields.row.pop("sentences", None)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        fields.problem(f"'sentences' must be a list of objects with start, end and text, not {value!r}")
        return None
    sentences = []
    for item in value:
        timed = _Fields(item, fields.where, fields.problems)
        start_s, end_s, text = timed.seconds("start"), timed.seconds("end"), timed.text("text", required=True)
        if start_s is None or end_s is None or text is None:
            if start_s is None and end_s is None and text is not None:
                fields.problem("an entry of 'sentences' has no start and end")
            continue
        if end_s < start_s:
            fields.problem(f"an entry of 'sentences' ends at {end_s:g} s, before it starts at {start_s:g} s")
        sentences.append(TimedSentence(start_s, end_s, text))
    return tuple(sentences)


def _row(utterance: Utterance, base: Path) -> dict[str, Any]:
    path = utterance.path.absolute()
    extra = dict(utterance.extra)
    location: dict[str, Any] = {"path": path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)}
    if utterance.start_s or utterance.end_s is not None:
        location["start_time"] = utterance.start_s
    if utterance.end_s is not None:
        location["end_time"] = utterance.end_s
    row: dict[str, Any] = {"audio": location | extra.pop("audio", {}), "sentence": utterance.sentence}
    if utterance.language is not None:
        row["language"] = utterance.language
    if utterance.duration_s is not None:
        row["duration"] = round(utterance.duration_s, 3)
    if utterance.sentences is not None:
        row["sentences"] = [{"start": timed.start_s, "end": timed.end_s, "text": timed.text} for timed in utterance.sentences]
    return row | extra
