"""What can happen to a clip's sound: each effect is its options and what it does with them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from math import log10
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, WINDOW_SAMPLES, Seconds, Waveform
from finewhisper.config import Config
from finewhisper.manifest import Utterance
from finewhisper.training.augment import dsp, sounds
from finewhisper.training.augment.sounds import Random, Sound, SoundFolder


@dataclass(frozen=True)
class Clip:
    """An utterance on its way through the dsp."""

    utterance: Utterance
    waveform: Waveform
    lead_s: Seconds = 0.0  #: silence that was put before the speech
    applied: tuple[str, ...] = ()

    def sounding(self, waveform: Waveform, effect: str) -> Clip:
        """The same moments in another sound."""
        return replace(self, waveform=waveform, applied=(*self.applied, effect))

    def moved(self, waveform: Waveform, effect: str, *, factor: float = 1.0, shift_s: Seconds = 0.0) -> Clip:
        """What was heard at ``t`` is heard at ``t / factor + shift_s``; unchanged where the clip would grow past 30 s."""
        if len(waveform) > max(WINDOW_SAMPLES, len(self.waveform)):
            return self
        length_s = len(waveform) / SAMPLE_RATE
        timed = self.utterance.sentences
        if timed is not None:
            places = [[min(time_s / factor + shift_s, length_s) for time_s in (one.start_s, one.end_s)] for one in timed]
            timed = tuple(replace(one, start_s=start_s, end_s=end_s) for one, (start_s, end_s) in zip(timed, places, strict=True))
        utterance = replace(self.utterance, sentences=timed, duration_s=length_s)
        return replace(self.sounding(waveform, effect), utterance=utterance, lead_s=self.lead_s / factor + shift_s)


def _within(low: float, high: float) -> BeforeValidator:
    """For a range of values: two numbers, the lower first, within what makes sense."""

    def check(value: Any) -> Any:
        pair = isinstance(value, (list, tuple)) and len(value) == 2 and all(isinstance(bound, (int, float)) for bound in value)
        if pair and low <= value[0] <= value[1] <= high:
            return value
        raise ValueError(f"must be two numbers from {low:g} to {high:g} in brackets, the lower one first, not {value!r}")

    return BeforeValidator(check)


class Effect(Config):
    """Something that happens to some of the clips."""

    probability: float = Field(0.0, ge=0, le=1)
    """Share of the clips that it happens to; 0: none."""

    @model_validator(mode="after")
    def _deliberate(self) -> Effect:
        if self.model_fields_set and "probability" not in self.model_fields_set:
            raise ValueError("has no probability, so it would never happen; add one, such as probability: 0.5")
        return self


class SoundEffect(Effect):
    """An effect on the waveform."""

    @abstractmethod
    def apply(self, clip: Clip, rng: Random) -> Clip:
        """The clip with the effect, its values drawn from ``rng``; the clip itself where the effect cannot be had."""


class Speed(SoundEffect):
    """Faster or slower, and with it higher or lower (Ko et al. 2015)."""

    factor: Annotated[tuple[float, float], _within(0.5, 2)] = (0.9, 1.1)
    """Range of the speed; 1.1 is a tenth faster."""

    def apply(self, clip: Clip, rng: Random) -> Clip:
        factor = rng.uniform(*self.factor)
        return clip.moved(dsp.change_speed(clip.waveform, factor), f"speed {factor:.3f}", factor=factor)


class FolderEffect(SoundEffect):
    """An effect that needs recordings."""

    folder: Path | None = None
    """Folder of recordings, searched with the folders in it; a relative path starts at the YAML file."""

    @model_validator(mode="after")
    def _has_folder(self) -> FolderEffect:
        if self.probability and self.folder is None:
            raise ValueError("has no folder; name one with recordings, or set probability: 0")
        return self

    @abstractmethod
    def files(self) -> SoundFolder:
        """What is in the folder."""

    def choice(self, rng: Random) -> Sound:
        """One of the recordings."""
        found = self.files().sounds
        return found[int(rng.integers(len(found)))]


class Reverb(FolderEffect):
    """The echoes of a room, from its impulse response."""

    def files(self) -> SoundFolder:
        return sounds.rooms(self.folder or Path())

    def apply(self, clip: Clip, rng: Random) -> Clip:
        room = self.choice(rng).path
        return clip.sounding(dsp.reverberate(clip.waveform, sounds.response(room)), f"reverb {room.name}")


class Shift(SoundEffect):
    """Silence before the speech, so that it does not always begin at once."""

    seconds: Annotated[tuple[float, float], _within(0, WINDOW_S)] = (0.0, 0.5)
    """Range of the silence, seconds."""

    def apply(self, clip: Clip, rng: Random) -> Clip:
        silence_s = round(rng.uniform(*self.seconds) * SAMPLE_RATE) / SAMPLE_RATE
        return clip.moved(dsp.delay(clip.waveform, silence_s), f"shift {silence_s:.2f} s", shift_s=silence_s)


class Noise(FolderEffect):
    """A random stretch of a random recording, mixed in; never to a clip that is silent itself, beside which no level is right."""

    snr_db: Annotated[tuple[float, float], _within(-20, 100)] = (5.0, 30.0)
    """Range of the signal-to-noise ratio, decibels: mean power of the clip over that of the noise."""

    def files(self) -> SoundFolder:
        return sounds.noises(self.folder or Path())

    def apply(self, clip: Clip, rng: Random) -> Clip:
        sound, snr_db = self.choice(rng), rng.uniform(*self.snr_db)
        noise = sounds.stretch(sound, len(clip.waveform), rng)
        speech_power = dsp.power(clip.waveform[round(clip.lead_s * SAMPLE_RATE) :])
        if not speech_power or not dsp.power(noise):
            return clip
        return clip.sounding(dsp.add_noise(clip.waveform, noise, snr_db, speech_power), f"noise {sound.path.name} at {snr_db:.1f} dB")


class Resample(SoundEffect):
    """A line that carries less than Whisper hears, such as a telephone's."""

    rate_hz: tuple[Annotated[int, Field(ge=2000, lt=SAMPLE_RATE)], ...] = Field((8000,), min_length=1)
    """Sampling rates to choose from, hertz; nothing above half of it is left."""

    def apply(self, clip: Clip, rng: Random) -> Clip:
        rate_hz = int(rng.choice(self.rate_hz))
        return clip.sounding(dsp.limit_band(clip.waveform, rate_hz), f"resample {rate_hz} Hz")


class Volume(SoundEffect):
    """Louder or quieter, but never so loud that it is clipped."""

    gain_db: Annotated[tuple[float, float], _within(-60, 60)] = (-15.0, 15.0)
    """Range of the gain, decibels."""

    def apply(self, clip: Clip, rng: Random) -> Clip:
        gain_db, loudest = rng.uniform(*self.gain_db), dsp.peak(clip.waveform)
        if not loudest:
            return clip
        gain_db = min(gain_db, -20 * log10(loudest))
        return clip.sounding(dsp.amplify(clip.waveform, gain_db), f"volume {gain_db:+.1f} dB")
