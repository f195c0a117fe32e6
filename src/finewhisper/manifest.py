"""The manifest: JSON lines, one utterance a line, in the form that Whisper-Finetune users already have.

::

    {"audio": {"path": "a.flac", "start_time": 1.5, "end_time": 4.0}, "sentence": "Hello.", "language": "en", "duration": 2.5,
     "sentences": [{"start": 0.0, "end": 2.5, "text": "Hello."}]}

Only ``audio`` (also as a plain string) and ``sentence`` are required. Times are seconds; those of ``sentences`` count from
``start_time``. Relative paths start at the manifest's folder, or at the working folder where only that leads to a file. An empty
``sentence`` means no speech; a line with ``sentences`` alone says these. Unknown keys are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from finewhisper import audio, json_rows, label_rules
from finewhisper.audio import ROUNDING_S, Seconds, Waveform
from finewhisper.errors import AudioError, CutShortError, ManifestError, UsageError
from finewhisper.files import atomic_file, given_bytes, is_path, present
from finewhisper.language import spoken_language
from finewhisper.progress import in_threads, note, track
from finewhisper.transcript import joint

_ENDLESS_S = 1e9  # thirty years; NaN is not below it either
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]*)?|\.[0-9]+")
_WRONG_DURATION_S = 0.25  # a stated duration this far from the audio is a mistake; less is a codec's padding


@dataclass(frozen=True)
class TimedSentence:
    """A phrase of an utterance, times in seconds from the utterance's own start."""

    start_s: Seconds
    end_s: Seconds
    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)  #: unknown keys, written back as they were


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


def read(path: Path | str) -> list[Utterance]:
    """Read a manifest.

    Raises:
        ManifestError: listing every line that cannot be used, each with file and line.
    """
    utterances, problems = scan(Path(path))
    if problems:
        raise ManifestError(f"{path}: {len(problems)} problem{'s' * (len(problems) > 1)}; correct or remove these lines", problems)
    if not utterances:
        raise ManifestError(f"{path}: holds no utterances; make a manifest with: finewhisper prepare")
    return utterances


def scan(path: Path) -> tuple[list[Utterance], list[str]]:
    """As :func:`read`, but hand over the lines that can be used together with what is wrong with the others.

    Raises:
        ManifestError: the file cannot be read at all.
    """
    problems: list[str] = []
    files = Files(path.parent)
    parsed = [_parse(path, number, row, problems, files) for number, row in _rows(path, problems)]
    files.tell(path)
    return [utterance for utterance in parsed if utterance is not None], problems


