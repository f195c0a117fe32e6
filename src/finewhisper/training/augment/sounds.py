"""Folders of noise and of room impulse responses: looked at once before training, read again and again during it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform
from finewhisper.errors import AudioError
from finewhisper.progress import in_threads
from finewhisper.training.augment.dsp import direct_path, peak
from finewhisper.transcription.files import find

Random = np.random.Generator

#: A longer noise is read stretch by stretch; a shorter one whole, and kept: 32 of them are at most 123 MB for each process.
KEPT_S = 60.0
_KEPT_NOISES = 32
_KEPT_RESPONSES = 256
_LONGEST_RESPONSE_S = 10.0  # a cathedral's; more is some other recording in the wrong folder


@dataclass(frozen=True)
class Sound:
    """A file in a folder, and how long it is."""

    path: Path
    length_s: Seconds


@dataclass(frozen=True)
class SoundFolder:
    """The files that can be used, sorted, and a sentence for everything that is wrong."""

    sounds: tuple[Sound, ...]
    problems: tuple[str, ...]


@lru_cache(maxsize=16)
def noises(folder: Path) -> SoundFolder:
    """Recordings below ``folder`` to mix in: their headers and first second are read."""
    return _look(folder, _noise_fault)


@lru_cache(maxsize=16)
def rooms(folder: Path) -> SoundFolder:
    """Impulse responses below ``folder``: all of them are read."""
    return _look(folder, _response_fault)


def forget() -> None:
    """Look again: the files may be others by now."""
    for cached in (noises, rooms, response, _whole):
        cached.cache_clear()


def stretch(noise: Sound, samples: int, rng: Random) -> Waveform:
    """``samples`` samples from a random place of a noise, from its beginning again where it is too short. Raises: AudioError."""
    if noise.length_s > KEPT_S:
        first_s = rng.uniform(0, noise.length_s - samples / SAMPLE_RATE)
        sound, first = audio.read(noise.path, first_s, first_s + samples / SAMPLE_RATE), 0
    else:
        sound = _whole(noise.path)
        first = int(rng.integers(len(sound) - samples + 1 if len(sound) >= samples else len(sound)))
    return np.take(sound, np.arange(first, first + samples), mode="wrap")


@lru_cache(maxsize=_KEPT_RESPONSES)
def response(room: Path) -> Waveform:
    """An impulse response from its direct path on. Raises: AudioError."""
    return direct_path(audio.read(room))


@lru_cache(maxsize=_KEPT_NOISES)
def _whole(path: Path) -> Waveform:
    return audio.read(path)


def _look(folder: Path, fault: Callable[[Sound], str | None]) -> SoundFolder:
    if not folder.is_dir():
        return SoundFolder((), (f"{folder}: no such folder; a relative path starts at the YAML file",))
    recordings, problems = find([str(folder)])
    found = list(in_threads(lambda path: _measured(path, fault), (recording.path for recording in recordings if recording.path)))
    return SoundFolder(
        tuple(item for item in found if isinstance(item, Sound)), (*problems, *(item for item in found if isinstance(item, str)))
    )


def _measured(path: Path, fault: Callable[[Sound], str | None]) -> Sound | str:
    """The sound, or what is wrong with it."""
    try:
        sound = Sound(path, audio.duration(path))
        return fault(sound) or sound
    except AudioError as error:
        return str(error)


def _noise_fault(noise: Sound) -> str | None:
    """Raises: AudioError."""
    audio.read(noise.path, 0.0, min(1.0, noise.length_s))
    return None


def _response_fault(room: Sound) -> str | None:
    """Raises: AudioError."""
    if room.length_s > _LONGEST_RESPONSE_S:
        return f"{room.path}: is {room.length_s:.1f} s long, which no impulse response is; keep other recordings in a folder of their own"
    return None if peak(audio.read(room.path)) else f"{room.path}: is silent; remove it"
