"""A transcript as the words that its text is made of: joined, they are the text."""

from __future__ import annotations

from finewhisper.audio import Seconds
from finewhisper.live.agreement import LiveWord
from finewhisper.transcript import Transcript, joint
from finewhisper.transcript.cues import Piece, one_line, pieces


def live_words(transcript: Transcript, offset_s: Seconds = 0.0) -> tuple[LiveWord, ...]:
    """The words with what stands before each of them, and times from ``offset_s`` on.

    Where an engine tells no times of words, those of their phrase are shared out by the length of the words.
    """
    found: list[LiveWord] = []
    text = one_line(transcript.text)
    for segment in transcript.segments:
        for piece in pieces(segment, joint(segment.text, transcript.language)):
            begin = _end_of(found)
            at = text.find(piece.text, begin)
            if at < 0 or not piece.text:  # an engine's words that are not those of its text
                continue
            found.append(_word(text[begin : at + len(piece.text)], piece, offset_s))
    if text and not found:
        return (LiveWord(text, transcript.segments[0].start_s + offset_s, transcript.segments[-1].end_s + offset_s),)
    return _with_rest(found, text)


def _end_of(words: list[LiveWord]) -> int:
    return sum(len(word.text) for word in words)


def _word(text: str, piece: Piece, offset_s: Seconds) -> LiveWord:
    return LiveWord(text, piece.start_s + offset_s, piece.end_s + offset_s)


def _with_rest(words: list[LiveWord], text: str) -> tuple[LiveWord, ...]:
    """The last word takes what no word has."""
    rest = text[_end_of(words) :]
    if not rest:
        return tuple(words)
    return (*words[:-1], LiveWord(words[-1].text + rest, words[-1].start_s, words[-1].end_s))
