"""Own recordings, in the forms that people and other tools keep them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from finewhisper import manifest
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.result import Prepared
from finewhisper.corpora.run import run
from finewhisper.errors import CorpusError, StorageError, UsageError
from finewhisper.manifest import Utterance

MakeClip = Callable[..., Path]


def prepare(source: Path, output: Path, **options: object) -> Prepared:
    return run(PrepareConfig(corpus="audiofolder", source=source, output=output, **options))


def rows(prepared: Prepared) -> dict[str, list[Utterance]]:
    return {name: manifest.read(prepared.manifest(name)) for name in prepared.splits}


def everything(prepared: Prepared) -> dict[str, Utterance]:
    return {row.path.name: row for split in rows(prepared).values() for row in split}


@pytest.fixture
def folder(tmp_path: Path, clip: MakeClip) -> Path:
    for number in range(4):
        clip(tmp_path / "mine" / f"{number}.wav", 1 + number)
    return tmp_path / "mine"


WITHOUT_SPLITS = {"test_share": 0.0, "dev_share": 0.0}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", 'file_name,transcription\n0.wav,"Well, yes."\n1.wav,No\n'),
        ("metadata.csv", '\ufefffile_name;sentence\r\n0.wav;"Well, yes."\r\n1.wav;No\r\n'),
        ("metadata.csv", '0.wav|"Well, yes."|Well, yes.\n1.wav|No|No\n'),
        ("metadata.csv", '0|"Well, yes."\n1|No\n'),
        ("metadata.tsv", 'path\tsentence\n0.wav\t"Well, yes."\n1.wav\tNo\n'),
        ("metadata.jsonl", '{"file_name": "0.wav", "text": "Well, yes."}\n\n{"audio": {"path": "1.wav"}, "sentence": "No"}\n'),
    ],
)
def test_the_forms_of_a_table(folder: Path, tmp_path: Path, name: str, content: str) -> None:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    found = everything(prepare(folder, tmp_path / "out", language="en", **WITHOUT_SPLITS))
    assert {key: row.sentence.strip('"') for key, row in found.items()} == {"0.wav": "Well, yes.", "1.wav": "No"}
    assert {row.language for row in found.values()} == {"en"}
    assert (found["0.wav"].duration_s, found["1.wav"].duration_s) == (1.0, 2.0)


ODD_NAMES = ["two  words .wav", "-m.wav", "🎤[1].wav", "%s{0}'\"$x.wav", "two\nlines.wav", os.fsdecode("你好.wav".encode("gbk"))]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not take such names")
@pytest.mark.parametrize(("table", "names"), [("metadata.csv", ODD_NAMES[:-2]), ("metadata.jsonl", ODD_NAMES)])
def test_names_of_any_bytes(tmp_path: Path, clip: MakeClip, table: str, names: list[str]) -> None:
    """A CSV table has no place for line breaks, nor UTF-8 for other bytes; JSON has, as Python's json.dumps writes it."""
    source = tmp_path / "mine"
    source.mkdir()
    for number, name in enumerate(names):
        clip(tmp_path / "plain.wav", seed=number).rename(source / name)
    with (source / table).open("w", encoding="utf-8", newline="") as stream:
        if table == "metadata.csv":
            csv.writer(stream).writerows([("file_name", "text"), *((name, "Some words.") for name in names)])
        else:
            stream.writelines(json.dumps({"file_name": name, "text": "Some words."}) + "\n" for name in names)
    prepared = prepare(source, tmp_path / "out", decode=True, **WITHOUT_SPLITS)
    found = rows(prepared)["train"]
    assert {row.path.name for row in found} == set(names)
    assert {len(row.waveform()) for row in found} == {16_000}


