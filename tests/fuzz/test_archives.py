"""Damaged and hostile archives: files below the folder or one sentence; never a traceback, a file elsewhere, or a full memory or disk."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from finewhisper.corpora import aishell, archive, debian, tuxpaint
from finewhisper.corpora.config import PrepareConfig
from finewhisper.errors import FinewhisperError
from fuzzing import damaged, seeds

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the limit on memory is POSIX")
#: What may lie on the disk after an archive of a few kilobytes, and what reading it may add to the memory.
MOST_WRITTEN_BYTES, MOST_MEMORY_BYTES = 100_000_000, 500_000_000
TRANSCRIPT = "S1_a 你 好\nS1_b 再 见\n".encode()


def tar_of(choose: random.Random, members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=choose.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, content: bytes = b"x" * 300, kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, content if kind == tarfile.REGTYPE else b""


def hostile(choose: random.Random) -> tuple[tarfile.TarInfo, bytes]:
    """A member that belongs in no archive, now and then."""
    return choose.choice((
        member("../evil"), member("/evil"), member("a/../../evil"), member("C:\\evil"), member("wav/" + "n" * 300),
        member("wav/" * 200 + "x"),
        member("link", kind=tarfile.SYMTYPE, target=".."), member("link/evil"), member("hard", kind=tarfile.LNKTYPE, target="../evil"),
        member("pipe", kind=tarfile.FIFOTYPE), member("wav/train", b"a file where a folder should be"), member("wav/\udce9.wav"),
        member("zeros", bytes(3_000_000)), member("", b""), member("."), member("wav/train/S1/S1_a.wav"), member("transcript"),
    ))  # fmt: skip


def corpus(choose: random.Random) -> bytes:
    """AISHELL's form in small: a transcript, a recording, and a speaker's archive inside."""
    wav = choose.randbytes(400)
    speaker = gzip.compress(tar_of(choose, [member("train/S1/S1_a.wav", wav), member("test/S1/S1_b.wav", wav)]), 1)
    members = [
        member("data_aishell/transcript/aishell_transcript_v0.8.txt", TRANSCRIPT),
        member("data_aishell/wav/dev/S1/S1_a.wav", wav),
        member("data_aishell/wav/S1.tar.gz", damaged(speaker, choose) if choose.random() < 0.3 else speaker),
    ]
    for _ in range(choose.choice((0, 0, 1, 3))):
        members.insert(choose.randrange(len(members) + 1), hostile(choose))
    return tar_of(choose, members)


def zipped(choose: random.Random) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive_:
        archive_.writestr("data_aishell/wav/a.wav", choose.randbytes(500))
    return stream.getvalue()


FORMS: dict[str, Callable[[random.Random], bytes]] = {
    "tar": corpus,
    "tar.gz": lambda choose: gzip.compress(corpus(choose), 1),
    "tar.bz2": lambda choose: bz2.compress(corpus(choose)),
    "tar.xz": lambda choose: lzma.compress(corpus(choose), preset=0),
    "zip": zipped,
}


def contained(folder: Path) -> int:
    """The bytes of a folder's files, none of which is a link."""
    found = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    assert not [path for path in found if path.is_symlink() or not path.is_file()]
    return sum(path.stat().st_size for path in found)


def peak_bytes() -> int:
    import resource

    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.parametrize("form", FORMS)
def test_damaged_archives_are_extracted_below_the_folder_or_refused(tmp_path: Path, form: str) -> None:
    before, outcomes = peak_bytes(), {"read": 0, "refused": 0}
    for seed in seeds(120, 12):
        choose = random.Random(f"{form} {seed}")
        content = FORMS[form](choose)
        place = tmp_path / str(seed)
        place.mkdir()
        source = place / f"data.{form}"
        source.write_bytes(damaged(content, choose) if choose.random() < 0.8 else content)
        try:
            if choose.random() < 0.5:
                archive.extract(source, place / "out" / "deep")
            else:
                config = PrepareConfig(corpus="aishell", source=source, output=place / "out" / "deep")
                aishell.read(aishell.fetch(config), config)
            outcomes["read"] += 1
        except FinewhisperError:
            outcomes["refused"] += 1
        except Exception as error:
            raise AssertionError(f"{form}, seed {seed}: {error!r}") from error
        assert {path.name for path in place.iterdir()} <= {source.name, "out"}, f"{form}, seed {seed}"
        assert {path.name for path in (place / "out").glob("*")} <= {"deep"}, f"{form}, seed {seed}"
        assert contained(place) < MOST_WRITTEN_BYTES
        shutil.rmtree(place)
    print(form, outcomes)
    assert not Path("/evil").exists()
    assert peak_bytes() - before < MOST_MEMORY_BYTES


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="there is no dpkg-deb")
def test_damaged_packages_are_extracted_below_the_folder_or_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {tuxpaint.PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\nDescription: stamps\n"
    )
    (root / "usr").mkdir()
    (root / "usr" / "a_desc_bg.ogg").write_bytes(random.Random(0).randbytes(3000))
    made = tmp_path / "made.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", root, made], check=True, capture_output=True)
    for seed in seeds(70, 5):
        (tmp_path / "bad.deb").write_bytes(damaged(made.read_bytes(), random.Random(seed)))
        try:
            debian.extract(tmp_path / "bad.deb", tmp_path / "out", wanted=lambda name: name, help_text="give another")
        except FinewhisperError:
            pass
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error
        assert {path.name for path in tmp_path.iterdir()} <= {"root", "made.deb", "bad.deb", "out"}