class Files:
    """Where the paths of a manifest or table lead: from its folder, else from the working folder, as upstream's manifests are meant."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._elsewhere = 0

    def find(self, *names: str) -> Path | None:
        """The first file there is: names in any Unicode normal form, and with backslashes for slashes where only that leads to one."""
        spelt = list(dict.fromkeys((*names, *(name.replace("\\", "/") for name in names))))
        beside = self._first(self.folder, spelt)
        if beside is not None:
            return beside
        elsewhere = self._first(Path(), spelt)
        self._elsewhere += elsewhere is not None
        return elsewhere

    def _first(self, folder: Path, names: Iterable[str]) -> Path | None:
        found = (present(folder / name) for name in names)
        return next((place for place in found if place is not None and not place.is_dir()), None)

    def tell(self, source: Path) -> None:
        """Say how many paths were found from the working folder only."""
        if self._elsewhere:
            count = f"{self._elsewhere} path{'s' * (self._elsewhere > 1)}"
            note(f"{source}: {count} found from the working folder, not from the manifest's own, from which paths start otherwise")


def write(path: Path | str, utterances: Iterable[Utterance]) -> int:
    """Write a manifest, paths relative to its folder where the audio lies below it; return the number of lines."""
    path, count = Path(path), 0
    base = _plain(path.parent)
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for utterance in utterances:
            row = _row(utterance, base)
            line = json.dumps(row, ensure_ascii=False)
            stream.write((line if _is_unicode(line) else json.dumps(row)) + "\n")  # a file name that is not UTF-8 can only be escaped
            count += 1
    return count


def check(
    utterances: Iterable[Utterance],
    manifest: Path,
    *,
    count_tokens: Callable[[Utterance], int] | None = None,
    max_tokens: int = 0,
    decode: bool = False,
) -> list[str]:
    """Look at every utterance's audio and text and report every problem, each beginning with ``manifest:line:``.

    Args:
        count_tokens: how many tokens a line's text and times have, where a model is known, to find those above ``max_tokens``.
        decode: read all samples, not only headers; finds files that are cut short.
    """
    rows = list(utterances)
    lengths = durations(utterance.path for utterance in rows)
    decoded = track(in_threads(decoding_fault, rows), "Decoding", len(rows), "clip") if decode else [None] * len(rows)
    problems = []
    for utterance, broken in zip(rows, decoded, strict=True):
        found = faults(utterance, lengths[utterance.path])
        found += [broken] if broken and not found else []
        if count_tokens is not None and (tokens := count_tokens(utterance)) > max_tokens:
            found.append(f"the sentence has {tokens} tokens, but only {max_tokens} fit beside the prompt; split the utterance")
        problems += [f"{manifest}:{utterance.line}: {problem}" for problem in found]
    return problems


def durations(paths: Iterable[Path]) -> dict[Path, Seconds | AudioError]:
    """The length of each file, once however many utterances it holds, or what is wrong with it; in parallel, with a bar."""
    files = list(dict.fromkeys(paths))
    return dict(zip(files, track(in_threads(_duration, files), "Reading headers", len(files), "file"), strict=True))


def faults(utterance: Utterance, length_s: Seconds | AudioError) -> list[str]:
    """What is wrong with an utterance, given its file's length: each a sentence without file and line."""
    if isinstance(length_s, CutShortError) and utterance.end_s is not None and utterance.end_s <= length_s.found_s + ROUNDING_S:
        length_s = length_s.found_s  # the slice lies before the place where the file breaks off
    if isinstance(length_s, AudioError):
        return [str(length_s)]
    if utterance.start_s >= length_s:
        return [f"start_time {utterance.start_s:g} s lies behind the end of {utterance.path} ({length_s:.2f} s)"]
    problems = []
    if utterance.end_s is not None and utterance.end_s > length_s + ROUNDING_S:
        problems.append(f"end_time {utterance.end_s:g} s lies behind the end of {utterance.path} ({length_s:.2f} s)")
    heard_s = (length_s if utterance.end_s is None else min(utterance.end_s, length_s)) - utterance.start_s
    if heard_s > audio.WINDOW_S + ROUNDING_S:
        problems.append(f"is {heard_s:.1f} s long, but Whisper hears {audio.WINDOW_S} s at once; split it with start_time and end_time")
    if utterance.duration_s is not None and abs(utterance.duration_s - heard_s) > _WRONG_DURATION_S:
        problems.append(f"'duration' says {utterance.duration_s:g} s, but it is {heard_s:.2f} s; correct it or leave it out")
    if utterance.sentences and (last_s := max(timed.end_s for timed in utterance.sentences)) > heard_s + _WRONG_DURATION_S:
        problems.append(
            f"an entry of 'sentences' ends at {last_s:g} s, after the utterance does ({heard_s:.2f} s); times count from start_time"
        )
    mismatch = label_rules.mismatch(utterance.sentence, heard_s)
    return problems + ([mismatch] if mismatch else []) + _order_faults(utterance.sentences or ())


def _order_faults(sentences: Sequence[TimedSentence]) -> list[str]:
    """Times that take no time or go back, which a model would learn to write."""
    empty = [timed.start_s for timed in sentences if timed.end_s == timed.start_s]
    back = [(one.end_s, two.start_s) for one, two in pairwise(sentences) if two.start_s < one.end_s - ROUNDING_S]
    return [f"an entry of 'sentences' begins and ends at {at_s:g} s; correct one of its times" for at_s in empty] + [
        f"an entry of 'sentences' begins at {begin_s:g} s, before the one above ends ({end_s:g} s); put them in order, without overlaps"
        for end_s, begin_s in back
    ]


def _duration(path: Path) -> Seconds | AudioError:
    try:
        return audio.duration(path)
    except AudioError as error:
        return error


def decoding_fault(utterance: Utterance) -> str | None:
    """What is wrong with an utterance's samples, found by decoding all of them."""
    try:
        waveform = utterance.waveform()
    except AudioError as error:
        return str(error)
    return unheard(utterance, waveform)


def unheard(utterance: Utterance, waveform: Waveform) -> str | None:
    """That nothing can be heard where a sentence is said to be."""
    if not utterance.sentence.strip() or not len(waveform):
        return None
    reason = audio.unheard(waveform)
    return f"{utterance.path}: {reason}, but has a sentence; correct the clip or leave the sentence empty" if reason else None