def test_optional_columns(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text(
        "file_name,transcription,language,speaker_id,start,end,mood,empty\n"
        "3.wav,One,bg,Ann,0.5,1.5,glad,\n3.wav,Two,pt-BR,Bob,2,,,\n2.wav,,Chinese,,,,sad,\n",
        encoding="utf-8",
    )
    one, two, three = sorted(rows(prepare(folder, tmp_path / "out", **WITHOUT_SPLITS))["train"], key=lambda row: row.sentence or "~")
    assert (one.start_s, one.end_s, one.duration_s, one.language) == (0.5, 1.5, 1.0, "bg")
    assert one.extra == {"mood": "glad", "speaker": "Ann"}
    assert (two.start_s, two.end_s, two.duration_s, two.language) == (2.0, None, 2.0, "pt")
    assert (three.sentence, three.language, three.extra) == ("", "zh", {"mood": "sad"})


def test_a_split_column(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text,split\n0.wav,a,train\n1.wav,b,validation\n2.wav,c,TEST\n3.wav,d,\n")
    found = {name: [row.sentence for row in split] for name, split in rows(prepare(folder, tmp_path / "out")).items()}
    assert found == {"train": ["a", "d"], "dev": ["b"], "test": ["c"]}
    with pytest.raises(UsageError, match="has splits of its own"):
        prepare(folder, tmp_path / "out2", test_share=0.5)


def test_split_folders(tmp_path: Path, clip: MakeClip) -> None:
    for name, text in [("train", "a"), ("validation", "b"), ("test", "c")]:
        clip(tmp_path / "hub" / name / "0.wav")
        (tmp_path / "hub" / name / "metadata.jsonl").write_text(json.dumps({"file_name": "0.wav", "transcription": text}))
    found = {name: [row.sentence for row in split] for name, split in rows(prepare(tmp_path / "hub", tmp_path / "out")).items()}
    assert found == {"train": ["a"], "dev": ["b"], "test": ["c"]}


def test_common_voice(tmp_path: Path, clip: MakeClip) -> None:
    clip(tmp_path / "cv" / "clips" / "common_voice_bg_1.mp3")
    (tmp_path / "cv" / "validated.tsv").write_text(
        'client_id\tpath\tsentence\tup_votes\tlocale\nf00\tcommon_voice_bg_1.mp3\t"Да", каза той.\t2\tbg\n', encoding="utf-8"
    )
    row = rows(prepare(tmp_path / "cv" / "validated.tsv", tmp_path / "out", **WITHOUT_SPLITS))["train"][0]
    assert row.path == tmp_path / "cv" / "clips" / "common_voice_bg_1.mp3"
    assert (row.sentence, row.language, row.extra) == ('"Да", каза той.', "bg", {"speaker": "f00", "up_votes": "2"})


def test_ljspeech(tmp_path: Path, clip: MakeClip) -> None:
    clip(tmp_path / "lj" / "wavs" / "LJ001-0001.wav")
    (tmp_path / "lj" / "metadata.csv").write_text('LJ001-0001|He said "1".|He said "one".\n')
    row = rows(prepare(tmp_path / "lj", tmp_path / "out", language="en", **WITHOUT_SPLITS))["train"][0]
    assert (row.path.name, row.sentence) == ("LJ001-0001.wav", 'He said "1".')
    assert row.extra == {"normalized_text": 'He said "one".'}


def test_splits_are_dealt_out_by_text(tmp_path: Path, clip: MakeClip) -> None:
    lines = ["file_name,text"]
    for number in range(40):
        clip(tmp_path / "mine" / f"{number:02}.wav", 0.1)
        lines.append(f"{number:02}.wav,Sentence {number % 20}.")
    (tmp_path / "mine" / "metadata.csv").write_text("\n".join(lines))
    found = rows(prepare(tmp_path / "mine", tmp_path / "out", language="en"))
    assert {name: len(split) for name, split in found.items()} == {"train": 34, "dev": 2, "test": 4}
    assert not {row.sentence for row in found["test"]} & {row.sentence for row in found["train"] + found["dev"]}


FIELD = Path(__file__).parents[2] / "field" / "tables"


@pytest.fixture
def field(tmp_path: Path, clip: MakeClip) -> Callable[[str], Path]:
    """A folder with the table of that name and the clips that it needs."""

    def made(name: str) -> Path:
        folder = Path(shutil.copytree(FIELD / name, tmp_path / name))
        for folder_, number in [("", 0), ("", 1), ("", 2), ("train", 0), ("train", 1), ("test", 2), ("test", 3)]:
            clip(folder / folder_ / f"{number:02}.wav", 1 + number / 2)
        clip(folder / unicodedata.normalize("NFD", "café.wav"), 1)
        return folder

    return made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("spacehdr", {"00.wav": "hello", "01.wav": "bye, now"}),
        ("vits3", {"00.wav": "hello there my friend", "01.wav": "good bye"}),
        ("jsonarray", {"00.wav": "hello", "01.wav": "bye"}),
    ],
)
def test_tables_from_the_field_that_are_read(field: Callable[[str], Path], tmp_path: Path, name: str, expected: dict[str, str]) -> None:
    found = everything(prepare(field(name), tmp_path / "out", language="en", **WITHOUT_SPLITS))
    assert {key: row.sentence for key, row in found.items()} == expected


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("comma", 2, "has 4 cells, but the header has 2; put texts that hold the separator into quotation marks"),
        ("extracols", 2, "has 4 cells, but the header has 3"),
        ("badquote", 2, "a quotation mark that opens here is not closed where a cell ends, so lines 2 to 4 cannot be told apart"),
    ],
)
def test_tables_from_the_field_that_are_in_doubt(field: Callable[[str], Path], tmp_path: Path, name: str, line: int, message: str) -> None:
    source = field(name)
    with pytest.raises(CorpusError) as caught:
        prepare(source, tmp_path / "out")
    assert f"{source / 'metadata.csv'}:{line}: {message}" in str(caught.value)


