"""What stands out in manifests though every line can be read: clips that are there twice, texts that are no speech, pace, blanks.

What is certainly wrong is refused by :mod:`finewhisper.manifest`; the same rules are here for whoever reports on a corpus. ``prepare``,
``finetune`` and ``evaluate`` tell what is found and go on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Literal

from finewhisper import label_rules
from finewhisper.audio import Seconds
from finewhisper.errors import AudioError
from finewhisper.files import sha256
from finewhisper.manifest import Utterance
from finewhisper.progress import note
from finewhisper.scoring.text import Normalizer

Level = Literal["refuse", "tell"]
#: Two texts are one where a listener could not tell them apart.
_plain = Normalizer(("lower", "punctuation", "no_spaces"))
_SHOWN = 5  # of one kind
_ENDLESS_S = 1e9
#: An overlap of two slices of one file that is more than how they were cut.
_OVERLAP_S = 0.1


@dataclass(frozen=True)
class Finding:
    """Something to tell a user about one line, or two."""

    kind: str  #: such as "duplicate"; findings of one kind are told together
    where: str  #: ``file:line``
    text: str  #: the end of a sentence that begins with ``where``
    level: Level = "tell"

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True)
class Named:
    """Utterances under the name of their manifest."""

    name: str  #: what begins a sentence about one of its lines, such as the file
    utterances: Sequence[Utterance]
    places: Mapping[int, str] = field(default_factory=dict)  #: by :func:`id` of an utterance, where it stood before

    def where(self, utterance: Utterance) -> str:
        if id(utterance) in self.places:
            return self.places[id(utterance)]
        return f"{self.name}:{utterance.line}" if utterance.line else f"{self.name}: {utterance.path.name}"


def of_labels(named: Named) -> list[Finding]:
    """Texts that are no speech, blanks, and phrases that say something else than their sentence."""
    found = []
    blank = [utterance for utterance in named.utterances if not utterance.sentence.strip()]
    if blank:
        count = f"{len(blank)} of {len(named.utterances)} utterances ha{'s' if len(blank) == 1 else 've'} no text and count as no speech"
        found.append(Finding("no speech", named.where(blank[0]), f"is empty; {count}"))
    for utterance in named.utterances:
        texts = (utterance.sentence, *(timed.text for timed in utterance.sentences or ()))
        odd = dict.fromkeys(oddity for text in texts for oddity in label_rules.oddities(text))
        found += [Finding("label", named.where(utterance), f"the text {oddity}") for oddity in odd]
        phrases = "".join(timed.text for timed in utterance.sentences or ())
        if utterance.sentences and _plain(phrases) != _plain(utterance.sentence):
            said = " ".join(timed.text.strip() for timed in utterance.sentences)
            text = f"'sentence' says {_short(utterance.sentence)}, but 'sentences' say {_short(said)}"
            found.append(Finding("two texts", named.where(utterance), text))
    return found


def of_pace(named: Named) -> list[Finding]:
    """Texts that nobody says in the time that their clips have."""
    found = []
    for utterance in named.utterances:
        try:
            heard_s = utterance.length_s()
        except AudioError:
            continue
        fault = label_rules.mismatch(utterance.sentence, heard_s)
        hurried = label_rules.hurried(utterance.sentence, heard_s)
        if fault:
            found.append(Finding("pace", named.where(utterance), fault, "refuse"))
        elif hurried:
            found.append(Finding("pace", named.where(utterance), hurried))
    return found


def of_doubles(*sets: Named) -> list[Finding]:
    """Clips that are there twice, in one set or in two of them, and clips that have two texts.

    Clips are one where they are the same slice of a file, whatever its name, or of files with the same content. Between sets, slices of
    one file that overlap are told too.
    """
    found = []
    groups: dict[tuple[str, Seconds, Seconds], list[tuple[Named, Utterance]]] = defaultdict(list)
    identity = _identities(utterance.path for named in sets for utterance in named.utterances)
    for named in sets:
        for utterance in named.utterances:
            end_s = utterance.end_s if utterance.end_s is not None else _ENDLESS_S
            groups[identity[utterance.path], utterance.start_s, end_s].append((named, utterance))
    for group in groups.values():
        first, *others = group
        for other in others:
            found.append(_double(first, other))
    return found + _overlaps(groups)


def of_set(named: Named) -> list[Finding]:
    """What stands out in one set by itself, doubles apart."""
    return [*of_labels(named), *of_pace(named)]


def tell(findings: Iterable[Finding]) -> None:
    """Print findings, those of one kind together, the first of each with their lines."""
    kinds: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        kinds[finding.kind].append(finding)
    for kind, items in kinds.items():
        shown = "\n".join(f"  {item}" for item in items[:_SHOWN])
        more = f"\n  … and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
        note(f"look at these lines ({kind}):\n{shown}{more}")


def _double(first: tuple[Named, Utterance], second: tuple[Named, Utterance]) -> Finding:
    (one_set, one), (other_set, other) = first, second
    same_text = _plain(one.sentence) == _plain(other.sentence)
    if one_set is not other_set:
        texts = "" if same_text else f", with another text ({_short(one.sentence)} there, {_short(other.sentence)} here)"
        return Finding("duplicate between sets", other_set.where(other), f"duplicate: the same clip as {one_set.where(one)}{texts}")
    if same_text:
        return Finding("duplicate", other_set.where(other), f"duplicate: the same clip and text as {one_set.where(one)}")
    texts = f"{_short(one.sentence)} there, {_short(other.sentence)} here"
    return Finding("two texts", other_set.where(other), f"duplicate: the same clip as {one_set.where(one)} with another text ({texts})")


def _overlaps(groups: Mapping[tuple[str, Seconds, Seconds], list[tuple[Named, Utterance]]]) -> list[Finding]:
    """Slices of one file in two sets that share sound without being equal."""
    slices: dict[str, list[tuple[Seconds, Seconds, Named, Utterance]]] = defaultdict(list)
    for (file, start_s, end_s), members in groups.items():
        one_of_each = {id(named): (named, utterance) for named, utterance in reversed(members)}
        slices[file] += [(start_s, end_s, named, utterance) for named, utterance in one_of_each.values()]
    found = []
    for pieces in slices.values():
        if len({id(named) for _, _, named, _ in pieces}) < 2:
            continue
        pieces.sort(key=lambda piece: piece[:2])
        latest: dict[int, tuple[Seconds, Seconds, Named, Utterance]] = {}  # of each set, the slice that reaches furthest so far
        for start_s, end_s, named, utterance in pieces:
            for other_start_s, other_end_s, other_set, other in latest.values():
                same = (start_s, end_s) == (other_start_s, other_end_s)
                if other_set is not named and not same and min(end_s, other_end_s) - start_s > _OVERLAP_S:
                    text = f"duplicate: shares sound with {other_set.where(other)}, another slice of the same file"
                    found.append(Finding("duplicate between sets", named.where(utterance), text))
            if id(named) not in latest or latest[id(named)][1] < end_s:
                latest[id(named)] = (start_s, end_s, named, utterance)
    return found


def _identities(paths: Iterable[Path]) -> dict[Path, str]:
    """A name for each file that files of the same content share; only files of equal size are read."""
    files = list(dict.fromkeys(paths))
    sizes: dict[int, list[Path]] = defaultdict(list)
    names = {}
    for path in files:
        try:
            names[path] = str(path.resolve())
            sizes[path.stat().st_size].append(path)
        except OSError:
            names[path] = str(path)
    digest = cache(sha256)
    for alike in sizes.values():
        if len({names[path] for path in alike}) > 1:
            ends: dict[bytes, list[Path]] = defaultdict(list)
            for path in alike:
                ends[_middle(path)].append(path)
            for same in ends.values():
                if len({names[path] for path in same}) > 1:
                    names |= {path: digest(path) for path in same}
    return names


def _middle(path: Path) -> bytes:
    """A piece of a file in which recordings of equal size differ."""
    try:
        with path.open("rb") as stream:
            stream.seek(path.stat().st_size // 2)
            return stream.read(4096)
    except OSError:
        return str(path).encode(errors="replace")


def _same(flag: str, path: Path, other_flag: str, other: Path) -> Finding | None:
    """That two options were given one manifest, or two with the same content."""
    if path.samefile(other):
        return Finding("duplicate between sets", f"{flag} {path}", f"duplicate: the same file as {other_flag}")
    if path.stat().st_size == other.stat().st_size and sha256(path) == sha256(other):
        return Finding("duplicate between sets", f"{flag} {path}", f"duplicate: the same content as {other_flag} {other}")
    return None


def of_files(*given: tuple[str, Path]) -> list[Finding]:
    """Manifests that were given twice, each with the flag that it was given by."""
    pairs = (_same(flag, path, other_flag, other) for (other_flag, other), (flag, path) in combinations(given, 2))
    return [finding for finding in pairs if finding is not None]


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}…")
