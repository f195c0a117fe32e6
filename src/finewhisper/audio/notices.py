"""What a user should know of a recording that can be used all the same."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from finewhisper.audio.constants import SAMPLE_RATE, Seconds, Waveform
from finewhisper.errors import CutShortError

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


def too_quiet(highest: float) -> str | None:
    """What to say of a recording whose highest sample is ``highest``, of 1; None where it is loud enough."""
    if highest == 0:
        return "is digital silence: every sample is zero"
    return f"is hardly audible: its highest peak is {20 * math.log10(highest):.0f} dB of full scale" if highest < _QUIET else None


def quiet(highest: float) -> list[Notice]:
    """That there is hardly anything to hear, where that is so."""
    text = too_quiet(highest)
    return [Notice("quiet", text)] if text else []


def peak(samples: npt.NDArray[np.float32]) -> float:
    """The highest absolute value; 0 where there is none."""
    return float(max(samples.max(), -samples.min())) if len(samples) else 0.0


def cut(error: CutShortError) -> Notice:
    """A file that is used up to the place where it breaks off."""
    if error.promised_s is None:
        text = f"is cut short: it breaks off in the middle of a page, the data end after {error.found_s:.2f} s"
    else:
        text = f"is cut short: its header promises {error.promised_s:.2f} s, the data end after {error.found_s:.2f} s"
    return Notice("cut", text, error.found_s)


def damaged(places: Sequence[Seconds]) -> Notice:
    """Packets that were skipped."""
    some = "1 damaged packet is skipped" if len(places) == 1 else f"{len(places)} damaged packets are skipped"
    return Notice("damaged", _at(some, places), places[0])


def pages(places: Sequence[Seconds]) -> Notice:
    """Damaged pages of an Ogg file whose packets were decoded all the same."""
    one = len(places) == 1
    some = "1 damaged page is read as far as possible" if one else f"{len(places)} damaged pages are read as far as possible"
    return Notice("damaged", _at(some, places), places[0])


def lost_pages() -> Notice:
    """Pages of an Ogg file that are missing at a place that nothing tells."""
    return Notice("damaged", "some of its pages are damaged or missing")


def holes(found: Sequence[tuple[Seconds, Seconds]]) -> Notice:
    """Times and lengths of stretches without packets."""
    places = _listed(f"{length_s:.2f} s at {at_s:.2f} s" for at_s, length_s in found)
    if len(found) == 1:
        text = f"a hole in its time stamps is read as silence: {places}"
    else:
        text = f"{len(found)} holes in its time stamps are read as silence: {places}"
    return Notice("hole", text, found[0][0])


def jumps(places: Sequence[Seconds]) -> Notice:
    """Time stamps that were not believed."""
    text = f"its time stamps jump to where the file cannot reach, at {places[0]:.2f} s; they are passed over"
    return Notice("times", text, places[0])


def joined(count: int) -> Notice:
    """Several files in one."""
    return Notice("joined", f"{count} files are joined in it, and read one after the other")


def tracks(listed: Sequence[str], read: int) -> Notice:
    """Audio tracks, of which one was read."""
    text = "has {count} audio tracks: {listed}; {read} is read (transcribe --track takes another)"
    return Notice("track", text.format(count=len(listed), listed=", ".join(listed), read=read))


def of_samples(opposed: bool, bits: int | None) -> list[Notice]:
    """What was done to samples: the first of two channels in opposite phase was taken, integers of a size were scaled."""
    found = []
    if opposed:
        found.append(Notice("phase", "its two channels are in opposite phase, and their mean is silence: the first one is read alone"))
    if bits is not None:
        found.append(Notice("scaled", f"its floating-point samples are as large as {bits}-bit integers, and are scaled to full scale"))
    return found


def later(notice: Notice, offset_s: Seconds) -> Notice:
    """A notice of one of several joined files, by the time of all of them."""
    if not offset_s or notice.at_s is None:
        return notice
    text = f"{notice} (in the part from {offset_s:.2f} s)"
    return Notice(notice.kind, text, notice.at_s + offset_s)


def counted(found: Iterable[tuple[Path, Notice]]) -> list[str]:
    """Of many clips, one line for each kind of notice: how many have it, and the first one."""
    clips = defaultdict[Kind, list[tuple[Path, Notice]]](list)
    for path, notice in found:
        clips[notice.kind].append((path, notice))
    return [
        f"clips with {_COUNTED[kind]}: {len(some)}; the first is {path}: {notice}"
        for kind, some in clips.items()
        for path, notice in some[:1]
    ]


def _at(some: str, places: Sequence[Seconds]) -> str:
    return f"{some}, at {_listed(f'{at_s:.2f} s' for at_s in places)}"


def _listed(places: Iterable[str]) -> str:
    named = list(places)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return ", ".join(named[:_SHOWN]) + more
