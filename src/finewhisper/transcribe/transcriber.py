"""Clips and files of any length through one engine, in batches of like windows, in bounded memory.

A clip of up to 30 s is one window; a longer one is cut where its speaker pauses. Windows of different clips share batches, and since an
engine's answer does not depend on a window's neighbours, neither does a transcript.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from finewhisper import progress as reports
from finewhisper.audio import SAMPLE_RATE, WINDOW_FRAMES, WINDOW_S, Seconds, Waveform
from finewhisper.engines.base import Engine
from finewhisper.errors import MemoryLimitError
from finewhisper.transcribe import guards
from finewhisper.transcribe.finishing import finish
from finewhisper.transcribe.vad import Span
from finewhisper.transcribe.windows import LONGEST_S, LONGEST_TRIMMED_S, left_over, plan
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.vocabulary import language_code

#: Called with the seconds of audio that have just been transcribed.
Progress = Callable[[Seconds], None]

#: How many batches of 30 s windows are collected before they are sorted and decoded: with 16 windows a batch, 16 minutes of audio
#: (61 MB). More makes batches of like lengths, and so wastes fewer decoder steps; less gives results sooner.
_LOOK_AHEAD_BATCHES = 2
#: Shorter windows need less memory and gain more from company, so up to this many times as many share a batch.
_MOST_TIMES_AS_MANY = 4
#: A language is taken from the first window that is this sure of it, else from the average of the first few windows.
_SURE, _LANGUAGE_WINDOWS = 0.5, 4


@dataclass(eq=False)
class _Clip:
    """A clip some of whose windows may not be decoded yet."""

    waveform: Waveform
    language: str | None = None  #: a code; None: the engine detects it with the only window
    probability: float | None = None
    open_windows: int = 0
    heard: list[tuple[Span, Transcript]] = field(default_factory=list)


@dataclass(frozen=True)
class _Job:
    """One window of a clip, waiting for the engine."""

    clip: _Clip
    span: Span
    covered_s: Seconds = 0.0  #: what it adds to the progress: its own length and the silence before it
    tried: tuple[Transcript, ...] = ()  #: what was heard in it so far, with one temperature after the other

    @property
    def waveform(self) -> Waveform:
        return self.clip.waveform[self.span.start : self.span.end]


class Transcriber:
    """An engine with decoding options and a way to cut long audio.

    Args:
        engine: a loaded model.
        options: how to decode; ``options.batch_size`` windows of 30 s are decoded together, and up to four times as many shorter ones.
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
        """Transcribe many clips of any length, yielding one transcript for each, in their order.

        Clips are read only a bounded stretch ahead, so ``clips`` may be a generator that decodes files one by one.

        Args:
            languages: one code or name for each clip, in place of the options'; None among them leaves the options'.
            progress: as in :meth:`transcribe`.
        """
        waiting: deque[_Clip] = deque()  # clips that are not yet yielded
        jobs: list[_Job] = []
        limit_s = _LOOK_AHEAD_BATCHES * self.options.batch_size * WINDOW_S
        spoken = itertools.repeat(None) if languages is None else languages
        for waveform, language in zip(clips, spoken, strict=languages is not None):
            waiting.append(_Clip(waveform))
            planned = self._jobs(waiting[-1], language)
            jobs.extend(planned)
            if progress is not None and not planned:
                progress(len(waveform) / SAMPLE_RATE)
            if sum(job.span.duration_s for job in jobs) >= limit_s:
                self._decode(jobs, progress)
                jobs = []
            while waiting and not waiting[0].open_windows:
                yield _finished(waiting.popleft())
        self._decode(jobs, progress)
        yield from map(_finished, waiting)

    def _jobs(self, clip: _Clip, language: str | None) -> list[_Job]:
        """Plan a clip's windows and settle its language."""
        spans = plan(clip.waveform, self.vad, LONGEST_TRIMMED_S if self.engine.context.trimmed else LONGEST_S)
        ends = [0, *(span.end for span in spans[:-1]), len(clip.waveform)]
        jobs = [_Job(clip, span, (end - start) / SAMPLE_RATE) for span, start, end in zip(spans, ends, ends[1:], strict=False)]
        clip.open_windows = len(jobs)
        chosen = language if language is not None else self.options.language
        if chosen is not None:
            clip.language = language_code(chosen)
        elif len(jobs) > 1:
            clip.language, clip.probability = self._detect(jobs)
        return jobs

    def _detect(self, jobs: list[_Job]) -> tuple[str, float | None]:
        """The language of a long clip, decided once so that it cannot change from window to window."""
        if not self.engine.vocabulary.multilingual:
            return "en", None
        totals: dict[str, float] = {}
        for count, job in enumerate(jobs[:_LANGUAGE_WINDOWS], start=1):
            for code, probability in self.engine.detect_languages([job.waveform])[0].items():
                totals[code] = totals.get(code, 0.0) + probability
            best = max(totals, key=totals.__getitem__)
            if totals[best] / count >= _SURE:
                break
        return best, totals[best] / count

    def _decode(self, jobs: list[_Job], progress: Progress | None) -> None:
        """Run the engine over windows of all clips; then over those it failed on, and over the speech that it left at their ends."""
        while jobs:
            left: list[_Job] = []
            for batch, language in self._batches(jobs):
                for job, transcript in zip(batch, self._run(batch, language), strict=True):
                    tried = (*job.tried, transcript)
                    if len(tried) <= len(self.options.fallback) and guards.loops(transcript.text):
                        left.append(replace(job, tried=tried))
                        continue
                    left += self._heard(job, guards.best(tried))
                    if progress is not None and job.covered_s:
                        progress(job.covered_s)
            jobs = left

    def _run(self, batch: list[_Job], language: str | None) -> list[Transcript]:
        """Decode windows together, or half of them at a time, and of all later batches, where memory does not hold them."""
        attempts = len(batch[0].tried)
        temperature = self.options.fallback[attempts - 1] if attempts else self.options.temperature
        options = replace(self.options, language=language, temperature=temperature, batch_size=len(batch))
        try:
            return self.engine.transcribe([job.waveform for job in batch], options)
        except MemoryLimitError:
            if len(batch) == 1:
                raise
        half = len(batch) // 2
        if self.options.batch_size > 1:
            self.options = replace(self.options, batch_size=max(self.options.batch_size // 2, 1))
        reports.note(
            f"memory does not hold {len(batch)} windows at once: going on with {half}; --batch-size {self.options.batch_size} avoids this"
        )
        return self._run(batch[:half], language) + self._run(batch[half:], language)

    def _heard(self, job: _Job, transcript: Transcript) -> list[_Job]:
        """Note what was heard in a window; the windows that have to be decoded after it."""
        clip = job.clip
        clip.heard.append((job.span, transcript))
        clip.open_windows -= 1
        if not (self.options.timestamps and transcript.segments):
            return []
        rest = [_Job(clip, span) for span in left_over(clip.waveform, job.span, transcript.segments[-1].end_s)]
        clip.open_windows += len(rest)
        clip.language = clip.language or transcript.language
        return rest

    def _batches(self, jobs: list[_Job]) -> Iterator[tuple[list[_Job], str | None]]:
        """Windows of one language and of like length together, the longest first, so that memory runs out at once or not at all."""
        groups: dict[tuple[str | None, int, int], list[_Job]] = {}
        for job in jobs:
            groups.setdefault((job.clip.language, self.engine.frames(job.waveform), len(job.tried)), []).append(job)
        for (language, frames, _), group in sorted(groups.items(), key=lambda item: -item[0][1]):
            group.sort(key=lambda job: -job.span.duration_s)
            size = self.options.batch_size * min(WINDOW_FRAMES // frames, _MOST_TIMES_AS_MANY)
            for first in range(0, len(group), size):
                yield group[first : first + size], language


def _finished(clip: _Clip) -> Transcript:
    """Put a clip's windows together, in the time of the clip."""
    duration_s = len(clip.waveform) / SAMPLE_RATE
    heard = sorted(clip.heard, key=lambda item: item[0].start)
    segments = [segment.shifted(span.start_s) for span, transcript in heard for segment in transcript.segments]
    language = clip.language or next((transcript.language for _, transcript in heard), "")
    detected = next((transcript.language_probability for _, transcript in heard), None)
    probability = detected if clip.probability is None else clip.probability
    well_timed = tuple(itertools.chain.from_iterable(transcript.well_timed for _, transcript in heard))
    return Transcript(finish(segments, duration_s), language, duration_s, probability, well_timed)