def test_the_speakers_of_a_vits_list_are_kept(field: Callable[[str], Path], tmp_path: Path) -> None:
    found = everything(prepare(field("vits3"), tmp_path / "out", **WITHOUT_SPLITS))
    assert {row.extra["speaker"] for row in found.values()} == {"7", "12"}


def test_folders_in_the_names_are_the_split(field: Callable[[str], Path], tmp_path: Path) -> None:
    found = {name: sorted(row.sentence for row in split) for name, split in rows(prepare(field("hf"), tmp_path / "out")).items()}
    assert found == {"train": ["bye", "hello"], "test": ["c", "d"]}


def test_a_clip_in_two_splits_is_told(field: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = field("splitleak") / "metadata.csv"
    prepare(table.parent, tmp_path / "out")
    assert f"{table}:3: duplicate: the same clip as {table}:2" in capsys.readouterr().err


def test_rows_without_text_are_counted_aloud(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "metadata.csv").write_text("file_name,text\n0.wav,a\n1.wav,\n2.wav,  \n3.wav,nan\n")
    prepare(folder, tmp_path / "out", **WITHOUT_SPLITS)
    told = capsys.readouterr().err
    assert f"{folder / 'metadata.csv'}:3: is empty; 2 of 4 utterances have no text and count as no speech" in told
    assert f"{folder / 'metadata.csv'}:5: the text is 'nan', which pandas and databases write" in told


def test_a_corrected_table_is_prepared_again(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text("file_name,text\n0.wav,wrong\n1.wav,b\n")
    assert prepare(folder, tmp_path / "out", **WITHOUT_SPLITS).fresh
    assert not prepare(folder, tmp_path / "out", **WITHOUT_SPLITS).fresh
    (folder / "metadata.csv").write_text("file_name,text\n0.wav,right\n1.wav,b\n")
    again = prepare(folder, tmp_path / "out", **WITHOUT_SPLITS)
    assert again.fresh
    assert {row.sentence for row in rows(again)["train"]} == {"right", "b"}
    clip = folder / "1.wav"
    clip.write_bytes((folder / "2.wav").read_bytes())
    assert prepare(folder, tmp_path / "out", **WITHOUT_SPLITS).fresh, "a clip was replaced"
    corrected = tmp_path / "out" / "train.jsonl"
    corrected.write_text(corrected.read_text().replace("right", "mine"))
    (folder / "metadata.csv").write_text("file_name,text\n0.wav,third\n1.wav,b\n")
    with pytest.raises(StorageError, match="was changed after prepare wrote it"):
        prepare(folder, tmp_path / "out", **WITHOUT_SPLITS)


def test_text_is_composed_and_a_decomposed_name_found(field: Callable[[str], Path], tmp_path: Path) -> None:
    source = field("nfd")
    text = (source / "metadata.csv").read_text(encoding="utf-8")
    (source / "metadata.csv").write_text(
        text.replace(unicodedata.normalize("NFC", ",café"), unicodedata.normalize("NFD", ",café")), encoding="utf-8"
    )
    found = prepare(source, tmp_path / "out", **WITHOUT_SPLITS)
    assert sorted(row.sentence for row in rows(found)["train"]) == ["bye", unicodedata.normalize("NFC", "café")]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "metadata.tsv",
            'file_name\ttext\r\n0.wav\t"He said ""yes"", then no"\r\n1.wav\t"Well, no"\r\n',
            ('He said "yes", then no', "Well, no"),
        ),
        ("metadata.tsv", 'file_name\ttext\n0.wav\t"Yes", she said\n1.wav\t"No."\n', ('"Yes", she said', '"No."')),
        ("metadata.csv", "\ufefffile_name;text;start;end\r\n0.wav;Yes, well;0,5;1,0\r\n1.wav;No;;\r\n", ("Yes, well", "No")),
        ("metadata.csv", ",file_name,text\n0,0.wav,Yes\n1,1.wav,No\n", ("Yes", "No")),
        ("metadata.csv", "file_name,text\r0.wav,Yes\r1.wav,No\r", ("Yes", "No")),
        ("metadata.csv", "file_name,text\n0.wav,Yes,,\n1.wav,No,,,,\n", ("Yes", "No")),
        ("metadata.csv", 'file_name,text\n0.wav,He said "yes"\n1.wav,"""No"""\n', ('He said "yes"', '"No"')),
        ("list.txt", "0.wav|ann|Yes\n1.wav|bob|No\n", None),
        ("list.txt", "0.wav|0|en|Yes\n1.wav|1|en|No\n", None),
        ("list.txt", "0.wav|Yes, it is\n1.wav|No\n", ("Yes, it is", "No")),
        ("list.txt", "file_name|speaker|text\n0.wav|ann|Yes\n1.wav|bob|No\n", ("Yes", "No")),
    ],
)
def test_tables_of_the_same_kinds(folder: Path, tmp_path: Path, name: str, content: str, expected: tuple[str, str] | None) -> None:
    (folder / name).write_text(content, encoding="utf-8", newline="")
    if expected is None:
        with pytest.raises(CorpusError, match="and no header, so it is not known which of them is the text; add a first line"):
            prepare(folder / name, tmp_path / "out")
        return
    found = everything(prepare(folder / name, tmp_path / "out", language="en", **WITHOUT_SPLITS))
    assert (found["0.wav"].sentence, found["1.wav"].sentence) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('file_name,text\n0.wav,"yes\n1.wav,no"\n2.wav,c\n', r"metadata\.csv:2: goes on to line 3 within quotation marks"),
        ('file_name,text\n0.wav,"yes" or no\n', r"metadata\.csv:2: has text behind a closing quotation mark"),
        ("file_name,text\n0.wav\n", r"metadata\.csv:2: has 1 cells, but the header has 2; complete the row"),
        ("file_name,text,\n0.wav,yes, well\n", r"metadata\.csv:2: has 'well' in a column without a name"),
        ("file_name,text,text\n0.wav,yes,no\n", r"metadata\.csv:1: has the column 'text' twice"),
        ("file_name,text\n0.wav,a\0b\n", r"metadata\.csv:2: holds a NUL"),
        ("file_name,text\n0.wav,<|en|>yes\n", r"metadata\.csv:2: the text '<|en|>yes' holds '<|en|>'".replace("|", r"\|")),
        ("file_name,text\n0.wav,a\x07b\n", r"metadata\.csv:2: the text 'a\\x07b' holds the control character"),
        ("file_name,text\n", "no clip is left that can be used"),
        ("file_name,text,split\ntrain/0.wav,a,test\n", r"metadata\.csv:2: split says 'test', but the file lies in train/"),
        ('file_name,text,start,end\n0.wav,a,"0,500",1\n', r"metadata\.csv:2: start must be seconds, 0 or more, not '0,500'"),
    ],
)
def test_rows_in_doubt_are_refused_with_their_line(folder: Path, tmp_path: Path, content: str, message: str) -> None:
    (folder / "metadata.csv").write_text(content, encoding="utf-8", newline="")
    with pytest.raises(CorpusError, match=message):
        prepare(folder, tmp_path / "out")


