"""Changes of the text that is written, by example."""

from __future__ import annotations

import pytest

from finewhisper.transcript import Segment, Transcript, Word
from finewhisper.transcription.wording import changed, changes, without_punctuation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好，世界。今天3.14元、好！", "你好世界今天3.14元好"),
        ("他说：“好的”", "他说好的"),
        ("Don't stop — it's 12:30, e-mail me (now).", "Don't stop it's 12:30 e-mail me now"),
        ("“Wer?”, fragte er … nie.", "Wer fragte er nie"),
        ("100% C++ at $5", "100% C++ at $5"),
        ("हिन्दी भाषा।", "हिन्दी भाषा"),
        ("...", ""),
    ],
)
def test_without_punctuation(text: str, expected: str):
    assert without_punctuation(text) == expected


def test_words_and_phrases_change_together_and_go_together():
    words = (Word("漢字，", 0.0, 0.5), Word("…", 0.5, 0.6))
    transcript = Transcript((Segment("漢字，…", 0.0, 1.0, words=words), Segment("。", 1.0, 2.0)), "zh", 2.0)
    (segment,) = changed(transcript, changes(to_simple=True, remove_pun=True)).segments
    assert segment.text == "汉字"
    assert [word.text for word in segment.words] == ["汉字"]
    assert changed(transcript, changes(to_simple=False, remove_pun=False)) == transcript
