"""Damaged tables, manifests and recipes: every line is read or told with its number; never a traceback."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finewhisper import findings, manifest
from finewhisper.config import read_recipe
from finewhisper.corpora import audiofolder
from finewhisper.corpora.config import PrepareConfig
from finewhisper.errors import CorpusError, FinewhisperError
from finewhisper.findings import Named
from fuzzing import damaged, seeds

TABLES = {
    "metadata.csv": 'file_name,transcription,speaker,start,end\n00.wav,"Well, yes.",ann,0,1.5\n01.wav,Не знам,bob,,\n'
    '02.wav,"He said ""no""",ann,1,2\n',
    "metadata.tsv": 'path\tsentence\tlocale\n00.wav\t"Да", каза той.\tbg\n01.wav\t你好\tzh\n',
    "semicolons.csv": "\ufefffile_name;text;split\r\n00.wav;Ja, gut;train\r\n01.wav;Nein;test\r\n",
    "list.txt": "00.wav|7|hello there my friend\n01.wav|12|good bye\n",
    "metadata.jsonl": '{"file_name": "00.wav", "text": "hello"}\n{"audio": {"path": "01.wav"}, "sentence": "bye", "language": "en"}\n',
}
MANIFEST = (
    '{"audio": {"path": "a.flac", "start_time": 1.5, "end_time": 4.0}, "sentence": "Hello.", "language": "en", "duration": "2.5",'
    ' "sentences": [{"start": 0.0, "end": 2.5, "text": "Hello."}]}\n'
    '{"audio": "b.wav", "sentence": "你好 \\ud83d\\ude00", "speaker": "S1"}\n'
)
RECIPE = "lora: &lora {rank: 32, targets: [q_proj, v_proj]}\ntrain: data/train.jsonl\nrate: 1e-3\nmore:\n  - *lora\n  - 2020-01-01\n"
#: What damage to text is made of, besides damage to bytes.
PIECES = [
    *'"\n\r,\t|;\0\\', "nan", "<|en|>", "[" * 2000, "{" * 2000, "\\ud83d", "\u2028", "9" * 5000, "&a", "*a", ": ", "\ufeff", "../",
]  # fmt: skip


def broken(content: str, choose: random.Random) -> bytes:
    for _ in range(choose.randint(0, 3)):
        at = choose.randrange(len(content) + 1)
        content = content[:at] + choose.choice(PIECES) + content[at + choose.choice((0, 0, 1, 5)) :]
    raw = content.encode(choose.choice(("utf-8", "utf-8", "utf-8", "utf-16", "utf-8-sig")))
    return damaged(raw, choose) if choose.random() < 0.5 else raw


def tried(name: str, content: str, full: int, read: Callable[[bytes], object]) -> None:
    outcomes = {"read": 0, "refused": 0}
    for seed in seeds(full, 60):
        raw = broken(content, random.Random(f"{name} {seed}"))
        began = time.perf_counter()
        try:
            read(raw)
            outcomes["read"] += 1
        except FinewhisperError:
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{name}, seed {seed}: {error!r}") from error
        assert time.perf_counter() - began < 20, f"{name}, seed {seed}"
    print(name, outcomes)
    assert outcomes["read"]
    assert outcomes["refused"]


@pytest.mark.parametrize("name", TABLES)
def test_damaged_tables_are_read_or_told(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    config = PrepareConfig(corpus="audiofolder", source=path, output=tmp_path / "out")

    def read(raw: bytes) -> None:
        path.write_bytes(raw)
        corpus = audiofolder.read(path, config)
        assert all(problem.startswith(f"{path}:") for problem in corpus.problems)
        if corpus.problems:
            raise CorpusError("lines", corpus.problems)
        findings.of_labels(Named(name, [clip.utterance for clip in corpus.clips]))
        findings.of_doubles(Named(name, [clip.utterance for clip in corpus.clips]))

    tried(name, TABLES[name], 1000, read)


def test_damaged_manifests_are_read_or_told(tmp_path: Path) -> None:
    path, again = tmp_path / "m.jsonl", tmp_path / "again.jsonl"

    def read(raw: bytes) -> None:
        path.write_bytes(raw)
        usable, problems = manifest.scan(path)
        assert all(problem.startswith(f"{path}:") for problem in problems)
        findings.of_labels(Named("m", usable))
        manifest.write(again, usable)
        assert manifest.scan(again)[1] == []
        manifest.read(path)

    tried("manifest", MANIFEST, 2000, read)


def test_damaged_recipes_are_read_or_told(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"

    def read(raw: bytes) -> None:
        path.write_bytes(raw)
        read_recipe(path)

    tried("recipe", RECIPE, 1000, read)
