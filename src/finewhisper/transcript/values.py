"""What to decode and what was heard: plain frozen values that every engine, writer and server shares."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from finewhisper.audio import Seconds

Task = Literal["transcribe", "translate"]


@dataclass(frozen=True)
class DecodeOptions:
    """How an engine turns one window of audio into text."""

    language: str | None = None  #: code such as "bg"; None: detected for each clip
    task: Task = "transcribe"  #: "translate" writes English
    timestamps: bool = True  #: let the model write segment times; without them a window is one segment
    beam_size: int = 1  #: 1 is greedy
    max_tokens_per_second: float = 25.0  #: stops runaway loops; the fastest speech in the densest script needs about 16
    prompt: str = ""  #: previous text that the model sees before the clip
    hotwords: tuple[str, ...] = ()  #: names and terms that the model sees before that text
    word_timestamps: bool = False  #: the time of each word, too
    temperature: float = 0.0  #: above 0 tokens are drawn by chance, the rarer ones the more often the higher it is
    seed: int = 0  #: of that chance
    full_windows: bool = False  #: pad to 30 s whatever context the model can do with
    margin_s: Seconds | None = None  #: silence after a clip, for models that have not learnt it: text may loop. None: 20 s at least


@dataclass(frozen=True)
class Word:
    """One word with its times in the file."""

    text: str
    start_s: Seconds
    end_s: Seconds
    probability: float | None = None


@dataclass(frozen=True)
class Segment:
    """A phrase with its times in the file."""

    text: str
    start_s: Seconds
    end_s: Seconds
    avg_logprob: float | None = None  #: mean log-probability of the segment's window, natural logarithm
    no_speech_prob: float | None = None  #: the model's own guess that the window holds no speech
    words: tuple[Word, ...] = ()
    speaker: str | None = None  #: who says it, where each speaker has a channel

    def shifted(self, offset_s: Seconds) -> Segment:
        """The same segment ``offset_s`` later."""
        words = tuple(replace(word, start_s=word.start_s + offset_s, end_s=word.end_s + offset_s) for word in self.words)
        return replace(self, start_s=self.start_s + offset_s, end_s=self.end_s + offset_s, words=words)


@dataclass(frozen=True)
class Transcript:
    """All that was heard in one clip or file."""

    segments: tuple[Segment, ...]
    language: str
    duration_s: Seconds
    language_probability: float | None = None  #: None where the language was given
    well_timed: tuple[
        bool, ...
    ] = ()  #: for each decoded window with text: its times are pairs that run forward; empty: none were asked for
    cut_off: bool = False  #: of one window: the tokens that it may have ran out before the model ended it
    notices: tuple[str, ...] = ()  #: what a user should know of the recording and of what was decided about it, a sentence each

    @property
    def text(self) -> str:
        """The segments' texts joined as the language joins words."""
        return join_texts([segment.text for segment in self.segments], self.language)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments with their times; empty unless ``word_timestamps`` was asked for."""
        return tuple(word for segment in self.segments for word in segment.words)

    def noticed(self, notices: Iterable[object]) -> Transcript:
        """The same with what was noticed of the recording itself, each notice once."""
        return replace(self, notices=tuple(dict.fromkeys([*map(str, notices), *self.notices])))

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def to_txt(self) -> str:
        """The text, one segment a line."""
        return self._written("txt")

    def to_srt(self, *, max_line_width: int = 0, max_line_count: int = 0) -> str:
        """SubRip subtitles.

        Args:
            max_line_width: columns of a line, of which a Chinese character takes two; 0 does not break lines.
            max_line_count: lines shown at once; 0 shows a phrase whole.
        """
        return self._written("srt", max_line_width, max_line_count)

    def to_vtt(self, *, max_line_width: int = 0, max_line_count: int = 0) -> str:
        """WebVTT subtitles; arguments as of :meth:`to_srt`."""
        return self._written("vtt", max_line_width, max_line_count)

    def to_json(self) -> str:
        """A JSON object with everything that is known; times in seconds."""
        return self._written("json")

    def _written(self, name: str, *layout: int) -> str:
        from finewhisper.transcript.cues import Layout
        from finewhisper.transcript.writers import WRITERS

        return WRITERS[name](self, Layout(*layout))

    def _repr_html_(self) -> str:
        """A table of the segments, for notebooks."""
        rows = "".join(
            f'<tr><td style="text-align:right">{segment.start_s:.2f}</td><td style="text-align:right">{segment.end_s:.2f}</td>'
            f'<td style="text-align:left">{html.escape(segment.text.strip())}</td></tr>'
            for segment in self.segments
        )
        head = "<tr><th>from, s</th><th>to, s</th><th>text</th></tr>"
        notices = "".join(f"<p>{html.escape(notice)}</p>" for notice in self.notices)
        return f"<table><caption>{html.escape(self.language)}, {self.duration_s:.2f} s</caption>{head}{rows}</table>{notices}"


#: Languages written without spaces between words; Whisper's own text begins with a space in all others.
UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "yue", "bo", "km"})


def written_language(spoken: str | None, task: Task) -> str | None:
    """The language that the text of an utterance is in: what is translated is English."""
    return "en" if task == "translate" else spoken


def join_texts(texts: list[str], language: str) -> str:
    """Join pieces of text as ``language`` joins words."""
    stripped = [text for text in (piece.strip() for piece in texts) if text]
    return joint("".join(stripped), language).join(stripped)


def joint(text: str, language: str) -> str:
    """What stands between the words of a text: nothing in a script without spaces, but a translation into English has them."""
    return "" if language in UNSPACED and not text.isascii() else " "
