"""One client's sound as utterances, hypotheses and final texts: samples in, events out.

A session decodes nothing and waits for nothing. It says what should be heard next (:meth:`Session.work`) and is told what was heard
(:meth:`Session.heard`). Whoever drives it hears one thing at a time: sound that arrives meanwhile is part of the next hypothesis, so
hypotheses never queue up, and no sound is dropped.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform
from finewhisper.live.agreement import Agreement, LiveWord
from finewhisper.live.buffer import SoundBuffer
from finewhisper.live.config import CaptionConfig
from finewhisper.live.endpoints import PADDING_S, EndPointer, Start
from finewhisper.live.words import live_words
from finewhisper.transcript import Transcript
from finewhisper.transcription.vad import Span
from finewhisper.transcription.windows import cut_quietly

#: Sound before an utterance that is kept while nobody speaks: its padding, and what the detector needs to be sure.
_KEPT_S: Seconds = 1.0
#: An utterance is not cut at a confirmed word that is earlier than this share of it: there would be as much left as was cut off.
_EARLIEST_CUT = 0.5

#: What a client may send before it says that an utterance is complete; then it is taken as complete. 19 MB.
_LONGEST_TURN_S: Seconds = 300.0


@dataclass(frozen=True)
class SpeechStarted:
    """An utterance began."""

    utterance: int
    at_s: Seconds


@dataclass(frozen=True)
class SpeechStopped:
    """An utterance ended; its final text comes later."""

    utterance: int
    at_s: Seconds


@dataclass(frozen=True)
class Partial:
    """What the running utterance seems to say; the first ``confirmed`` words will stay while it runs."""

    utterance: int
    start_s: Seconds
    end_s: Seconds
    words: tuple[LiveWord, ...]
    confirmed: int

    @property
    def text(self) -> str:
        """All words as one text."""
        return "".join(word.text for word in self.words)


@dataclass(frozen=True)
class Final:
    """What an utterance says."""

    utterance: int
    start_s: Seconds
    end_s: Seconds
    text: str
    language: str
    words: tuple[LiveWord, ...]
    shown: bool  #: whether there was a :class:`Partial` of it


Event = SpeechStarted | SpeechStopped | Partial | Final


@dataclass(frozen=True, eq=False)
class Work:
    """A stretch of sound to be heard."""

    utterance: int
    start: int  #: sample of the session
    waveform: Waveform
    draft: bool  #: a hypothesis about an utterance that goes on; else a whole utterance, or what will be one if nobody goes on speaking

    @property
    def end(self) -> int:
        return self.start + len(self.waveform)


@dataclass(eq=False)
class _Running:
    """An utterance that has not ended."""

    number: int
    start: int
    agreement: Agreement = field(default_factory=Agreement)
    heard_until: int = 0  # samples that the last hypothesis has seen
    paused_at: int = 0  # where the last pause began that it was heard up to
    foreseen: tuple[Work, Transcript] | None = None  # what was heard then
    shown: bool = False


@dataclass(eq=False)
class _Ended:
    """An utterance whose final text has not been told."""

    work: Work
    shown: bool
    transcript: Transcript | None


class Session:
    """The state of one connection.

    Args:
        config: when utterances end, and how often they are heard.
        turns: find utterances by pauses; else everything up to :meth:`commit` is one.
        threshold: probability of speech at which an utterance begins.
    """

    def __init__(self, config: CaptionConfig, *, turns: bool = True, threshold: float = 0.5, padding_s: Seconds = PADDING_S) -> None:
        self._sounds = SoundBuffer()
        self._running: _Running | None = None
        self._untold: deque[_Ended] = deque()
        self._count = 0
        self.ended = False
        self.listen(config, turns=turns, threshold=threshold, padding_s=padding_s)

    def listen(self, config: CaptionConfig, *, turns: bool, threshold: float, padding_s: Seconds) -> None:
        """From now on, find utterances in another way; nobody must be speaking, as after :meth:`commit`."""
        self._config, self._turns = config, turns
        self._padding = round(padding_s * SAMPLE_RATE)
        self._pointer = EndPointer(config.pause_s, threshold, padding_s, at=self._sounds.end)

    @property
    def duration_s(self) -> Seconds:
        """How much sound there was."""
        return self._sounds.end / SAMPLE_RATE

    @property
    def backlog_s(self) -> Seconds:
        """Seconds of ended utterances that still have to be heard."""
        return sum(len(ended.work.waveform) for ended in self._untold) / SAMPLE_RATE

    @property
    def running_s(self) -> Seconds:
        """Seconds of the running utterance."""
        return 0.0 if self._running is None else (self._sounds.end - self._running.start) / SAMPLE_RATE

    @property
    def finished(self) -> bool:
        """Whether there is no more sound, and all of it was heard."""
        return self.ended and not self._untold

    def feed(self, waveform: Waveform) -> list[Event]:
        """The next samples, 16 kHz mono; give less than a second at a time."""
        self._sounds.append(waveform)
        if not self._turns:
            return self._gathered(len(waveform))
        events: list[Event] = []
        for found in self._pointer.feed(waveform):
            events += self._begin(found.at) if isinstance(found, Start) else self._finish(found.at)
        if self._running is not None and self.running_s >= self._config.longest_s:
            events += self._cut(self._running)
        elif self._running is None:
            self._sounds.forget(self._sounds.end - round(_KEPT_S * SAMPLE_RATE))
        return events

    def _gathered(self, samples: int) -> list[Event]:
        """The same, where utterances end when the client says so."""
        if self._running is None:
            return self._begin(self._sounds.end - samples) if samples else []
        return self._finish(self._sounds.end) if self.running_s >= _LONGEST_TURN_S else []

    def commit(self) -> list[Event]:
        """End the running utterance here, whoever speaks."""
        self._pointer.reset(self._sounds.end)
        return self._finish(self._sounds.end)

    def clear(self) -> None:
        """Forget the running utterance."""
        self._pointer.reset(self._sounds.end)
        self._running = None
        self._sounds.forget(self._sounds.end)

    def end(self) -> list[Event]:
        """There is no more sound."""
        self.ended = True
        return self._finish(self._pointer.heard_until + self._padding if self._turns else self._sounds.end)

    def work(self) -> Work | None:
        """What should be heard next: final texts first."""
        if self._untold:
            return self._untold[0].work
        running = self._running
        if running is None:
            return None
        foreseen = self._foreseeable(running)
        if foreseen is not None:
            running.heard_until = running.paused_at = foreseen
            return Work(running.number, running.start, self._sounds.part(running.start, foreseen), draft=False)
        if not self._worth_hearing(running):
            return None
        running.heard_until = self._sounds.end
        return Work(running.number, running.start, self._sounds.part(running.start, self._sounds.end), draft=True)

    def heard(self, work: Work, transcript: Transcript) -> list[Event]:
        """What :meth:`work` asked for has been heard."""
        for ended in self._untold:
            if _same(ended.work, work):
                ended.transcript = transcript
        return self._told() + self._hypothesis(work, transcript)

    def _told(self) -> list[Event]:
        """The final texts that are known, in the order of the utterances."""
        events: list[Event] = []
        while self._untold and (transcript := self._untold[0].transcript) is not None:
            ended = self._untold.popleft()
            words = live_words(transcript, ended.work.start / SAMPLE_RATE)
            text = "".join(word.text for word in words)
            events.append(Final(ended.work.utterance, *_times(ended.work), text, transcript.language, words, ended.shown))
        return events

    def _hypothesis(self, work: Work, transcript: Transcript) -> list[Event]:
        running = self._running
        if running is None or running.number != work.utterance:
            return []  # it has ended meanwhile
        if not work.draft:
            running.foreseen = (work, transcript)
        running.agreement.hear(live_words(transcript, work.start / SAMPLE_RATE))
        if not running.agreement.words:
            return []
        running.shown = True
        return [Partial(work.utterance, *_times(work), running.agreement.words, len(running.agreement.confirmed))]

    def _foreseeable(self, running: _Running) -> int | None:
        """Where the utterance will end if nobody goes on speaking, once all of that sound is there and has not been heard yet.

        The pause that ends an utterance is longer than what is heard of it: the final text is on its way before the end is sure.
        """
        end = self._pointer.heard_until + self._padding
        return end if self._turns and running.paused_at < end <= self._pointer.at else None

    def _worth_hearing(self, running: _Running) -> bool:
        """Whether a hypothesis would tell more than the last one."""
        new = self._sounds.end - max(running.heard_until, running.start)
        if new < self._config.step_s * SAMPLE_RATE or self.running_s > self._config.longest_s:
            return False
        silent = self._turns and self._pointer.heard_until <= running.heard_until
        return not (silent and running.agreement.settled)

    def _begin(self, at: int) -> list[Event]:
        self._count += 1
        self._running = _Running(self._count, max(at, self._sounds.begin))
        self._sounds.forget(self._running.start)
        return [SpeechStarted(self._count, self._running.start / SAMPLE_RATE)]

    def _finish(self, at: int) -> list[Event]:
        """The running utterance ends at a sample."""
        running, self._running = self._running, None
        if running is None:
            return []
        end = min(max(at, running.start), self._sounds.end)
        work = Work(running.number, running.start, self._sounds.part(running.start, end), draft=False)
        foreseen = running.foreseen
        known = foreseen[1] if foreseen is not None and _same(foreseen[0], work) else None
        self._untold.append(_Ended(work, running.shown, known))
        self._sounds.forget(end)
        return [SpeechStopped(running.number, end / SAMPLE_RATE), *self._told()]

    def _cut(self, running: _Running) -> list[Event]:
        """End an utterance that has become too long at its last confirmed word, or where it is quietest; the rest is the next one."""
        at = self._cut_place(running)
        self._pointer.split(at)
        return [*self._finish(at), *self._begin(at)]

    def _cut_place(self, running: _Running) -> int:
        confirmed = running.agreement.confirmed
        length = self._sounds.end - running.start
        if confirmed:
            at = round(confirmed[-1].end_s * SAMPLE_RATE)
            if at - running.start >= _EARLIEST_CUT * length:
                return min(at, self._sounds.end)
        waveform = self._sounds.part(running.start, self._sounds.end)
        return running.start + cut_quietly(waveform, Span(0, length), (length - 1) / SAMPLE_RATE)[0].end


def _same(one: Work, other: Work) -> bool:
    """Whether two pieces of work have the same answer."""
    return (one.utterance, one.end, one.draft) == (other.utterance, other.end, other.draft)


def _times(work: Work) -> tuple[Seconds, Seconds]:
    return work.start / SAMPLE_RATE, work.end / SAMPLE_RATE
