"""AISHELL-1 on a corpus of ten files that has its shape, nested archives and all."""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from finewhisper import manifest
from finewhisper.corpora import aishell
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.run import run
from finewhisper.errors import CorpusError, UsageError

MakeClip = Callable[..., Path]

SPEAKERS = {"S0002": "train", "S0003": "train", "S0724": "dev", "S0764": "test"}
TEXTS = ["而 对 楼市 成交 抑制 作用 最 大 的 限 购", "也 成为 地方 政府 的 眼中 钉", "广州 市 房地产 中介 协会 分析"]


@pytest.fixture
def extracted(tmp_path: Path, clip: MakeClip) -> Path:
    """The corpus as one extracts it by hand: ten recordings with transcripts and two without."""
    folder = tmp_path / "by_hand" / "data_aishell"
    lines = []
    for speaker, split in SPEAKERS.items():
        for number in range(3):
            name = f"BAC009{speaker}W{121 + number:04}"
            clip(folder / "wav" / split / speaker / f"{name}.wav", 0.5 + number / 10)
            lines.append(f"{name} {TEXTS[number]}\n")
    (folder / "transcript").mkdir()
    (folder / "transcript" / "aishell_transcript_v0.8.txt").write_text(
        "".join(lines[:-2]) + "BAC009S0999W0001 没 有 录音\n", encoding="utf-8"
    )
    return folder


@pytest.fixture
def archive(tmp_path: Path, extracted: Path) -> Path:
    """``data_aishell.tgz``: the transcript, and one more archive a speaker."""
    half = tmp_path / "half" / "data_aishell"
    shutil.copytree(extracted / "transcript", half / "transcript")
    (half / "wav").mkdir()
    for speaker, split in SPEAKERS.items():
        with tarfile.open(half / "wav" / f"{speaker}.tar.gz", "w:gz") as tar:
            tar.add(extracted / "wav" / split / speaker, f"{split}/{speaker}")
    with tarfile.open(tmp_path / "data_aishell.tgz", "w:gz") as tar:
        tar.add(half, "data_aishell")
    return tmp_path / "data_aishell.tgz"


def config(source: Path | None, output: Path, **options: object) -> PrepareConfig:
    return PrepareConfig(corpus="aishell", source=source, output=output, **options)


def check(output: Path) -> None:
    """The three manifests hold what the corpus does."""
    rows = {split: manifest.read(output / f"{split}.jsonl") for split in ("train", "dev", "test")}
    assert {split: len(found) for split, found in rows.items()} == {"train": 6, "dev": 3, "test": 1}
    assert {row.extra["speaker"] for row in rows["train"]} == {"S0002", "S0003"}
    first = rows["train"][0]
    assert first.path.name == "BAC009S0002W0121.wav"
    assert first.path.is_file()
    assert (first.sentence, first.language, first.duration_s) == ("而对楼市成交抑制作用最大的限购", "zh", 0.5)


def test_from_the_archive(archive: Path, tmp_path: Path) -> None:
    prepared = run(config(archive, tmp_path / "out"))
    check(tmp_path / "out")
    assert '"path": "data_aishell/wav/train/S0002/BAC009S0002W0121.wav"' in (tmp_path / "out/train.jsonl").read_text(encoding="utf-8")
    assert prepared.left_out == {"no transcript": 2}
    assert (prepared.splits["train"].speakers, prepared.splits["dev"].speakers) == (2, 1)
    assert "AISHELL-1" in str(prepared)
    assert "2 no transcript" in str(prepared)


def test_a_second_run_does_nothing(archive: Path, tmp_path: Path) -> None:
    first = run(config(archive, tmp_path / "out"))
    archive.unlink()
    shutil.rmtree(tmp_path / "out" / "data_aishell" / "wav" / "train")
    again = run(config(archive, tmp_path / "out"))
    assert not again.fresh
    assert again.splits == first.splits
    assert "nothing to do" in str(again)


def test_extraction_is_not_repeated_but_a_broken_one_is(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = aishell.extract
    monkeypatch.setattr(aishell, "extract", lambda *args, **kwargs: calls.append(args) or real(*args, **kwargs))

    def interrupted(*args: object, **kwargs: object) -> int:
        real(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(aishell, "extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(config(archive, tmp_path / "out"))
    run(config(archive, tmp_path / "out"))
    run(config(archive, tmp_path / "out", overwrite=True))
    assert len(calls) == 1
    check(tmp_path / "out")


def test_from_an_extracted_folder_the_audio_stays_where_it_is(extracted: Path, tmp_path: Path) -> None:
    for number, source in enumerate((extracted, extracted.parent)):
        output = tmp_path / f"out{number}"
        run(config(source, output))
        check(output)
        assert manifest.read(output / "dev.jsonl")[0].path.is_relative_to(extracted)
        assert not (output / "data_aishell").exists()


def test_from_a_folder_whose_speakers_are_archives_still(archive: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    before = sorted(half.rglob("*"))
    run(config(half, tmp_path / "out"))
    check(tmp_path / "out")
    assert sorted(half.rglob("*")) == before
    run(config(half, tmp_path / "out", overwrite=True))
    check(tmp_path / "out")


def test_without_a_source_it_is_downloaded_into_the_cache(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fake(url: str, path: Path, md5: str) -> Path:
        asked.append((url, md5))
        path.parent.mkdir(parents=True)
        return shutil.copy(archive, path)

    monkeypatch.setattr(aishell, "download", fake)
    run(config(None, tmp_path / "out", cache=tmp_path / "cache"))
    check(tmp_path / "out")
    assert asked == [("https://www.openslr.org/resources/33/data_aishell.tgz", "2f494334227864a8a8fec932999db9d8")]
    assert (tmp_path / "cache" / "data_aishell.tgz").is_file()


def test_a_folder_that_is_something_else(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorpusError, match=r"holds no transcript/aishell_transcript_v0\.8\.txt; give data_aishell\.tgz or the folder"):
        run(config(empty, tmp_path / "out"))


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "data_aishell.tgz").write_text("<html>not found</html>")
    with pytest.raises(CorpusError, match="is damaged or cut short"):
        run(config(tmp_path / "data_aishell.tgz", tmp_path / "out"))
    assert not list((tmp_path / "out").rglob("*.jsonl"))


def test_another_language(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--language bg: AISHELL-1 is Mandarin; leave it out"):
        run(config(archive, tmp_path / "out", language="bg"))
    run(config(archive, tmp_path / "out", language="Chinese"))
