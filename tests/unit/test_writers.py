"""Every format is read back by somebody else's parser."""

from __future__ import annotations

import csv
import io
import json

import pytest
import srt
import webvtt
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.transcript import Segment, Transcript, Word
from finewhisper.transcript.cues import Layout
from finewhisper.transcript.writers import WRITERS, clock

TRANSCRIPT = Transcript(
    (
        Segment("Good morning.", 0.0, 2.5, avg_logprob=-0.123456, no_speech_prob=0.01),
        Segment("It costs < 5 & > 3 --> maybe\n\nmore\tor less", 2.5, 59.9996),
        Segment("Добър ден. 你好。", 3_599.9999, 7_261.25, words=(Word("Добър", 3600.0, 3600.5, 0.9), Word("ден.", 3600.5, 3601.0))),
    ),
    "bg",
    7_300.0,
    0.98,
)
EMPTY = Transcript((), "en", 3.0)

#: What other people's texts may hold: anything but the surrogates that no file can hold.
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: bool(text.strip()))
seconds = st.floats(0.0, 360_000.0, allow_nan=False)


@st.composite
def transcripts(draw: st.DrawFn) -> Transcript:
    times = sorted(draw(st.lists(seconds, min_size=2, max_size=8)))
    segments = [Segment(draw(texts), start, end) for start, end in zip(times[::2], times[1::2], strict=False)]
    return Transcript(tuple(segments), "en", times[-1])


@pytest.mark.parametrize(
    ("time_s", "expected"),
    [
        (0.0, "00:00:00.000"),
        (0.0004, "00:00:00.000"),
        (0.9996, "00:00:01.000"),
        (59.9996, "00:01:00.000"),
        (3_599.9999, "01:00:00.000"),
        (3_661.5, "01:01:01.500"),
        (360_000.0, "100:00:00.000"),
        (-0.01, "00:00:00.000"),
    ],
)
def test_clock(time_s: float, expected: str):
    assert clock(time_s) == expected
    assert clock(time_s, ",") == expected.replace(".", ",")


@given(seconds)
def test_clock_reads_back_to_the_millisecond(time_s: float):
    hours, minutes, rest = clock(time_s).split(":")
    assert int(minutes) < 60
    assert float(rest) < 60
    assert int(hours) * 3600 + int(minutes) * 60 + float(rest) == pytest.approx(time_s, abs=0.000_51)


def test_txt_is_one_phrase_a_line():
    assert WRITERS["txt"](TRANSCRIPT) == "Good morning.\nIt costs < 5 & > 3 --> maybe more or less\nДобър ден. 你好。\n"


def test_srt_is_read_back():
    cues = list(srt.parse(WRITERS["srt"](TRANSCRIPT)))
    assert [cue.index for cue in cues] == [1, 2, 3]
    assert [cue.end.total_seconds() for cue in cues] == [2.5, 60.0, 7261.25]
    assert [cue.content for cue in cues] == ["Good morning.", "It costs < 5 & > 3 → maybe more or less", "Добър ден. 你好。"]


def test_vtt_is_read_back():
    text = WRITERS["vtt"](TRANSCRIPT)
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nGood morning.\n\n")
    cues = list(webvtt.from_string(text))
    assert [cue.end for cue in cues] == ["00:00:02.500", "00:01:00.000", "02:01:01.250"]
    assert cues[1].raw_text == "It costs &lt; 5 &amp; &gt; 3 --&gt; maybe more or less"
    assert cues[2].text == "Добър ден. 你好。"


