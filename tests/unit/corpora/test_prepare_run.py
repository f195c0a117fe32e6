"""What all corpora have in common: checks, splits on disk, second runs, and the command line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import soundfile

from finewhisper import cli, manifest
from finewhisper.corpora import run as run_module
from finewhisper.corpora.config import CorpusName, PrepareConfig
from finewhisper.corpora.result import Prepared
from finewhisper.corpora.run import CORPORA, run
from finewhisper.errors import CorpusError, ManifestError, StorageError, UsageError

MakeClip = Callable[..., Path]
FIELD = Path(__file__).parents[2] / "field" / "audio"


def test_every_corpus_has_a_name_and_every_name_a_corpus() -> None:
    assert set(CORPORA) == set(get_args(CorpusName))


@pytest.fixture
def clips(tmp_path: Path, clip: MakeClip) -> Path:
    for number in range(20):
        clip(tmp_path / "clips" / f"{number:02}.flac", 0.5 + number / 10)
    return tmp_path / "clips"


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def check(source: Path, output: Path, **options: object) -> Prepared:
    return run(PrepareConfig(corpus="manifest", source=source, output=output, **options))


# ---- an existing manifest


def test_what_is_noticed_in_decoding_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = {"audio": str(FIELD / "silence.wav"), "sentence": ""}
    damaged = [{"audio": str(FIELD / name), "sentence": "Some words."} for name in ("pad0.mp3", "corrupt_mid.mp3", "drop6.m4a")]
    source = lines(tmp_path / "mine.jsonl", silent, *damaged)
    check(source, tmp_path / "headers")
    assert "clips with" not in capsys.readouterr().err
    prepared = check(source, tmp_path / "decoded", decode=True)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("clips with")]
    assert told == [
        f"clips with damaged packets: 2; the first is {FIELD / 'pad0.mp3'}: 1 damaged packet is skipped, at 9.66 s",
        f"clips with holes in their time stamps: 1; the first is {FIELD / 'drop6.m4a'}: "
        "a hole in its time stamps is read as silence: 0.38 s at 3.78 s",
    ]
    assert prepared.splits["mine"].utterances == 4


def test_a_manifest_is_completed(clips: Path, tmp_path: Path) -> None:
    source = lines(
        clips / "mine.jsonl",
        {"audio": "00.flac", "sentence": "A", "language": "Chinese", "tag": 1},
        {"audio": {"path": "19.flac", "start_time": 0.5, "end_time": 1.5}, "sentence": "B", "duration": 99},
        {"audio": "01.flac", "sentence": "", "sentences": []},
    )
    prepared = check(source, clips / "checked", language="Bulgarian")
    rows = [json.loads(line) for line in (clips / "checked" / "mine.jsonl").read_text().splitlines()]
    assert rows == [
        {"audio": {"path": str(clips / "00.flac")}, "sentence": "A", "language": "zh", "duration": 0.5, "tag": 1},
        {
            "audio": {"path": str(clips / "19.flac"), "start_time": 0.5, "end_time": 1.5},
            "sentence": "B",
            "language": "bg",
            "duration": 1.0,
        },
        {"audio": {"path": str(clips / "01.flac")}, "sentence": "", "language": "bg", "duration": 0.6, "sentences": []},
    ]
    assert prepared.splits["mine"].utterances == 3


def test_every_problem_of_a_manifest_is_reported_with_its_line(clips: Path, tmp_path: Path) -> None:
    (clips / "empty.wav").touch()
    (clips / "text.wav").write_text("not audio")
    source = lines(
        clips / "mine.jsonl",
        {"audio": "00.flac", "sentence": "A"},
        "{broken\n",
        {"audio": "gone.flac", "sentence": "B"},
        {"audio": "empty.wav", "sentence": "B"},
        {"audio": "text.wav", "sentence": "B"},
        {"audio": {"path": "00.flac", "start_time": 3}, "sentence": "B"},
        {"audio": {"path": "00.flac", "start_time": 3, "end_time": 2}, "sentence": "B"},
        {"audio": "00.flac", "sentence": "A", "sentences": [{"start": 0, "end": 9, "text": "A"}]},
    )
    with pytest.raises(CorpusError, match=r"mine\.jsonl: 7 problems; correct the clips, or leave them out with --skip-bad") as caught:
        check(source, tmp_path / "out")
    found = {int(problem.removeprefix(f"{source}:").split(":")[0]): problem for problem in caught.value.problems}
    words = ["is not JSON", "no such file", "is empty", "cannot be decoded", "behind the end", "not after", "ends at 9 s"]
    assert sorted(found) == list(range(2, 9))
    assert all(word in found[line] for line, word in enumerate(words, start=2))
    assert not (tmp_path / "out").exists()


def test_bad_lines_are_left_out_only_on_request_and_listed(clips: Path, tmp_path: Path) -> None:
    source = lines(clips / "mine.jsonl", {"audio": "00.flac", "sentence": "A"}, "{broken\n", {"audio": "gone.flac", "sentence": "B"})
    prepared = check(source, tmp_path / "out", skip_bad=True)
    assert [row.sentence for row in manifest.read(tmp_path / "out" / "mine.jsonl")] == ["A"]
    assert "2 cannot be used" in str(prepared)
    with (tmp_path / "out" / "left-out-mine.tsv").open(newline="") as stream:
        listed = list(csv.DictReader(stream, delimiter="\t"))
    assert [Path(row["path"]).name for row in listed] == ["", "gone.flac"]
    assert "mine.jsonl:2: is not JSON" in listed[0]["detail"]


def test_a_clip_that_is_cut_short_is_found_by_decoding(clips: Path, tmp_path: Path) -> None:
    raw = (clips / "10.flac").read_bytes()
    (clips / "10.flac").write_bytes(raw[: len(raw) // 2])
    source = lines(clips / "mine.jsonl", *({"audio": f"{number:02}.flac", "sentence": "A"} for number in range(20)))
    check(source, tmp_path / "headers")
    with pytest.raises(CorpusError, match=r"mine\.jsonl:11: .*10\.flac: is cut short"):
        check(source, tmp_path / "decoded", decode=True)


def test_several_manifests_in_one_folder(clips: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        check(lines(clips / f"{name}.jsonl", {"audio": "00.flac", "sentence": name}), tmp_path / "out")
    assert manifest.read(tmp_path / "out" / "train.jsonl")[0].sentence == "train"
    assert manifest.read(tmp_path / "out" / "test.jsonl")[0].sentence == "test"
    assert not check(clips / "train.jsonl", tmp_path / "out").fresh


def test_a_manifest_can_be_split(clips: Path, tmp_path: Path) -> None:
    source = lines(clips / "mine.jsonl", *({"audio": f"{number:02}.flac", "sentence": f"S{number}"} for number in range(20)))
    prepared = check(source, tmp_path / "out", test_share=0.25, dev_share=0.1)
    assert {name: summary.utterances for name, summary in prepared.splits.items()} == {"train": 13, "dev": 2, "test": 5}


def test_a_manifest_is_not_overwritten_by_its_copy(clips: Path) -> None:
    source = lines(clips / "mine.jsonl", {"audio": "00.flac", "sentence": "A"})
    before = source.read_bytes()
    with pytest.raises(ValueError, match=r"contains SOURCE .*mine\.jsonl, which is only to be read; choose another --output"):
        check(source, clips, overwrite=True)
    assert source.read_bytes() == before


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such manifest"):
        check(tmp_path / "gone.jsonl", tmp_path / "out")
    with pytest.raises(UsageError, match="--source: is required for manifest"):
        run(PrepareConfig(corpus="manifest", output=tmp_path / "out"))
    with pytest.raises(CorpusError, match="no clip is left"):
        check(lines(tmp_path / "empty.jsonl"), tmp_path / "out")


# ---- clips that cannot be trained on


def test_long_and_broken_clips_stop_the_run(clips: Path, tmp_path: Path, clip: MakeClip) -> None:
    clip(clips / "long.wav", 31)
    soundfile.write(clips / "zero.wav", [], 16_000)
    (clips / "metadata.csv").write_text("file_name,text\n00.flac,a\nlong.wav,b\nzero.wav,c\n")
    config = PrepareConfig(corpus="audiofolder", source=clips, output=tmp_path / "out")
    with pytest.raises(CorpusError) as caught:
        run(config)
    assert [problem.split(": ", 1)[0] for problem in caught.value.problems] == [f"{clips / 'metadata.csv'}:{line}" for line in (3, 4)]
    assert "is 31.0 s long, but Whisper hears 30 s at once" in caught.value.problems[0]
    assert "holds no samples" in caught.value.problems[1]
    assert not (tmp_path / "out").exists()


# ---- second runs


@pytest.fixture
def folder(clips: Path) -> Path:
    rows = "".join(f"{number:02}.flac,Sentence {number}\n" for number in range(20))
    (clips / "metadata.csv").write_text(f"file_name,text\n{rows}")
    return clips


def prepare(folder: Path, output: Path, **options: object) -> Prepared:
    return run(PrepareConfig(corpus="audiofolder", source=folder, output=output, **options))


def test_a_second_run_reads_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(folder, tmp_path / "out")
    monkeypatch.setattr(run_module, "CORPORA", {})
    again = prepare(folder, tmp_path / "out")
    assert (again.splits, again.left_out, again.fresh) == (first.splits, first.left_out, False)
    assert "nothing to do" in str(again)
    assert "nothing to do" not in str(first)


def test_other_settings_are_not_mistaken_for_the_same(folder: Path, tmp_path: Path) -> None:
    prepare(folder, tmp_path / "out", language="bg")
    with pytest.raises(
        StorageError, match=r"out: was prepared with language bg, not ro; choose another -o, or replace it with --overwrite"
    ):
        prepare(folder, tmp_path / "out", language="ro")
    assert {row.language for row in manifest.read(tmp_path / "out" / "train.jsonl")} == {"bg"}
    prepare(folder, tmp_path / "out", language="ro", overwrite=True, test_share=0.0)
    assert {row.language for row in manifest.read(tmp_path / "out" / "train.jsonl")} == {"ro"}
    assert not (tmp_path / "out" / "test.jsonl").exists()


def test_a_manifest_that_was_deleted_is_made_again(folder: Path, tmp_path: Path) -> None:
    prepare(folder, tmp_path / "out")
    (tmp_path / "out" / "dev.jsonl").unlink()
    assert prepare(folder, tmp_path / "out").fresh
    assert (tmp_path / "out" / "dev.jsonl").exists()


@pytest.mark.parametrize("fault", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_run_leaves_what_was_there(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault) -> None:
    prepare(folder, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    real = manifest.write

    def failing(path: Path, utterances: object) -> int:
        if "test" in path.name:
            raise fault
        return real(path, utterances)

    monkeypatch.setattr(manifest, "write", failing)
    with pytest.raises((KeyboardInterrupt, OSError)):
        prepare(folder, tmp_path / "out", overwrite=True, seed=5)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


# ---- the command line


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["prepare", "audiofolder", str(folder), "-o", str(tmp_path / "out"), "--language", "bg"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "train.jsonl" in printed
    assert "17 utterances" in printed
    assert f"Next: finewhisper finetune MODEL --train {tmp_path / 'out' / 'train.jsonl'} --dev" in printed
    assert cli.main(command) == 0
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sunshine", "-o", "out"], "corpus"),
        (["fsdd", "x", "-o", "out", "--test-share", "0.1"], "--test-share: fsdd has splits of its own; leave it out"),
        (["audiofolder", "x", "-o", "out", "--cache", "c"], "--cache: audiofolder does not use it; leave it out"),
        (["tuxpaint", "-o", "out", "--language", "bg", "--split-by", "speaker"], "--split-by: tuxpaint does not use it; leave it out"),
        (["tuxpaint", "-o", "out", "--language", "Klingon"], "--language: language 'Klingon' is not one of Whisper's"),
        (["tuxpaint", "-o", "out", "--test-share", "0.6", "--dev-share", "0.4"], "leave nothing to train on"),
        (["audiofolder", "x", "-o", "out", "--test-share", "1.5"], "--test-share"),
        (["audiofolder", "x"], "--output"),
        (["manifest", "gone.jsonl", "-o", "out"], "gone.jsonl: no such manifest"),
    ],
)
def test_mistakes_cost_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["prepare", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