def test_half_characters_and_nested_values_in_json_rows(folder: Path, tmp_path: Path) -> None:
    bad = [
        '{"file_name": "\\ud83d.wav", "text": "a"}',
        '{"file_name": "0.wav", "text": "\\ud83d"}',
        '{"file_name": "0.wav", "text": "a", "x": ["\\ud83d"]}',
    ]
    (folder / "metadata.jsonl").write_text("\n".join(bad))
    with pytest.raises(CorpusError) as caught:
        prepare(folder, tmp_path / "out")
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["1", "2", "3"]
    (folder / "metadata.jsonl").write_text('{"file_name": "0.wav", "text": "a", "tags": [1, {"b": []}]}')
    assert everything(prepare(folder, tmp_path / "out", **WITHOUT_SPLITS))["0.wav"].extra == {"tags": [1, {"b": []}]}


def test_a_table_in_utf16_is_told(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_bytes("file_name,text\n0.wav,yes\n".encode("utf-16"))
    with pytest.raises(CorpusError, match="is not UTF-8 but UTF-16, as Excel writes"):
        prepare(folder, tmp_path / "out")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX alone has named pipes")
def test_a_table_in_a_pipe_is_refused_at_once(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    with pytest.raises(CorpusError, match="is a pipe or a device; write its content into a file"):
        prepare(folder / "pipe.csv", tmp_path / "out")


TABLE = """file_name,text,language,start,end,split
0.wav,fine,bg,,,
,no file,bg,,,
1.wav,tongue,Klingon,,,
1.wav,words,bg,two,,
1.wav,minus,bg,-1,,
1.wav,reversed,bg,1.5,0.5,
1.wav,where,bg,,,somewhere
gone.wav,missing,bg,,,
1.wav,late,bg,5,,
"""


def test_every_bad_row_is_reported_with_its_line(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text(TABLE)
    with pytest.raises(CorpusError, match="8 problems; correct the clips, or leave them out with --skip-bad") as caught:
        prepare(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    where = f"{folder / 'metadata.csv'}:"
    expected = {
        3: "names no file in file_name or path",
        4: "language 'Klingon' is not one of Whisper's",
        5: "start must be seconds, 0 or more, not 'two'",
        6: "start must be seconds, 0 or more, not '-1'",
        7: "ends at 0.5 s, which is not after its start at 1.5 s",
        8: "split 'somewhere' must be one of train, dev, test",
        9: "gone.wav: no such file",
        10: "start_time 5 s lies behind the end of",
    }
    for problem, (line, message) in zip(
        sorted(caught.value.problems, key=lambda text: int(text.split(":")[1])), expected.items(), strict=True
    ):
        assert problem.startswith(f"{where}{line}: ")
        assert message in problem


def test_bad_rows_can_be_left_out_and_are_listed(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_text(TABLE)
    prepared = prepare(folder, tmp_path / "out", skip_bad=True)
    assert list(everything(prepared)) == ["0.wav"]
    assert prepared.left_out == {"cannot be used": 8}
    listed = (tmp_path / "out" / "left-out.tsv").read_text().splitlines()
    assert len(listed) == 9
    assert sum("gone.wav: no such file" in line for line in listed) == 1


def test_broken_json_lines(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.jsonl").write_text(
        '{"file_name": "0.wav", "text": "a"}\n{\n[1]\n{"file_name": ["x"], "text": "b"}\n{"file_name": "1.wav"}\n'
    )
    with pytest.raises(CorpusError) as caught:
        prepare(folder, tmp_path / "out")
    lines = [problem.removeprefix(f"{folder / 'metadata.jsonl'}:").split(": ")[0] for problem in caught.value.problems]
    assert lines == ["2", "3", "4", "4", "5"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, "", r"holds no metadata\.csv, metadata\.tsv, metadata\.jsonl; write one with the columns file_name and transcription"),
        ("metadata.csv", "", r"metadata\.csv: is empty"),
        ("metadata.csv", "name,words\n0.wav,a\n", r"metadata\.csv:1: has no column file_name or path .*; its columns are name, words"),
        ("metadata.csv", "file_name,words\n0.wav,a\n", r"metadata\.csv:1: has no column transcription or sentence"),
        ("metadata.csv", "file_name,text\n", "no clip is left that can be used"),
    ],
)
def test_no_usable_table(folder: Path, tmp_path: Path, name: str | None, content: str, message: str) -> None:
    if name is not None:
        (folder / name).write_text(content)
    with pytest.raises(CorpusError, match=message):
        prepare(folder, tmp_path / "out", **WITHOUT_SPLITS)


def test_two_tables_or_none(folder: Path, tmp_path: Path) -> None:
    for name in ("metadata.csv", "metadata.tsv"):
        (folder / name).write_text("file_name,text\n0.wav,a\n")
    with pytest.raises(CorpusError, match=r"holds metadata\.csv and metadata\.tsv; keep one of them"):
        prepare(folder, tmp_path / "out")
    with pytest.raises(CorpusError, match="no such file or folder"):
        prepare(tmp_path / "gone", tmp_path / "out")
    with pytest.raises(UsageError, match="--source: is required"):
        run(PrepareConfig(corpus="audiofolder", output=tmp_path / "out"))


def test_a_table_in_another_encoding(folder: Path, tmp_path: Path) -> None:
    (folder / "metadata.csv").write_bytes("file_name,text\n0.wav,Привет\n".encode("cp1251"))
    with pytest.raises(CorpusError, match=r"metadata\.csv: is not UTF-8 .*; save the file as UTF-8"):
        prepare(folder, tmp_path / "out")
