"""Live captions for one program: pieces of sound in, words out, with a model of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from finewhisper.audio import SAMPLE_RATE, Array, SampleStream, Seconds, Waveform
from finewhisper.errors import UnsupportedError, UsageError
from finewhisper.live.buffer import in_pieces
from finewhisper.live.config import CaptionConfig
from finewhisper.live.session import Event, Session, Work
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.transcription.listener import Listener
from finewhisper.transcription.transcriber import Plan, Transcriber

#: Silence after a draft for a model that has not learnt short contexts. English sentences cut after 2 to 16 s, tiny.en in int8: with 8 s
#: the text differs from that of the full context in 3 % of the words and takes 0.3 of the time; with 5 s in 12 %, and some of it loops.
DRAFT_MARGIN_S: Seconds = 8.0


class Stream:
    """Hears while somebody speaks.

    Give it sound as it comes with :meth:`feed`; it answers with what is new: an utterance began or ended, what it seems to say so far
    (:class:`~finewhisper.live.session.Partial`), what it says (:class:`~finewhisper.live.session.Final`). It decodes in the caller's
    thread, whenever enough new sound is there; sound that comes late makes for fewer partial texts, and none is lost.

    Args:
        engine: a loaded model.
        options: how final texts are decoded; partial ones are decoded greedily.
        sample_rate: of the sound, in samples per second.
        config: when an utterance ends, and how often its words are looked for.
    """

    def __init__(
        self, engine: Listener, options: DecodeOptions, *, sample_rate: int = SAMPLE_RATE, config: CaptionConfig | None = None
    ) -> None:
        self._session = Session(config or CaptionConfig())
        self._chunks = SampleStream(sample_rate)
        options = replace(options, word_timestamps=True)
        draft = replace(options, beam_size=1, margin_s=DRAFT_MARGIN_S)
        self._transcribers = {
            False: Transcriber(engine, options, Plan(vad=False)),
            True: Transcriber(engine, draft, Plan(vad=False, fallback=())),
        }  # only stretches of speech come here

    @property
    def duration_s(self) -> Seconds:
        """How much sound there was."""
        return self._session.duration_s

    def feed(self, samples: Array) -> list[Event]:
        """The next samples, as :meth:`finewhisper.audio.SampleStream.take` reads them; what they lead to, in order.

        Raises:
            AudioError: they are no samples of sound.
            UsageError: :meth:`finish` was called before.
        """
        if self._session.ended:
            raise UsageError("this stream has been finished; begin another one with: model.stream()")
        return self._fed(self._chunks.take(samples))

    def finish(self) -> list[Event]:
        """There is no more sound: the last texts."""
        if self._session.ended:
            return []
        return [*self._fed(self._chunks.rest()), *self._session.end(), *self._heard()]

    def events(self, pieces: Iterable[Array]) -> Iterator[Event]:
        """Everything that comes of pieces of sound, such as those of a microphone, to their end."""
        for piece in pieces:
            yield from self.feed(piece)
        yield from self.finish()

    def _fed(self, waveform: Waveform) -> list[Event]:
        events: list[Event] = []
        for piece in in_pieces(waveform):
            events += self._session.feed(piece)
        return events + self._heard()

    def _heard(self) -> list[Event]:
        """Decode whatever the session wants to know now."""
        events: list[Event] = []
        while (work := self._session.work()) is not None:
            events += self._session.heard(work, self._transcript(work))
        return events

    def _transcript(self, work: Work) -> Transcript:
        transcriber = self._transcribers[work.draft]
        try:
            return transcriber.transcribe(work.waveform)
        except UnsupportedError:
            if not transcriber.options.word_timestamps:
                raise
            for each in self._transcribers.values():  # the engine tells no times of words; those of phrases are shared out
                each.options = replace(each.options, word_timestamps=False)
        return transcriber.transcribe(work.waveform)
