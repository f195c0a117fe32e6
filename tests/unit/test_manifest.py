"""The manifest: what is read, what is written, and every way in which a line may be wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finewhisper import manifest
from finewhisper.errors import ManifestError
from finewhisper.language import LANGUAGES
from finewhisper.manifest import TimedSentence, Utterance

# ---- round trips

seconds = st.floats(0, 1e6, allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
labels = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(lambda text: unicodedata.normalize("NFC", text))
file_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\\0"), min_size=1, max_size=12).filter(
    lambda name: name.strip() and name not in {".", ".."}
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
KNOWN_KEYS = {"audio", "sentence", "language", "duration", "sentences"}
LOCATION_KEYS = {"path", "start_time", "end_time"}


@st.composite
def timed_sentences(draw: st.DrawFn) -> TimedSentence:
    start_s, end_s = sorted((draw(seconds), draw(seconds)))
    return TimedSentence(start_s, end_s, draw(labels))


@st.composite
def utterances(draw: st.DrawFn, folder: Path) -> Utterance:
    sentence = draw(labels)
    timed = draw(st.none() | st.lists(timed_sentences(), max_size=3).map(tuple))
    if timed and not sentence.strip():
        timed = ()
    start_s = draw(seconds)
    extra = {key: value for key, value in draw(st.dictionaries(texts, json_values, max_size=3)).items() if key not in KNOWN_KEYS}
    inner = {key: value for key, value in draw(st.dictionaries(texts, json_values, max_size=2)).items() if key not in LOCATION_KEYS}
    return Utterance(
        path=folder / draw(file_names) / draw(file_names),
        sentence=sentence,
        language=draw(st.none() | st.sampled_from(sorted(LANGUAGES))),
        duration_s=draw(st.none() | seconds),
        start_s=start_s,
        end_s=draw(st.none() | st.floats(0.001, 1e5).map(lambda length: start_s + length)),
        sentences=timed,
        extra=extra | ({"audio": inner} if inner else {}),
    )


@given(drawn=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_is_read_back(tmp_path: Path, drawn: st.DataObject) -> None:
    path = tmp_path / "m.jsonl"
    rows = drawn.draw(st.lists(utterances(tmp_path), min_size=1, max_size=4))
    assert manifest.write(path, rows) == len(rows)
    read = manifest.read(path)
    assert [utterance.line for utterance in read] == list(range(1, len(rows) + 1))
    for one, other in zip(read, rows, strict=True):
        for name in ("path", "sentence", "language", "duration_s", "start_s", "end_s", "sentences", "extra"):
            assert getattr(one, name) == getattr(other, name), name


@given(drawn=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_reading_any_json_reports_or_reads_but_never_breaks(tmp_path: Path, drawn: st.DataObject) -> None:
    any_json = json_values | st.just(math.nan) | st.just(math.inf) | st.just(10**400) | st.just(-1) | st.just("\ud800")
    location = st.dictionaries(st.sampled_from([*sorted(LOCATION_KEYS), "other"]), any_json) | any_json
    timed = st.lists(st.dictionaries(st.sampled_from(["start", "end", "text"]), any_json), max_size=2) | any_json
    row = drawn.draw(
        st.fixed_dictionaries(
            {}, optional={"audio": location, "sentence": any_json, "language": any_json, "duration": any_json, "sentences": timed}
        )
    )
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    again = tmp_path / "again.jsonl"
    try:
        read = manifest.read(path)
    except ManifestError as error:
        problems = error.problems
    else:
        manifest.write(again, read)
        assert manifest.read(again) == read
        return
    assert problems
    assert all(problem.startswith(f"{path}:1: ") for problem in problems)


def test_unknown_keys_are_kept(tmp_path: Path) -> None:
    timed = {"start": 0.0, "end": 0.5, "text": "Oh.", "confidence": 0.9}
    row = {"audio": {"path": "a.wav", "sha": "f00"}, "sentence": "Oh.", "sentences": [timed], "speaker": "Ann", "tags": [1, {"x": None}]}
    lines(tmp_path / "m.jsonl", row)
    manifest.write(tmp_path / "copy.jsonl", manifest.read(tmp_path / "m.jsonl"))
    assert json.loads((tmp_path / "copy.jsonl").read_text()) == row


def test_paths_are_relative_where_the_audio_lies_below_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [Utterance(tmp_path / "data" / "clips" / "a.wav", "a"), Utterance(tmp_path / "elsewhere.wav", "b")]
    manifest.write(tmp_path / "data" / "m.jsonl", rows)
    written = [json.loads(line)["audio"]["path"] for line in (tmp_path / "data" / "m.jsonl").read_text().splitlines()]
    assert written == ["clips/a.wav", str(tmp_path / "elsewhere.wav")]


def test_a_manifest_named_through_a_parent_folder_has_relative_paths_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    manifest.write(Path("../data/m.jsonl"), [Utterance(Path("../data/a.wav"), "a")])
    assert json.loads((tmp_path / "data" / "m.jsonl").read_text())["audio"] == {"path": "a.wav"}


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    row = Utterance(tmp_path / "caf\udce9.wav", "Café.")
    manifest.write(tmp_path / "m.jsonl", [row])
    assert manifest.read(tmp_path / "m.jsonl")[0].path == row.path


# ---- what upstream's files look like


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_the_forms_that_users_have(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "m.jsonl",
        {"audio": {"path": "a.wav"}, "sentence": "近几年", "language": "Chinese", "duration": 4.2},
        {"audio": {"path": "b.wav", "start_time": 1.5, "end_time": 4}, "sentence": "Hi.", "language": "EN"},
        {"audio": "c.wav", "sentence": "", "sentences": [], "language": ""},
        {
            "audio": {"path": "d.wav", "start_time": None, "end_time": None},
            "sentence": "A b.",
            "sentences": [{"start": 0, "end": 1.5, "text": "A b."}],
        },
    )
    one, two, three, four = manifest.read(path)
    assert (one.path, one.sentence, one.language, one.duration_s) == (tmp_path / "a.wav", "近几年", "zh", 4.2)
    assert (two.start_s, two.end_s, two.language, two.id) == (1.5, 4.0, "en", "b@1.5-4")
    assert (three.path, three.sentence, three.sentences, three.language) == (tmp_path / "c.wav", "", (), None)
    assert (four.start_s, four.end_s, four.sentences) == (0.0, None, (TimedSentence(0.0, 1.5, "A b."),))
    assert two.length_s() == 2.5


def test_byte_order_mark_crlf_blank_lines_and_no_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"audio": "a.wav", "sentence": "a"}\r\n\r\n  \r\n{"audio": "b.wav", "sentence": "b"}')
    assert [(utterance.sentence, utterance.line) for utterance in manifest.read(path)] == [("a", 1), ("b", 4)]


FIELD = Path(__file__).parents[1] / "field"


def test_one_array_of_objects_is_read_with_its_lines(tmp_path: Path) -> None:
    found = manifest.read(FIELD / "manifests" / "arr.jsonl")
    assert [(row.sentence, row.line) for row in found] == [("hello", 2), ("bye", 3)]
    path = tmp_path / "m.jsonl"
    path.write_text('[{"audio": "a.wav", "sentence": "a"},\n 3,\n {"audio": "b.wav",\n  "sentence": "b"}\n{}]')
    with pytest.raises(ManifestError) as caught:
        manifest.read(path)
    assert caught.value.problems[0].startswith(f"{path}:2: is int, not an object")
    assert caught.value.problems[1].startswith(f"{path}:5: is not JSON")
    assert len(manifest.scan(path)[0]) == 2


def test_paths_of_another_system_lead_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "00.wav").write_bytes(b"")
    (tmp_path / "m.jsonl").write_bytes((FIELD / "manifests" / "windows.jsonl").read_bytes())
    assert manifest.read(tmp_path / "m.jsonl")[0].path == tmp_path / "clips" / "00.wav"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_whatever_the_normal_form_of_its_name(tmp_path: Path, form: str) -> None:
    folder = tmp_path / unicodedata.normalize("NFD" if form == "NFC" else "NFC", "é")
    folder.mkdir()
    (folder / unicodedata.normalize("NFD" if form == "NFC" else "NFC", "café.wav")).write_bytes(b"")
    name = unicodedata.normalize(form, "é/café.wav")
    row = manifest.read(lines(tmp_path / "m.jsonl", {"audio": name, "sentence": unicodedata.normalize("NFD", "café")}))[0]
    assert row.path.is_file()
    assert row.sentence == unicodedata.normalize("NFC", "café")


def test_paths_from_the_working_folder_work_and_are_said_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work" / "dataset").mkdir(parents=True)
    (tmp_path / "work" / "dataset" / "a.wav").write_bytes(b"")
    path = lines(tmp_path / "work" / "dataset" / "m.jsonl", *[{"audio": {"path": "dataset/a.wav"}, "sentence": "a"}] * 3)
    monkeypatch.chdir(tmp_path / "work")
    assert [row.path.is_file() for row in manifest.read(path)] == [True] * 3
    assert capsys.readouterr().err.count("3 paths found from the working folder") == 1


def test_lines_with_timed_sentences_alone_and_numbers_as_text(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "m.jsonl",
        {
            "audio": {"path": "a.wav", "start_time": "1.5", "end_time": "9"},
            "duration": "7.5",
            "language": "en",
            "sentences": [{"start": "0", "end": "1.25", "text": "Hello."}, {"start": 2, "end": "3", "text": "Bye."}],
        },
        {"audio": "b.wav", "language": "zh", "sentences": [{"start": 0, "end": 1, "text": "你好"}, {"start": 1, "end": 2, "text": "世界"}]},
    )
    one, two = manifest.read(path)
    assert (one.sentence, one.duration_s, one.start_s, one.end_s) == ("Hello. Bye.", 7.5, 1.5, 9.0)
    assert one.sentences == (TimedSentence(0.0, 1.25, "Hello."), TimedSentence(2.0, 3.0, "Bye."))
    assert two.sentence == "你好世界"


def test_an_emoji_as_a_pair_is_one_and_half_a_pair_is_refused() -> None:
    usable, problems = manifest.scan(FIELD / "manifests" / "surr.jsonl")
    assert [row.sentence for row in usable] == ["ok 😀 ok"]
    assert [problem.split(":")[1] for problem in problems] == ["2", "3"]


def test_utf16_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes("".join('{"audio": "a.wav", "sentence": "a"}\n' * 3).encode("utf-16"))
    with pytest.raises(ManifestError, match=r"1 problem; .*\n.*:1: is UTF-16, not UTF-8; save the file as UTF-8"):
        manifest.read(tmp_path / "m.jsonl")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX alone has named pipes")
def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ManifestError, match="is a pipe or a device; write its content into a file"):
        manifest.read(tmp_path / "pipe")
    with pytest.raises(ManifestError, match="is a pipe or a device"):
        manifest.read(Path("/dev/zero"))


# ---- broken lines

GOOD = {"audio": {"path": "a.wav"}, "sentence": "a"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"audio": {"path": "a.wav"}, "sentence": "a"\n', "is not JSON"),
        ("[" * 100_000 + "\n", "is not JSON"),
        ("[1, 2]\n", "is list, not an object"),
        ('"text"\n', "is str, not an object"),
        ({"sentence": "a"}, "'audio' is missing"),
        ({"audio": 3, "sentence": "a"}, "'audio' must be a path or an object with one, not 3"),
        ({"audio": {}, "sentence": "a"}, "'path' is missing"),
        ({"audio": {"path": ["a.wav"]}, "sentence": "a"}, "'path' must be text, not ['a.wav']"),
        ({"audio": "", "sentence": "a"}, "'' is no path of an audio file"),
        ({"audio": "a\0.wav", "sentence": "a"}, "is no path of an audio file"),
        ({"audio": "a.wav"}, "'sentence' is missing"),
        ({"audio": "a.wav", "sentence": 7}, "'sentence' must be text, not 7"),
        ('{"audio": "a.wav", "sentence": "\\ud83d"}\n', "'sentence' holds half a character"),
        ('{"audio": "a.wav", "sentence": "a", "speaker": {"name": "\\ud83d"}}\n', "'speaker' holds half a character"),
        ('{"audio": "a.wav", "sentence": "a", "sentence": "b"}\n', "has the key 'sentence' 2 times ('a', 'b'); keep one"),
        ('{"audio": {"path": "a.wav", "path": "b.wav"}, "sentence": "b"}\n', "has the key 'path' 2 times"),
        (GOOD | {"sentence": "<|en|> hello"}, "'sentence' holds '<|en|>', which has the form of Whisper's special tokens"),
        (GOOD | {"sentence": "hello<|endoftext|>"}, "'sentence' holds '<|endoftext|>'"),
        (GOOD | {"sentence": "a\0b"}, "'sentence' holds a NUL"),
        (GOOD | {"sentence": "a\x1bb"}, "'sentence' holds the control character"),
        (GOOD | {"sentences": [{"start": 0, "end": 1, "text": "<|0.00|>a"}]}, "'text' holds '<|0.00|>'"),
        (GOOD | {"language": "Klingon"}, "language 'Klingon' is not one of Whisper's"),
        (GOOD | {"language": 5}, "'language' must be text, not 5"),
        (GOOD | {"duration": "4 s"}, "'duration' must be seconds, 0 or more, not '4 s'"),
        (GOOD | {"duration": True}, "'duration' must be seconds, 0 or more, not True"),
        (GOOD | {"duration": 10**400}, "'duration' must be seconds, 0 or more, not 1000"),
        (GOOD | {"duration": math.nan}, "'duration' must be seconds, 0 or more, not nan"),
        ({"audio": {"path": "a.wav", "start_time": -1}, "sentence": "a"}, "'start_time' must be seconds, 0 or more, not -1"),
        ({"audio": {"path": "a.wav", "end_time": math.inf}, "sentence": "a"}, "'end_time' must be seconds, 0 or more, not inf"),
        ({"audio": {"path": "a.wav", "start_time": 3, "end_time": 2}, "sentence": "a"}, "end_time 2 s is not after start_time 3 s"),
        ({"audio": {"path": "a.wav", "start_time": 3, "end_time": 3}, "sentence": "a"}, "end_time 3 s is not after start_time 3 s"),
        (GOOD | {"sentences": "a"}, "'sentences' must be a list of objects"),
        (GOOD | {"sentences": ["a"]}, "'sentences' must be a list of objects"),
        (GOOD | {"sentences": [{"text": "a"}]}, "an entry of 'sentences' has no start and end"),
        (GOOD | {"sentences": [{"start": 0, "text": "a"}]}, "an entry of 'sentences' has no end"),
        (GOOD | {"sentences": [{"start": 0, "end": 1}]}, "'text' is missing"),
        (GOOD | {"sentences": [{"start": 2, "end": 1, "text": "a"}]}, "ends at 1 s, before it starts at 2 s"),
        (
            {"audio": "a.wav", "sentence": "", "sentences": [{"start": 0, "end": 1, "text": "a"}]},
            "means no speech, but 'sentences' has text",
        ),
    ],
)
def test_a_line_that_cannot_be_used(tmp_path: Path, row: object, message: str) -> None:
    path = lines(tmp_path / "m.jsonl", GOOD, row, GOOD)
    with pytest.raises(ManifestError) as caught:
        manifest.read(path)
    assert any(problem.startswith(f"{path}:2: ") and message in problem for problem in caught.value.problems), caught.value.problems
    assert all(problem.startswith(f"{path}:2: ") for problem in caught.value.problems)


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    path = lines(tmp_path / "m.jsonl", "{\n", GOOD, {"audio": {"start_time": "x"}, "language": "Klingon"}, *["oops\n"] * 30)
    with pytest.raises(ManifestError, match="35 problems; correct or remove these lines") as caught:
        manifest.read(path)
    starts = [problem.split(": ")[0] for problem in caught.value.problems]
    assert starts == [f"{path}:{line}" for line in [1, 3, 3, 3, 3, *range(4, 34)]]
    assert "… and 15 more" in str(caught.value)


def test_text_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes('{"audio": "a.wav", "sentence": "Привет"}\n'.encode("cp1251"))
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: is not UTF-8 .*; save the file as UTF-8"):
        manifest.read(path)


@pytest.mark.parametrize("content", ["", "\n \r\n", "\ufeff"])
def test_an_empty_manifest(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ManifestError, match=r"m\.jsonl: holds no utterances; make a manifest with: finewhisper prepare"):
        manifest.read(path)


def test_no_manifest_at_all(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        manifest.read(tmp_path / "gone.jsonl")
    with pytest.raises(ManifestError, match="is a folder"):
        manifest.read(tmp_path)


# ---- the audio behind the lines


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, seconds_ in [("one", 1.0), ("two", 2.0), ("long", 31.0), ("hour", 60.0)]:
        soundfile.write(tmp_path / f"{name}.wav", 0.1 * rng.standard_normal(round(16_000 * seconds_)), 16_000)
    return tmp_path


TIMED = {"audio": "one.wav", "sentence": "a b"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"audio": "one.wav", "sentence": "a"}, None),
        ({"audio": "one.wav", "sentence": "a", "duration": 1.2}, None),
        ({"audio": {"path": "two.wav", "start_time": 1, "end_time": 2.04}, "sentence": "a", "duration": 1.0}, None),
        ({"audio": {"path": "hour.wav", "start_time": 20, "end_time": 50}, "sentence": "a"}, None),
        ({"audio": "two.wav", "sentence": "", "sentences": []}, None),
        ({"audio": "gone.wav", "sentence": "a"}, "gone.wav: no such file"),
        ({"audio": "long.wav", "sentence": "a"}, "is 31.0 s long, but Whisper hears 30 s at once; split it"),
        ({"audio": {"path": "hour.wav", "start_time": 2}, "sentence": "a"}, "is 58.0 s long"),
        ({"audio": {"path": "one.wav", "start_time": 1.5}, "sentence": "a"}, "start_time 1.5 s lies behind the end of"),
        ({"audio": {"path": "one.wav", "end_time": 1.5}, "sentence": "a"}, "end_time 1.5 s lies behind the end of"),
        ({"audio": "one.wav", "sentence": "a", "duration": 3}, "'duration' says 3 s, but it is 1.00 s"),
        ({"audio": {"path": "two.wav", "start_time": 1}, "sentence": "a", "duration": 2}, "'duration' says 2 s, but it is 1.00 s"),
        ({"audio": "one.wav", "sentence": "a", "sentences": [{"start": 0, "end": 1.6, "text": "a"}]}, "ends at 1.6 s, after the utterance"),
        (TIMED | {"sentences": [{"start": 0.5, "end": 0.5, "text": "a"}]}, "begins and ends at 0.5 s; correct"),
        (TIMED | {"sentences": [{"start": 0.5, "end": 0.9, "text": "b"}, {"start": 0, "end": 0.5, "text": "a"}]}, "begins at 0 s, before"),
        (TIMED | {"sentences": [{"start": 0, "end": 0.8, "text": "a"}, {"start": 0.5, "end": 0.9, "text": "b"}]}, "above ends (0.8 s)"),
        (TIMED | {"sentences": [{"start": 0, "end": 0.52, "text": "a"}, {"start": 0.5, "end": 0.9, "text": "b"}]}, None),
    ],
)
def test_check_looks_at_the_audio(clips: Path, row: dict[str, object], message: str | None) -> None:
    path = lines(clips / "m.jsonl", {"audio": "one.wav", "sentence": "a"}, row)
    problems = manifest.check(manifest.read(path), path)
    if message is None:
        assert problems == []
    else:
        assert len(problems) == 1
        assert problems[0].startswith(f"{path}:2: ")
        assert message in problems[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [("silence", "silence.wav: is digital silence: every sample is zero, but has a sentence"), ("ten_ms", "0.010 s long")],
)
def test_sound_in_which_nothing_can_be_heard_is_refused(tmp_path: Path, name: str, message: str) -> None:
    path = lines(
        tmp_path / "m.jsonl",
        *({"audio": str(FIELD / "audio" / f"{name}.wav"), "sentence": text, "language": "en"} for text in ("hello", "")),
    )
    problems = manifest.check(manifest.read(path), path, decode=True)
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:1: ")
    assert message in problems[0]


def test_a_minute_of_text_on_a_second_is_refused(clips: Path) -> None:
    path = lines(
        clips / "m.jsonl", {"audio": "one.wav", "sentence": "and then we went on " * 40}, {"audio": "one.wav", "sentence": "一" * 12}
    )
    problems = manifest.check(manifest.read(path), path)
    assert len(problems) == 1
    assert ":1: is 1.00 s long, in which nobody says 799 characters" in problems[0]


def test_check_counts_tokens(clips: Path) -> None:
    path = lines(clips / "m.jsonl", {"audio": "one.wav", "sentence": "a b c"}, {"audio": "one.wav", "sentence": "a b c d"})
    problems = manifest.check(manifest.read(path), path, count_tokens=lambda utterance: len(utterance.sentence.split()), max_tokens=3)
    assert problems == [f"{path}:2: the sentence has 4 tokens, but only 3 fit beside the prompt; split the utterance"]


def test_check_decodes_where_it_is_told_to(clips: Path) -> None:
    soundfile.write(clips / "cut.flac", soundfile.read(clips / "two.wav")[0], 16_000)
    raw = (clips / "cut.flac").read_bytes()
    (clips / "cut.flac").write_bytes(raw[: len(raw) // 2])
    path = lines(clips / "m.jsonl", {"audio": "one.wav", "sentence": "a"}, {"audio": "cut.flac", "sentence": "a"})
    assert manifest.check(manifest.read(path), path) == []
    problems = manifest.check(manifest.read(path), path, decode=True)
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}:2: {clips / 'cut.flac'}: is cut short")


def test_the_length_that_decoding_gives_counts(tmp_path: Path) -> None:
    """FFmpeg's estimate from the bit rate of a memo whose rate changes is 20.84 s."""
    for name in ("manifests/amra.jsonl", "audio/voice_memo.amr"):
        shutil.copyfile(FIELD / name, tmp_path / Path(name).name)
    one_line = (tmp_path / "amra.jsonl").read_text().splitlines()[0]
    (tmp_path / "amra.jsonl").write_text(one_line + "\n")
    utterances = manifest.read(tmp_path / "amra.jsonl")
    assert utterances[0].length_s() == pytest.approx(12.04, abs=0.03)
    assert manifest.check(utterances, tmp_path / "amra.jsonl", decode=True) == []
