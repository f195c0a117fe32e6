"""Tux Paint's spoken captions: the drawing program for children reads out what a rubber stamp shows.

Each stamp is a picture with ``NAME.txt`` (the caption in English on the first line, then lines such as ``bg.utf8=Сова.``) and
recordings ``NAME_desc_LANGUAGE.ogg`` (``NAME_desc.ogg`` is English). About 900 recordings each in Bulgarian, Catalan, French,
Romanian, Russian and Spanish, 650 in Belarusian and Greek, 300 in Danish, a few dozen in English, Dutch and Brazilian Portuguese;
one voice a language, 1.4 s on average. Source: Tux Paint (Bill Kendrick and contributors), Debian package
tuxpaint-stamps-default; licence GPL-2.

What is left out, and counted:

- recordings without a caption in their language: the stamp was renamed, or the caption was never written down;
- captions with digits, currency signs or brackets, which are not read as they are written ("10 цента ($.10)");
- the same recording under several stamps: once is enough, and twice would count twice in a score;
- captions of more than 25 characters a second of speech: the caption was rewritten and the recording kept, or the voice says one word
  of it. This is common in Catalan and Greek, and unknown in Bulgarian and Romanian.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from finewhisper.corpora import debian
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import Clip, Corpus, LeftOut, Shares
from finewhisper.corpora.splits import same_text
from finewhisper.errors import CorpusError, UsageError
from finewhisper.language import LANGUAGES, language_code
from finewhisper.manifest import Utterance

PACKAGE = "tuxpaint-stamps-default"
SHARES = Shares(test=0.18, dev=0.07)
MAX_CHARACTERS_PER_SECOND = 25.0

#: Where Debian, other systems' packages and hand-made installations put the stamps.
INSTALLED = (
    Path("/usr/share/tuxpaint/stamps"),
    Path("/usr/local/share/tuxpaint/stamps"),
    Path("/Applications/Tux Paint.app/Contents/Resources/share/tuxpaint/stamps"),
    Path("C:/Program Files/TuxPaint/data/stamps"),
)
_HELP = (
    "give a folder of Tux Paint's stamps as SOURCE, such as /usr/share/tuxpaint/stamps, or the Debian package "
    f"{PACKAGE}_*_all.deb; stamps for all systems are on tuxpaint.org"
)
#: One file, da.ogg.ogg, has its ending twice.
_RECORDING = re.compile(r"(?P<stamp>.+)_desc(?:_(?P<locale>[a-z]{2,3}(?:_[A-Z]{2})?(?:@[a-z]+)?))?(?:\.(?:ogg|wav))+")
_CAPTION = re.compile(r"(?P<locale>[A-Za-z_@]+)\.utf8=(?P<text>.*)")


@dataclass(frozen=True)
class _Recording:
    path: Path
    captions: Path  #: the stamp's text file, which may be missing
    locale: str  #: Tux Paint's name of the language, such as pt_BR


def fetch(config: PrepareConfig) -> Path:
    """The folder of stamps: as given, as installed, or from Debian's package, of which only what is needed is extracted.

    Raises:
        UsageError: no language was chosen.
        CorpusError: there are no stamps to be had; the message says where to point at.
    """
    if config.language is None:
        raise UsageError("--language: is required for tuxpaint; the captions are spoken in be, bg, ca, da, el, es, fr, ro and ru")
    source = config.source
    if source is None:
        installed = next((folder for folder in INSTALLED if any(_recordings(folder))), None)
        if installed is not None:
            return installed
        source = debian.package(PACKAGE, config.downloads, help_text=_HELP)
    if source.is_file():
        stamps = config.output / "stamps"
        debian.extract(source, stamps, wanted=_wanted(language_code(config.language)), help_text=_HELP)
        return stamps
    if not source.is_dir():
        raise CorpusError(f"{source}: no such file or folder; {_HELP}")
    return source


def read(stamps: Path, config: PrepareConfig) -> Corpus:
    """All usable captions of one language, split by text.

    Raises:
        CorpusError: the folder holds no recordings, or none of this language.
    """
    assert config.language is not None, "fetch requires it"
    locale = _locale(config.language, stamps)
    language = language_code(locale)
    left_out: list[LeftOut] = []
    clips = list(_captioned((item for item in _recordings(stamps) if item.locale == locale), language, left_out))
    clips = _without_repetitions(clips, left_out)
    if not clips:
        raise CorpusError(f"{stamps}: none of its {len(left_out)} recordings in {locale} has a usable caption; choose another --language")
    return Corpus(
        title=f"Tux Paint's spoken captions, {LANGUAGES[language]}",
        clips=clips,
        shares=SHARES,
        left_out=left_out,
        max_characters_per_second=MAX_CHARACTERS_PER_SECOND,
    )


def _recordings(stamps: Path) -> Iterator[_Recording]:
    """All recordings below a folder, in the order of their names."""
    for path in sorted(stamps.rglob("*_desc*")):
        match = _RECORDING.fullmatch(path.name)
        if match:
            yield _Recording(path, path.with_name(f"{match['stamp']}.txt"), match["locale"] or "en")


def _locale(language: str, stamps: Path) -> str:
    """Tux Paint's name of a language: itself, or the one variant that there is (pt is pt_BR)."""
    found = Counter(item.locale for item in _recordings(stamps))
    if not found:
        raise CorpusError(f"{stamps}: holds no spoken captions (files such as owl_desc_bg.ogg); {_HELP}")
    if language in found:
        return language
    code = language_code(language)
    variants = [locale for locale in found if locale == code or ("_" not in language and locale.startswith(f"{code}_"))]
    if len(variants) != 1:
        spoken = ", ".join(f"{locale} ({count})" for locale, count in sorted(found.items()))
        raise CorpusError(f"{stamps}: holds no captions spoken in {language!r}; --language can be one of {spoken}")
    return variants[0]


