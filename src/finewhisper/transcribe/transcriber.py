"""Clips and files of any length through one engine, in batches of like windows, in bounded memory.

A clip of up to 30 s is one window; a longer one is cut where its speaker pauses. Windows of different clips share batches, and since an
engine's answer never depends on a window's neighbours, neither does a transcript.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, Seconds, Waveform
from finewhisper.engines.base import Engine
from finewhisper.transcribe.finishing import finish
from finewhisper.transcribe.windows import Window, plan
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.vocabulary import language_code

#: Called with the seconds of audio that have just been transcribed.
Progress = Callable[[Seconds], None]

#: How many full batches of 30 s windows are collected before they are sorted and decoded: with 16 windows a batch, 16 minutes of audio
#: (61 MB). More makes batches of like lengths, and so wastes fewer decoder steps; less gives results sooner.
_LOOK_AHEAD_BATCHES = 2
#: A language is taken from the first window that is this sure of it, else from the average of the first few windows.
_SURE, _LANGUAGE_WINDOWS = 0.5, 4


@dataclass
class _Clip:
    """A clip whose windows are being decoded."""

    waveform: Waveform
    windows: list[Window]
    language: str | None  #: a code; None: the engine detects it with the only window
    probability: float | None
    heard: list[Transcript | None] = field(default_factory=list)  #: one for each window, as they are decoded

    def __post_init__(self) -> None:
        self.heard = [None] * len(self.windows)

    def samples(self, index: int) -> Waveform:
        """The waveform of one window, shape (samples,)."""
        return self.waveform[self.windows[index].start : self.windows[index].end]

    @property
    def done(self) -> bool:
        return None not in self.heard


class Transcriber:
    """An engine with decoding options and a way to cut long audio.

    Args:
        engine: a loaded model.
        options: how to decode; ``options.batch_size`` windows are decoded together.
        vad: whether to look for speech first and decode only that; None: for clips longer than 30 s only.
    """

    def __init__(self, engine: Engine, options: DecodeOptions | None = None, *, vad: bool | None = None) -> None:
        self.engine, self.options, self.vad = engine, options or DecodeOptions(), vad

    def transcribe(self, waveform: Waveform, *, language: str | None = None, progress: Progress | None = None) -> Transcript:
        """Transcribe 16 kHz mono audio of any length; times count from its first sample.

        Args:
            language: a code or name for this clip, in place of the options'.
            progress: called after each batch with the seconds of audio that it covered; the calls add up to the clip's length.

        Raises:
            UsageError: the model cannot do what the options ask for.
            UnsupportedError: the engine cannot.
        """
        return next(self.transcribe_clips([waveform], languages=[language], progress=progress))

    def transcribe_clips(
        self, clips: Iterable[Waveform], *, languages: Iterable[str | None] | None = None, progress: Progress | None = None
    ) -> Iterator[Transcript]:
        """Transcribe many clips, yielding one transcript for each, in their order.

        Clips are read only a bounded stretch ahead, so ``clips`` may be a generator that decodes files one by one.

        Args:
            languages: one code or name for each clip, in place of the options'; None among them leaves the options'.
            progress: called after each batch with the seconds of audio that it covered.
        """
        waiting: deque[_Clip] = deque()  # clips not yet yielded
        pending: list[tuple[_Clip, int]] = []  # windows not yet decoded
        limit_s = _LOOK_AHEAD_BATCHES * self.options.batch_size * WINDOW_S
        spoken = itertools.repeat(None) if languages is None else languages
        for waveform, language in zip(clips, spoken, strict=languages is not None):
            clip = self._clip(waveform, language)
            waiting.append(clip)
            pending.extend((clip, index) for index in range(len(clip.windows)))
            if sum(clip.windows[index].duration_s for clip, index in pending) >= limit_s:
                self._decode(pending, progress)
                pending = []
                while waiting and waiting[0].done:
                    yield self._finished(waiting.popleft(), progress)
        self._decode(pending, progress)
        for clip in waiting:
            yield self._finished(clip, progress)

    def _clip(self, waveform: Waveform, language: str | None) -> _Clip:
        windows = plan(waveform, self.vad)
        chosen = language if language is not None else self.options.language
        clip = _Clip(waveform, windows, None if chosen is None else language_code(chosen), None)
        if chosen is None and len(windows) > 1:
            clip.language, clip.probability = self._detect(clip)
        return clip

    def _detect(self, clip: _Clip) -> tuple[str, float]:
        """The language of a long clip, decided once so that it cannot change from window to window."""
        totals: dict[str, float] = {}
        best = ("en", 0.0)
        for index in range(min(len(clip.windows), _LANGUAGE_WINDOWS)):
            for code, probability in self.engine.detect_languages([clip.samples(index)])[0].items():
                totals[code] = totals.get(code, 0.0) + probability
            code = max(totals, key=totals.__getitem__)
            best = (code, totals[code] / (index + 1))
            if best[1] >= _SURE:
                break
        return best

    def _decode(self, pending: list[tuple[_Clip, int]], progress: Progress | None) -> None:
        """Run the engine over windows of all clips, those of one language and like length together."""
        for language, group in _by_language(pending).items():
            options = replace(self.options, language=language)
            group.sort(key=lambda item: (self.engine.frames(item[0].samples(item[1])), item[0].windows[item[1]].duration_s), reverse=True)
            for batch in _batches(group, self.options.batch_size):
                heard = self.engine.transcribe([clip.samples(index) for clip, index in batch], options)
                for (clip, index), transcript in zip(batch, heard, strict=True):
                    clip.heard[index] = transcript
                if progress is not None:
                    progress(sum(clip.windows[index].duration_s for clip, index in batch))

    def _finished(self, clip: _Clip, progress: Progress | None) -> Transcript:
        """Put a clip's windows together, in the time of the clip."""
        duration_s = len(clip.waveform) / SAMPLE_RATE
        if progress is not None:  # what lies between the windows took no time, but belongs to the clip
            progress(duration_s - sum(window.duration_s for window in clip.windows))
        heard = [transcript for transcript in clip.heard if transcript is not None]
        segments = [
            segment.shifted(window.start_s)
            for window, transcript in zip(clip.windows, heard, strict=True)
            for segment in transcript.segments
        ]
        if len(heard) == 1 and clip.language is None:
            language, probability = heard[0].language, heard[0].language_probability
        else:
            language, probability = clip.language or "", clip.probability
        return Transcript(finish(segments, duration_s), language, duration_s, probability)


def _by_language(pending: list[tuple[_Clip, int]]) -> dict[str | None, list[tuple[_Clip, int]]]:
    groups: dict[str | None, list[tuple[_Clip, int]]] = {}
    for clip, index in pending:
        groups.setdefault(clip.language, []).append((clip, index))
    return groups


def _batches(group: list[tuple[_Clip, int]], size: int) -> Iterator[list[tuple[_Clip, int]]]:
    for first in range(0, len(group), size):
        yield group[first : first + size]
