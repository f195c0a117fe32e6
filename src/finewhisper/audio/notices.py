"""What a user should know of a recording that can be used all the same."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from finewhisper.audio.constants import SAMPLE_RATE, Seconds, Waveform
from finewhisper.errors import CutShortError
from finewhisper.messages import local, say

#: cut: the header promises more; damaged: packets that cannot be decoded; hole: times at which there are no packets; times: time stamps
#: that were not believed; joined: several files in one; scaled: samples that were not within -1 … 1; phase: channels that cancel each
#: other; track: there are others; quiet: hardly anything or nothing to hear.
Kind = Literal["cut", "damaged", "hole", "times", "joined", "scaled", "phase", "track", "quiet"]

_QUIET = 1e-3  # -60 dB of full scale
_LEAST_S = 0.05  # less than any vowel
_SHOWN = 3  # places of one kind that a sentence names
#: What clips are said to have, where they are only counted.
_COUNTED: dict[Kind, str] = {
    "cut": "a cut end",
    "damaged": "damaged packets",
    "hole": "holes in their time stamps",
    "times": "time stamps that are passed over",
    "joined": "several files in one",
    "scaled": "samples that are scaled",
    "phase": "channels in opposite phase",
    "track": "several audio tracks",
    "quiet": "hardly anything to hear",
}


@dataclass(frozen=True)
class Notice:
    """One sentence without the file's name, in the reader's language, and where the first place is that it speaks of.

    Attributes:
        at_s: seconds from the beginning of the file; None: all of it.
    """

    kind: Kind
    text: str
    at_s: Seconds | None = None

    def __str__(self) -> str:
        return self.text


def unheard(waveform: Waveform) -> str | None:
    """Why nobody can hear speech in 16 kHz samples: a sentence without a subject; None where there may be some."""
    if len(waveform) < _LEAST_S * SAMPLE_RATE:
        return f"is {len(waveform) / SAMPLE_RATE:.3f} s long, too short for any word"
    return too_quiet(peak(waveform))


def too_quiet(highest: float, write: Callable[..., str] = str.format) -> str | None:
    """What to say of a recording whose highest sample is ``highest``, of 1; None where it is loud enough.

    Args:
        write: fills in a text's values.
    """
    if highest == 0:
        return write("is digital silence: every sample is zero")
    text = "is hardly audible: its highest peak is {peak_db:.0f} dB of full scale"
    return write(text, peak_db=20 * math.log10(highest)) if highest < _QUIET else None


def quiet(highest: float) -> list[Notice]:
    """That there is hardly anything to hear, where that is so."""
    text = too_quiet(highest, say)
    return [Notice("quiet", text)] if text else []


def peak(samples: npt.NDArray[np.float32]) -> float:
    """The highest absolute value; 0 where there is none."""
    return float(max(samples.max(), -samples.min())) if len(samples) else 0.0


def cut(error: CutShortError) -> Notice:
    """A file that is used up to the place where it breaks off."""
    if error.promised_s is None:
        text = say("is cut short: it breaks off in the middle of a page, the data end after {found_s:.2f} s", found_s=error.found_s)
    else:
        text = say(
            "is cut short: its header promises {promised_s:.2f} s, the data end after {found_s:.2f} s",
            promised_s=error.promised_s,
            found_s=error.found_s,
        )
    return Notice("cut", text, error.found_s)


def damaged(places: Sequence[Seconds]) -> Notice:
    """Packets that were skipped."""
    some = say("1 damaged packet is skipped") if len(places) == 1 else say("{count} damaged packets are skipped", count=len(places))
    return Notice("damaged", _at(some, places), places[0])


def pages(places: Sequence[Seconds]) -> Notice:
    """Damaged pages of an Ogg file whose packets were decoded all the same."""
    one = len(places) == 1
    some = (
        say("1 damaged page is read as far as possible")
        if one
        else say("{count} damaged pages are read as far as possible", count=len(places))
    )
    return Notice("damaged", _at(some, places), places[0])


def lost_pages() -> Notice:
    """Pages of an Ogg file that are missing at a place that nothing tells."""
    return Notice("damaged", say("some of its pages are damaged or missing"))


def holes(found: Sequence[tuple[Seconds, Seconds]]) -> Notice:
    """Times and lengths of stretches without packets."""
    places = _listed(say("{length_s:.2f} s at {at_s:.2f} s", length_s=length_s, at_s=at_s) for at_s, length_s in found)
    if len(found) == 1:
        text = say("a hole in its time stamps is read as silence: {places}", places=places)
    else:
        text = say("{count} holes in its time stamps are read as silence: {places}", count=len(found), places=places)
    return Notice("hole", text, found[0][0])


def jumps(places: Sequence[Seconds]) -> Notice:
    """Time stamps that were not believed."""
    text = say("its time stamps jump to where the file cannot reach, at {at_s:.2f} s; they are passed over", at_s=places[0])
    return Notice("times", text, places[0])


def joined(count: int) -> Notice:
    """Several files in one."""
    return Notice("joined", say("{count} files are joined in it, and read one after the other", count=count))


def tracks(listed: Sequence[str], read: int) -> Notice:
    """Audio tracks, of which one was read."""
    text = "has {count} audio tracks: {listed}; {read} is read (transcribe --track takes another)"
    return Notice("track", say(text, count=len(listed), listed=", ".join(listed), read=read))


def of_samples(opposed: bool, bits: int | None) -> list[Notice]:
    """What was done to samples: the first of two channels in opposite phase was taken, integers of a size were scaled."""
    found = []
    if opposed:
        found.append(Notice("phase", say("its two channels are in opposite phase, and their mean is silence: the first one is read alone")))
    if bits is not None:
        text = "its floating-point samples are as large as {bits}-bit integers, and are scaled to full scale"
        found.append(Notice("scaled", say(text, bits=bits)))
    return found


def later(notice: Notice, offset_s: Seconds) -> Notice:
    """A notice of one of several joined files, by the time of all of them."""
    if not offset_s or notice.at_s is None:
        return notice
    text = say("{notice} (in the part from {offset_s:.2f} s)", notice=notice, offset_s=offset_s)
    return Notice(notice.kind, text, notice.at_s + offset_s)


def counted(found: Iterable[tuple[Path, Notice]]) -> list[str]:
    """Of many clips, one line for each kind of notice: how many have it, and the first one."""
    clips = defaultdict[Kind, list[tuple[Path, Notice]]](list)
    for path, notice in found:
        clips[notice.kind].append((path, notice))
    return [
        say(
            "clips with {what}: {count}; the first is {path}: {notice}",
            what=local(_COUNTED[kind]),
            count=len(some),
            path=path,
            notice=notice,
        )
        for kind, some in clips.items()
        for path, notice in some[:1]
    ]


def _at(some: str, places: Sequence[Seconds]) -> str:
    return say("{some}, at {places}", some=some, places=_listed(say("{at_s:.2f} s", at_s=at_s) for at_s in places))


def _listed(places: Iterable[str]) -> str:
    named = list(places)
    more = say(" and {count} more", count=len(named) - _SHOWN) if len(named) > _SHOWN else ""
    return ", ".join(named[:_SHOWN]) + more