def _rows(path: Path, problems: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects; what is wrong with other lines is collected."""
    try:
        raw = given_bytes(path)
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest; make one with: finewhisper prepare") from None
    except IsADirectoryError:
        raise ManifestError(f"{path}: is a folder; give the .jsonl file in it") from None
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    for number, row in json_rows.rows(raw):
        if isinstance(row, str):
            problems.append(f"{path}:{number}: {row}")
        else:
            yield number, row


def halves(row: Mapping[str, Any]) -> list[str]:
    """The keys of a row under which half a character stands."""
    return [key for key, value in row.items() if not _is_unicode(json.dumps({key: value}, ensure_ascii=False))]


def _is_unicode(text: str) -> bool:
    """False for half of a surrogate pair, which JSON can spell and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class _Fields:
    """Takes typed values out of one row and collects what is wrong with it."""

    def __init__(self, row: dict[str, Any], where: str, problems: list[str]) -> None:
        self.row, self.where, self.problems = dict(row), where, problems

    def problem(self, text: str) -> None:
        self.problems.append(f"{self.where} {text}")

    def text(self, key: str, *, required: bool = False) -> str | None:
        value = self.row.pop(key, None)
        if isinstance(value, str) and (key == "path" or _is_unicode(value)):
            return value
        if isinstance(value, str):
            self.problem(f"{key!r} holds half a character (a lone surrogate): {value!r}; write the text again")
        elif value is not None:
            self.problem(f"{key!r} must be text, not {value!r}")
        elif required:
            self.problem(f"{key!r} is missing")
        return None

    def label(self, key: str, *, required: bool = False) -> str | None:
        """Text that is learnt or scored, in its composed form."""
        value = self.text(key, required=required)
        fault = None if value is None else label_rules.refusal(value)
        if fault:
            self.problem(f"{key!r} {fault}")
        return None if value is None else label_rules.composed(value)

    def seconds(self, key: str) -> Seconds | None:
        value = self.row.pop(key, None)
        if value is None:
            return None
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _ENDLESS_S:
            self.problem(f"{key!r} must be seconds, 0 or more, not {value!r}")
            return None
        return float(value)


def _parse(manifest: Path, number: int, row: dict[str, Any], problems: list[str], files: Files) -> Utterance | None:
    before = len(problems)
    where = f"{manifest}:{number}:"
    fields = _Fields(row, where, problems)
    source = fields.row.pop("audio", None)
    location = _Fields({"path": source} if isinstance(source, str) else source if isinstance(source, dict) else {}, where, problems)
    if source is None or not isinstance(source, (str, dict)):
        fields.problem(f"'audio' must be a path or an object with one, not {source!r}" if source is not None else "'audio' is missing")
    path = location.text("path", required=isinstance(source, dict))
    if path is not None and not is_path(path):
        fields.problem(f"{path!r} is no path of an audio file")
    start_s, end_s = location.seconds("start_time") or 0.0, location.seconds("end_time")
    if end_s is not None and end_s <= start_s:
        fields.problem(f"end_time {end_s:g} s is not after start_time {start_s:g} s")
    unsaid = fields.row.get("sentence") is None
    sentence = fields.label("sentence")
    language = _language(fields)
    sentences = _sentences(fields)
    if unsaid:
        sentence = _joined(sentences, language)
        if sentence is None and not row.get("sentences"):
            fields.problem("'sentence' is missing")
    if sentence is not None and not sentence.strip() and any(timed.text.strip() for timed in sentences or ()):
        fields.problem("'sentence' is empty, which means no speech, but 'sentences' has text")
    duration_s = fields.seconds("duration")
    extra = fields.row | ({"audio": location.row} if location.row else {})
    for key in halves(extra):
        fields.problem(f"{key!r} holds half a character (a lone surrogate); write the text again")
    if len(problems) > before:
        return None
    assert path is not None, "its absence was a problem"
    assert sentence is not None, "its absence was a problem"
    return Utterance(files.find(path) or manifest.parent / path, sentence, language, duration_s, start_s, end_s, sentences, extra, number)


def _language(fields: _Fields) -> str | None:
    name = fields.text("language")
    try:
        return spoken_language(name)
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
        start_s, end_s, text = timed.seconds("start"), timed.seconds("end"), timed.label("text", required=True)
        missing = [key for key in ("start", "end") if item.get(key) is None]
        if missing:
            fields.problem(f"an entry of 'sentences' has no {' and '.join(missing)}")
        if start_s is None or end_s is None or text is None:
            continue
        if end_s < start_s:
            fields.problem(f"an entry of 'sentences' ends at {end_s:g} s, before it starts at {start_s:g} s")
        sentences.append(TimedSentence(start_s, end_s, text, timed.row))
    return tuple(sentences)


def _joined(sentences: Sequence[TimedSentence] | None, language: str | None) -> str | None:
    """The sentence of a line that has only ``sentences``, as upstream's may be."""
    if sentences is None:
        return None
    texts = [timed.text.strip() for timed in sentences]
    return joint("".join(texts), language or "").join(filter(None, texts))


def _plain(path: Path) -> Path:
    """Absolute and without "..", so that what lies below a folder can be seen; symbolic links stay where the user put them."""
    return path.resolve() if ".." in path.parts else path.absolute()


def _row(utterance: Utterance, base: Path) -> dict[str, Any]:
    path = _plain(utterance.path)
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
        row["duration"] = utterance.duration_s
    if utterance.sentences is not None:
        row["sentences"] = [
            {"start": timed.start_s, "end": timed.end_s, "text": timed.text, **timed.extra} for timed in utterance.sentences
        ]
    return row | extra