def _captions(path: Path) -> dict[str, str]:
    """A stamp's captions by locale. A variant such as ca@valencia has a caption of its own, which is not ca's."""
    try:
        first, *others = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except FileNotFoundError:
        return {}
    captions = {"en": first.strip()} if first.strip() else {}
    for line in others:
        match = _CAPTION.match(line)
        if match and match["text"].strip():
            captions[match["locale"]] = " ".join(unicodedata.normalize("NFC", match["text"]).split())
    return captions


def _captioned(recordings: Iterable[_Recording], language: str, left_out: list[LeftOut]) -> Iterator[Clip]:
    """Recordings with captions that are read as they are written."""
    for item in recordings:
        text = _captions(item.captions).get(item.locale, "")
        if not text:
            left_out.append(LeftOut(f"no caption in {item.locale}", item.path))
        elif not _read_as_written(text):
            left_out.append(LeftOut("digits, currency or brackets in the caption", item.path, text))
        else:
            yield Clip(Utterance(item.path, text, language))


def _read_as_written(text: str) -> bool:
    return not any(unicodedata.category(character)[0] in "NS" or character in "()[]{}" for character in text)


def _without_repetitions(clips: list[Clip], left_out: list[LeftOut]) -> list[Clip]:
    """Each recording once, under the stamp whose path comes first; none where stamps disagree about what it says."""
    same = defaultdict(list)
    for clip in clips:
        same[hashlib.sha256(clip.utterance.path.read_bytes()).digest()].append(clip)
    kept = []
    for group in same.values():
        agreed = len({same_text(clip.utterance.sentence) for clip in group}) == 1
        kept += group[:1] if agreed else []
        reason = "the same recording again" if agreed else "the same recording under another caption"
        left_out += [LeftOut(reason, clip.utterance.path, clip.utterance.sentence) for clip in (group[1:] if agreed else group)]
    return kept


def _wanted(language: str) -> Callable[[str], str | None]:
    """Which files of the Debian package are needed, and where they go: all captions, and the recordings of one language."""

    def target(name: str) -> str | None:
        _, found, relative = name.partition("/usr/share/tuxpaint/stamps/")
        match = _RECORDING.fullmatch(PurePosixPath(relative).name)
        spoken = match is not None and (match["locale"] or "en").partition("_")[0] == language
        return relative if found and (spoken or relative.endswith(".txt")) else None

    return target
