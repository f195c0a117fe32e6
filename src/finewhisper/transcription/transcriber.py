"""Clips and files of any length through one engine, in batches of like windows, in bounded memory.

A clip of up to 30 s is one window; a longer one is cut where its speaker pauses. Windows of different clips share batches, and since an
engine's answer does not depend on a window's neighbours, neither does a transcript.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from finewhisper.audio import SAMPLE_RATE, WINDOW_FRAMES, WINDOW_S, Seconds, Waveform
from finewhisper.language import spoken_language
from finewhisper.transcript import DecodeOptions, Segment, Transcript
from finewhisper.transcription import loops
from finewhisper.transcription.chunks import Chunk, Clip, SlidingReader, Window, chunks
from finewhisper.transcription.finishing import Finishing
from finewhisper.transcription.listener import Listener, by_halves, windows_together
from finewhisper.transcription.sequential import settled
from finewhisper.transcription.vad import Span
from finewhisper.transcription.windows import LEAST_S, LONGEST_S, LONGEST_TRIMMED_S, LONGEST_UNTAUGHT_S, left_over

#: Called with the seconds of audio that have just been transcribed.
Progress = Callable[[Seconds], None]

#: How many batches of 30 s windows are collected before they are sorted and decoded: with 16 windows a batch, 16 minutes of audio
#: (61 MB). More makes batches of like lengths, and so wastes fewer decoder steps; less gives results sooner.
_LOOK_AHEAD_BATCHES = 2
#: At most this much is collected (460 MB), however many windows a batch may hold.
_LOOK_AHEAD_S: Seconds = 7200.0
#: A language is taken from the first window that is this sure of it, else from the average of the first few windows.
_SURE, _LANGUAGE_WINDOWS = 0.5, 4
#: Windows whose text is told to the next one; more would not fit into the 223 tokens of a prompt.
_REMEMBERED = 3


@dataclass(eq=False)
class _Recording:
    """A clip some of whose windows may not be decoded yet."""

    language: str | None = None  #: a code; None: the engine detects it with the only window
    probability: float | None = None
    samples: int = 0  #: its length as far as it has been read
    read: bool = False  #: to its end
    open_windows: int = 0
    covered_s: Seconds = 0.0  #: what progress has been told of
    heard: list[tuple[int, Transcript]] = field(default_factory=list)  #: from each window's first sample on

    @property
    def done(self) -> bool:
        return self.read and not self.open_windows


class _Retry(NamedTuple):
    """How to decode a window again whose text looped: in 30 s, at a temperature."""

    temperature: float


@dataclass(frozen=True)
class _Job:
    """One window of a recording, waiting for the engine."""

    recording: _Recording
    window: Window
    covered_s: Seconds = 0.0  #: what it adds to the progress: its own length and the silence before it
    previous: str = ""  #: what was said before it, where windows are decoded in turn
    retry: _Retry | None = None  #: how it is decoded again; None: for the first time, as the options say
    tried: tuple[Transcript, ...] = ()  #: what was heard in it so far
    barely_moved: bool = False  #: it follows a window of which the model wrote next to nothing

    @property
    def waveform(self) -> Waveform:
        return self.window.waveform

    @property
    def duration_s(self) -> Seconds:
        return len(self.waveform) / SAMPLE_RATE


@dataclass(frozen=True)
class Plan:
    """How recordings are cut into windows, and which windows are decoded together, and again.

    Attributes:
        batch_size: windows of 30 s that are decoded together, and up to four times as many shorter ones.
        vad: whether to look for speech first and decode only that; None: in clips longer than 30 s, and whether there is any in shorter
            ones, which are then decoded whole; False: decode everything.
        sequential: decode a recording window after window, each beginning where the model's times ended and told what was said before.
        fallback: the temperatures to decode a window at whose text loops, one after the other; those of OpenAI.
    """

    batch_size: int = 16
    vad: bool | None = None
    sequential: bool = False
    fallback: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)


class Transcriber:
    """An engine with decoding options and a plan for recordings of any length.

    Args:
        engine: a loaded model, or one's share of it.
        options: how a window is decoded.
        plan: which windows there are.
    """

    def __init__(self, engine: Listener, options: DecodeOptions | None = None, plan: Plan | None = None) -> None:
        self.engine, self.options, self.plan = engine, options or DecodeOptions(), plan or Plan()

    def transcribe(self, clip: Clip, *, language: str | None = None, progress: Progress | None = None) -> Transcript:
        """Transcribe 16 kHz mono audio of any length, or its pieces in order; times count from its first sample.

        Args:
            language: a code or name for this clip, in place of the options'.
            progress: called after each batch with the seconds of audio that it covered; the calls add up to the clip's length.

        Raises:
            UsageError: the model cannot do what the options ask for.
            UnsupportedError: the engine cannot.
            MemoryLimitError: memory does not even hold one window.
        """
        return next(self.transcribe_clips([clip], languages=[language], progress=progress))

    def transcribe_clips(
        self, clips: Iterable[Clip], *, languages: Iterable[str | None] | None = None, progress: Progress | None = None
    ) -> Iterator[Transcript]:
        """Transcribe many clips of any length, yielding one transcript for each, in their order.

        Clips are read only a bounded stretch ahead, so ``clips`` may be a generator that decodes files one by one, and a clip may be a
        generator of its pieces.

        Args:
            languages: one code or name for each clip, in place of the options'; None among them leaves the options'.
            progress: as in :meth:`transcribe`.
        """
        waiting: deque[_Recording] = deque()  # those that are not yet yielded
        jobs: list[_Job] = []
        limit_s = min(_LOOK_AHEAD_BATCHES * self.plan.batch_size * WINDOW_S, _LOOK_AHEAD_S)
        spoken = itertools.repeat(None) if languages is None else languages
        for clip, language in zip(clips, spoken, strict=languages is not None):
            waiting.append(self._recording(language))
            if self.plan.sequential:
                for _ in self._in_turn(waiting[-1], clip, progress):
                    pass
            for chunk in [] if self.plan.sequential else chunks(clip, self.plan.vad, self._longest_s):
                jobs += self._jobs(waiting[-1], chunk)
                if sum(job.duration_s for job in jobs) >= limit_s:
                    self._decode(jobs, progress)
                    jobs = []
            while waiting and waiting[0].done:
                yield _whole(waiting.popleft(), progress)
        self._decode(jobs, progress)
        for recording in waiting:
            yield _whole(recording, progress)

    def parts(self, clip: Clip, *, language: str | None = None, progress: Progress | None = None) -> Iterator[Transcript]:
        """Transcribe one clip and yield what was heard in each stretch as soon as it is decoded, in order.

        The parts' segments, joined, are those of :meth:`transcribe`. The first stretch is short, so that text comes soon; later ones fill
        batches. A part's ``duration_s`` is how much of the clip has been heard with it; the last part's is the clip's length.

        Args:
            language: as in :meth:`transcribe`.
            progress: as in :meth:`transcribe`.
        """
        recording, finishing, given = self._recording(language), Finishing(), 0
        stretches = self._in_turn if self.plan.sequential else self._in_stretches
        for _ in stretches(recording, clip, progress):
            heard, given = recording.heard[given:], len(recording.heard)
            yield _transcript(recording, _finished(finishing, heard), recording.covered_s)
        _cover_the_end(recording, progress)
        yield _transcript(recording, (), recording.samples / SAMPLE_RATE)

    def _in_stretches(self, recording: _Recording, clip: Clip, progress: Progress | None) -> Iterator[None]:
        """Decode a recording stretch after stretch, each twice as long as the one before until batches are full."""
        most_s = self.plan.batch_size * WINDOW_S
        stretch_s: Seconds = WINDOW_S
        for chunk in chunks(clip, self.plan.vad, self._longest_s):
            jobs = self._jobs(recording, chunk)
            while jobs:
                ends_s = itertools.accumulate(job.duration_s for job in jobs)
                count = max(sum(end_s <= stretch_s for end_s in ends_s), 1)
                self._decode(jobs[:count], progress)
                jobs, stretch_s = jobs[count:], min(2 * stretch_s, most_s)
                yield

    def _recording(self, language: str | None) -> _Recording:
        chosen = language if language is not None else self.options.language
        return _Recording(spoken_language(chosen))

    @property
    def _longest_s(self) -> Seconds:
        context = self.engine.context
        return LONGEST_S if context.padded else LONGEST_TRIMMED_S if context.trimmed else LONGEST_UNTAUGHT_S

    def _jobs(self, recording: _Recording, chunk: Chunk) -> list[_Job]:
        """The windows of a chunk; the language of a long recording is settled with its first ones."""
        ends = [recording.samples, *(window.end for window in chunk.windows)]
        jobs = [
            _Job(recording, window, (end - start) / SAMPLE_RATE) for window, start, end in zip(chunk.windows, ends, ends[1:], strict=False)
        ]
        recording.samples, recording.read = (chunk.end if chunk.last else ends[-1]), chunk.last
        recording.open_windows += len(jobs)
        if recording.language is None and (len(jobs) > 1 or not chunk.last) and jobs:
            recording.language, recording.probability = self._detect([job.window for job in jobs])
        return jobs

    def _detect(self, windows: Sequence[Window]) -> tuple[str, float | None]:
        """The language of a long clip, decided once so that it cannot change from window to window."""
        if not self.engine.vocabulary.multilingual:
            return "en", None
        totals: dict[str, float] = {}
        for count, window in enumerate(windows[:_LANGUAGE_WINDOWS], start=1):
            for code, probability in self.engine.detect_languages([window.waveform])[0].items():
                totals[code] = totals.get(code, 0.0) + probability
            best = max(totals, key=totals.__getitem__)
            if totals[best] / count >= _SURE:
                break
        return best, totals[best] / count

    def _decode(self, jobs: list[_Job], progress: Progress | None) -> None:
        """Run the engine over windows of all clips; then over those it failed on, and over the speech that it left at their ends."""
        while jobs:
            left: list[_Job] = []
            for batch, transcripts in self._side_by_side(self._batches(jobs)):
                for job, transcript in zip(batch, transcripts, strict=True):
                    if again := self._again(job, transcript):
                        left.append(again)
                        continue
                    left += self._heard(job, loops.best((*job.tried, transcript)))
                    _advance(job.recording, job.covered_s, progress)
            jobs = left

    def _side_by_side(self, batches: Iterator[tuple[list[_Job], str | None]]) -> Iterator[tuple[list[_Job], list[Transcript]]]:
        """What the engine hears in each batch, in their order; as many of them at once as the engine can."""
        if self.engine.workers == 1:
            yield from ((batch, self._run(batch, language)) for batch, language in batches)
            return
        running: deque[tuple[list[_Job], Future[list[Transcript]]]] = deque()
        with ThreadPoolExecutor(self.engine.workers) as pool:
            try:
                for batch, language in batches:
                    running.append((batch, pool.submit(self._run, batch, language)))
                    if len(running) > self.engine.workers:  # one waits, so that no worker does
                        batch, future = running.popleft()
                        yield batch, future.result()
                yield from ((batch, future.result()) for batch, future in running)
            finally:
                pool.shutdown(cancel_futures=True)  # after an error or an interruption the rest is not wanted

    def _again(self, job: _Job, heard: Transcript) -> _Job | None:
        """The window to be decoded once more, if its text loops: in 30 s where it had less, then by one temperature after the other."""
        if not (self.plan.fallback and loops.loops(heard)):
            return None
        retries = [_Retry(temperature) for temperature in self.plan.fallback]
        if self._frames(job.waveform) < WINDOW_FRAMES:
            retries.insert(0, _Retry(self.options.temperature))
        tried = (*job.tried, heard)
        return replace(job, retry=retries[len(tried) - 1], tried=tried) if len(tried) <= len(retries) else None

    def _frames(self, waveform: Waveform, retry: _Retry | None = None) -> int:
        return self.engine.frames(waveform, self._options(retry))

    def _options(self, retry: _Retry | None) -> DecodeOptions:
        return self.options if retry is None else replace(self.options, temperature=retry.temperature, full_windows=True)

    def _run(self, batch: list[_Job], language: str | None) -> list[Transcript]:
        """Decode windows together, or half of them at a time, and of all later batches, where memory does not hold them."""
        return by_halves(batch, lambda some: self._together(some, language), lambda: self.plan.batch_size, self._hold)

    def _hold(self, batch_size: int) -> None:
        self.plan = replace(self.plan, batch_size=batch_size)

    def _together(self, batch: list[_Job], language: str | None) -> list[Transcript]:
        options = replace(
            self._options(batch[0].retry),
            language=language,
            prompt=f"{self.options.prompt} {batch[0].previous}".strip(),
        )
        return self.engine.transcribe([job.waveform for job in batch], options, len(batch))

    def _heard(self, job: _Job, transcript: Transcript) -> list[_Job]:
        """Note what was heard in a window; the windows that have to be decoded after it."""
        recording = job.recording
        recording.heard.append((job.window.start, transcript))
        recording.open_windows -= 1
        if not (self.options.timestamps and transcript.segments):
            return []
        barely_moved = transcript.segments[-1].end_s <= LEAST_S
        if barely_moved and job.barely_moved:  # a second time: it would go on so to the end, in dozens of windows
            return []
        spans = left_over(job.waveform, Span(0, len(job.waveform)), transcript.segments[-1].end_s)
        recording.open_windows += len(spans)
        recording.language = recording.language or transcript.language
        return [_Job(recording, job.window.part(span), barely_moved=barely_moved) for span in spans]

    def _batches(self, jobs: list[_Job]) -> Iterator[tuple[list[_Job], str | None]]:
        """Windows of one language and of like length together, the longest first, so that memory runs out at once or not at all.

        No batch is more than one worker's share of them all.
        """
        groups: dict[tuple[str | None, int, _Retry | None], list[_Job]] = {}
        for job in jobs:
            groups.setdefault((job.recording.language, self._frames(job.waveform, job.retry), job.retry), []).append(job)
        share = sum(frames * len(group) for (_, frames, _), group in groups.items()) / self.engine.workers
        for (language, frames, _), group in sorted(groups.items(), key=lambda item: -item[0][1]):
            group.sort(key=lambda job: -job.duration_s)
            first = 0
            while first < len(group):
                size = min(windows_together(frames, self.plan.batch_size), math.ceil(share / frames))
                yield group[first : first + size], language
                first += size

    def _in_turn(self, recording: _Recording, clip: Clip, progress: Progress | None) -> Iterator[None]:
        """Decode a recording window after window, as OpenAI's own program does (Radford et al. 2022, section 3.8)."""
        reader, start = SlidingReader(clip), 0
        while len((window := reader.window(start)).waveform):
            if recording.language is None:
                recording.language, recording.probability = self._detect([window])
            said = " ".join(segment.text for _, transcript in recording.heard[-_REMEMBERED:] for segment in transcript.segments)
            previous = "" if loops.repeats(said) else said  # or the loop would go on
            job = _Job(recording, window, previous=previous)
            while again := self._again(job, transcript := self._run([job], recording.language)[0]):
                job = again
            heard, seconds = settled(loops.best((*job.tried, transcript)), window.waveform)
            recording.heard.append((start, heard))
            _advance(recording, seconds, progress)
            start += max(round(seconds * SAMPLE_RATE), 1)
            yield
        recording.samples, recording.read = start, True