def test_tsv_is_read_back_as_whole_milliseconds():
    rows = list(csv.DictReader(io.StringIO(WRITERS["tsv"](TRANSCRIPT)), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [(int(row["start"]), int(row["end"])) for row in rows] == [(0, 2500), (2500, 60_000), (3_600_000, 7_261_250)]
    assert rows[1]["text"] == "It costs < 5 & > 3 --> maybe more or less"


def test_json_holds_what_is_known_and_nothing_else():
    content = json.loads(WRITERS["json"](TRANSCRIPT))
    assert content["language"] == "bg"
    assert content["language_probability"] == 0.98
    assert content["duration"] == 7300.0
    assert content["text"] == TRANSCRIPT.text
    first, second, third = content["segments"]
    assert first == {"id": 0, "start": 0.0, "end": 2.5, "text": "Good morning.", "avg_logprob": -0.1235, "no_speech_prob": 0.01}
    assert set(second) == {"id", "start", "end", "text"}
    assert third["words"] == [
        {"start": 3600.0, "end": 3600.5, "text": "Добър", "probability": 0.9},
        {"start": 3600.5, "end": 3601.0, "text": "ден."},
    ]
    assert "你好" in WRITERS["json"](TRANSCRIPT)  # readable, not \\u4f60


def test_lyrics_count_minutes_past_the_hour_and_end_before_a_pause():
    assert WRITERS["lrc"](TRANSCRIPT).splitlines() == [
        "[00:00.00]Good morning.",
        "[00:02.50]It costs < 5 & > 3 --> maybe more or less",
        "[01:00.00]",
        "[60:00.00]Добър ден. 你好。",
        "[121:01.25]",
    ]


def test_ass_has_a_dialogue_line_for_each_cue():
    transcript = Transcript((Segment("Take {this}, or C:\\N", 0.0, 3_661.255), Segment("one two", 3_662.0, 3_663.0)), "en", 4_000.0)
    text = WRITERS["ass"](transcript, Layout(max_line_width=4))
    head, events = text.split("[Events]\n")
    assert head.startswith("[Script Info]\n")
    columns, *rows = events.splitlines()
    fields = [row.removeprefix("Dialogue: ").split(",", columns.count(",")) for row in rows]
    assert [(row[1], row[2]) for row in fields] == [("0:00:00.00", "1:01:01.26"), ("1:01:02.00", "1:01:03.00")]
    assert [row[-1] for row in fields] == ["Take\\N｛this｝,\\Nor\\NC:＼N", "one\\Ntwo"]
    style = head.split("[V4+ Styles]\n")[1].splitlines()
    assert style[0].count(",") == style[1].count(",")


@pytest.mark.parametrize("start_s", [0.0005, 0.0015, 1.0005, 59.9995])
def test_half_a_millisecond_falls_the_same_way_in_every_format(start_s: float):
    transcript = Transcript((Segment("word", start_s, start_s + 1),), "en", start_s + 1)
    (cue,) = srt.parse(WRITERS["srt"](transcript))
    assert round(cue.start.total_seconds(), 3) == json.loads(WRITERS["json"](transcript))["segments"][0]["start"]


def test_lines_and_cues_are_bounded_in_subtitles():
    layout = Layout(max_line_width=10, max_line_count=2)
    transcript = Transcript((Segment("one two three four five six", 0.0, 6.0),), "en", 6.0)
    assert [cue.content for cue in srt.parse(WRITERS["srt"](transcript, layout))] == ["one two\nthree four", "five six"]
    assert [cue.text for cue in webvtt.from_string(WRITERS["vtt"](transcript, layout))] == ["one two\nthree four", "five six"]


@pytest.mark.parametrize(("name", "expected"), [("txt", ""), ("srt", ""), ("vtt", "WEBVTT\n"), ("tsv", "start\tend\ttext\n")])
def test_nothing_said_is_an_empty_file(name: str, expected: str):
    assert WRITERS[name](EMPTY) == expected


def test_nothing_said_is_json_without_segments():
    assert json.loads(WRITERS["json"](EMPTY)) == {"language": "en", "duration": 3.0, "text": "", "segments": []}


@given(transcripts())
def test_any_text_makes_as_many_cues_as_there_are_segments(transcript: Transcript):
    cues = list(srt.parse(WRITERS["srt"](transcript)))
    assert len(cues) == len(transcript.segments)
    assert [round(cue.start.total_seconds(), 3) for cue in cues] == [round(segment.start_s, 3) for segment in transcript.segments]
    assert len(list(webvtt.from_string(WRITERS["vtt"](transcript)))) == len(transcript.segments)
    assert len(WRITERS["tsv"](transcript).splitlines()) == len(transcript.segments) + 1
    assert len(json.loads(WRITERS["json"](transcript))["segments"]) == len(transcript.segments)
