"""What a user should know of a recording that can be used all the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Notice:
    """One sentence without the file's name, and where the first place is that it speaks of.

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


def peak(samples: npt.NDArray[np.float32]) -> float:
    """The highest absolute value; 0 where there is none."""
    return float(max(samples.max(), -samples.min())) if len(samples) else 0.0


def cut(error: CutShortError, name: str) -> Notice:
    """A file that is used up to the place where it breaks off."""
    return Notice("cut", str(error).removeprefix(f"{name}: ").partition(";")[0], error.found_s)


def damaged(places: Sequence[Seconds]) -> Notice:
    """Packets that were skipped."""
    some = "1 damaged packet is skipped" if len(places) == 1 else f"{len(places)} damaged packets are skipped"
    return Notice("damaged", f"{some}, at {_listed(f'{at_s:.2f} s' for at_s in places)}", places[0])


def pages(places: Sequence[Seconds]) -> Notice:
    """Damaged pages of an Ogg file whose packets were decoded all the same."""
    some = "1 damaged page is" if len(places) == 1 else f"{len(places)} damaged pages are"
    return Notice("damaged", f"{some} read as far as possible, at {_listed(f'{at_s:.2f} s' for at_s in places)}", places[0])


def holes(found: Sequence[tuple[Seconds, Seconds]]) -> Notice:
    """Times and lengths of stretches without packets."""
    some = "a hole in its time stamps is" if len(found) == 1 else f"{len(found)} holes in its time stamps are"
    places = _listed(f"{length_s:.2f} s at {at_s:.2f} s" for at_s, length_s in found)
    return Notice("hole", f"{some} read as silence: {places}", found[0][0])


def of_samples(opposed: bool, bits: int | None) -> list[Notice]:
    """What was done to samples: the first of two channels in opposite phase was taken, integers of a size were scaled."""
    found = []
    if opposed:
        found.append(Notice("phase", "its two channels are in opposite phase, and their mean is silence: the first one is read alone"))
    if bits is not None:
        found.append(Notice("scaled", f"its floating-point samples are as large as {bits}-bit integers, and are scaled to full scale"))
    return found


def _listed(places: Iterable[str]) -> str:
    named = list(places)
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return ", ".join(named[:_SHOWN]) + more