def _advance(recording: _Recording, seconds: Seconds, progress: Progress | None) -> None:
    recording.covered_s += seconds
    if progress is not None and seconds > 0:
        progress(seconds)


def _whole(recording: _Recording, progress: Progress | None) -> Transcript:
    """Put a clip's windows together, in the time of the clip."""
    _cover_the_end(recording, progress)
    segments = _finished(Finishing(), recording.heard)
    return _transcript(recording, segments, recording.samples / SAMPLE_RATE)


def _cover_the_end(recording: _Recording, progress: Progress | None) -> None:
    """Tell the progress of the silence after the last window."""
    _advance(recording, recording.samples / SAMPLE_RATE - recording.covered_s, progress)


def _finished(finishing: Finishing, heard: list[tuple[int, Transcript]]) -> list[Segment]:
    """The segments of some windows, in order and in the time of the clip, each inside its window."""
    segments = []
    for start, transcript in sorted(heard, key=lambda item: item[0]):
        shifted = (segment.shifted(start / SAMPLE_RATE) for segment in transcript.segments)
        end_s = (start + round(transcript.duration_s * SAMPLE_RATE)) / SAMPLE_RATE
        segments += finishing.take(shifted, end_s, cut_off=transcript.cut_off)
    return segments


def _transcript(recording: _Recording, segments: Sequence[Segment], duration_s: Seconds) -> Transcript:
    """What was heard of a clip, with all that is known of its windows so far."""
    heard = [transcript for _, transcript in sorted(recording.heard, key=lambda item: item[0])]
    language = recording.language or next((transcript.language for transcript in heard), "")
    detected = next((transcript.language_probability for transcript in heard), None)
    probability = detected if recording.probability is None else recording.probability
    well_timed = tuple(itertools.chain.from_iterable(transcript.well_timed for transcript in heard))
    silent = recording.read and recording.samples > 0 and not recording.heard
    notices = ("no speech was found, so nothing was decoded (--no-vad decodes all the same)",) if silent else ()
    return Transcript(tuple(segments), language, duration_s, probability, well_timed, notices=notices)
