"""Archives are extracted below the folder or not at all."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zlib
from pathlib import Path

import pytest

from finewhisper.corpora import archive as archive_module
from finewhisper.corpora.archive import extract
from finewhisper.errors import CorpusError


def pack(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_files_and_archives_inside(tmp_path: Path) -> None:
    inner = pack(tmp_path / "S1.tar.gz", file("train/S1/a.wav", b"a"), file("./test/S1/b.wav", b"b")).read_bytes()
    outer = pack(tmp_path / "all.tgz", special("top", tarfile.DIRTYPE), file("top/readme.txt", b"r"), file("top/wav/S1.tar.gz", inner))
    assert extract(outer, tmp_path / "out") == 3
    assert names(tmp_path / "out") == {"top/readme.txt", "top/wav/train/S1/a.wav", "top/wav/test/S1/b.wav"}
    assert (tmp_path / "out/top/wav/test/S1/b.wav").read_bytes() == b"b"


def test_only_what_is_wanted(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tgz", file("x/keep.txt"), file("x/skip.bin"), special("x/link", tarfile.SYMTYPE, "/etc/passwd"))
    assert extract(archive, tmp_path / "out", wanted=lambda name: Path(name).name if name.endswith(".txt") else None) == 1
    assert names(tmp_path / "out") == {"keep.txt"}


@pytest.mark.parametrize(
    "member",
    [
        file("../evil"),
        file("a/../../evil"),
        file("/tmp/finewhisper-evil"),
        file("..\\evil"),
        file("C:/evil"),
        special("link", tarfile.SYMTYPE, "/etc"),
        special("link", tarfile.SYMTYPE, "inside"),
        special("link", tarfile.LNKTYPE, "/etc/passwd"),
        special("pipe", tarfile.FIFOTYPE),
        special("device", tarfile.CHRTYPE),
    ],
    ids=lambda member: f"{member[0].name}-{member[0].type.decode()}",
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_is_unsafe_is_refused(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], nested: bool) -> None:
    archive = pack(tmp_path / "evil.tgz", member)
    if nested:
        archive = pack(tmp_path / "outer.tgz", file("wav/evil.tar.gz", archive.read_bytes()))
    with pytest.raises(
        CorpusError, match=r"tgz.*holds '.*', which (is a link, a device or a sparse file|would be written outside the folder).*unsafe"
    ):
        extract(archive, tmp_path / "deep" / "out")
    assert names(tmp_path) == {path.name for path in tmp_path.glob("*.tgz")}
    assert not Path("/tmp/finewhisper-evil").exists()


def test_a_link_cannot_smuggle_a_file_out(tmp_path: Path) -> None:
    """The two-step trick: first a link to a folder outside, then a file "below" it."""
    (tmp_path / "victim").mkdir()
    archive = pack(tmp_path / "evil.tgz", special("d", tarfile.SYMTYPE, str(tmp_path / "victim")), file("d/evil"))
    with pytest.raises(CorpusError, match="link"):
        extract(archive, tmp_path / "out")
    assert not list((tmp_path / "victim").iterdir())


def damaged(raw: bytes) -> dict[str, bytes]:
    middle = len(raw) // 2
    return {
        "cut in the middle": raw[:middle],
        "cut before the checksum": raw[:-6],
        "a flipped byte": raw[:middle] + bytes([raw[middle] ^ 255]) + raw[middle + 1 :],
        "text": b"<html>404 not found</html>" * 100,
        "compressed text": gzip.compress(b"<html>404 not found</html>" * 100),
        "empty": b"",
    }


@pytest.mark.parametrize("fault", damaged(b"0123456789"))
def test_damage_is_noticed(tmp_path: Path, fault: str) -> None:
    import random

    noise = random.Random(0).randbytes(200_000)
    raw = pack(tmp_path / "good.tgz", file("a", noise), file("b", noise[::-1])).read_bytes()
    (tmp_path / "bad.tgz").write_bytes(damaged(raw)[fault])
    with pytest.raises(CorpusError, match=r"bad\.tgz: is damaged or cut short .*; download it again"):
        extract(tmp_path / "bad.tgz", tmp_path / "out")
    assert not list((tmp_path / "out").glob(".*")) if (tmp_path / "out").exists() else True


def test_what_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "_LEAST", 1_000_000)
    bomb = pack(tmp_path / "bomb.tgz", file("a.wav", bytes(20_000_000)))
    nested = pack(tmp_path / "outer.tgz", *(file(f"{number}.tar.gz", bomb.read_bytes()) for number in range(3)))
    unwanted = {"wanted": lambda name: None}
    for path, options in [(bomb, {}), (nested, {}), (bomb, unwanted)]:
        with pytest.raises(CorpusError, match=r"unpacks to more than .* bytes, which no archive of recordings of its size does"):
            extract(path, tmp_path / "out", **options)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) < 5_000_000


def test_an_archive_that_holds_itself_is_refused(tmp_path: Path) -> None:
    inner = pack(tmp_path / "0.tar.gz", file("a.wav"))
    for number in range(1, 5):
        inner = pack(tmp_path / f"{number}.tar.gz", file("x.tar.gz", inner.read_bytes()))
    with pytest.raises(CorpusError, match="is an archive in an archive in an archive"):
        extract(inner, tmp_path / "out")


def test_a_header_of_megabytes_is_damage(tmp_path: Path) -> None:
    archive = pack(tmp_path / "long.tgz", (special("././@LongLink", tarfile.GNUTYPE_LONGNAME)[0], b"x" * 5_000_000), file("a"))
    with pytest.raises(CorpusError, match="a header of 5,000,000 bytes"):
        extract(archive, tmp_path / "out")


def test_an_xz_archive_is_read_whole_and_may_be_joined(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for info, content in (file("a.wav", b"a" * 100_000), file("b.wav", b"b" * 300_000)):
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    plain = packed.getvalue()
    content = lzma.compress(plain[:150_000], preset=9) + bytes(8) + lzma.compress(plain[150_000:])
    (tmp_path / "a.tar.xz").write_bytes(content)
    assert extract(tmp_path / "a.tar.xz", tmp_path / "out") == 2
    assert (tmp_path / "out" / "b.wav").read_bytes() == b"b" * 300_000
    for fault in (content[:-20], content[:-40] + bytes(20) + content[-20:]):
        (tmp_path / "a.tar.xz").write_bytes(fault)
        with pytest.raises(CorpusError, match=r"a\.tar\.xz: is damaged or cut short"):
            extract(tmp_path / "a.tar.xz", tmp_path / "again")


def test_an_xz_archive_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    """The header of its block, in which the dictionary's size is one byte, has a checksum of its own."""
    content = bytearray(lzma.compress(b"x" * 1000))
    assert content[12:18] == b"\x02\x00\x21\x01\x16\x00"
    content[16] = 40  # 4 GiB
    content[20:24] = zlib.crc32(content[12:20]).to_bytes(4, "little")
    (tmp_path / "bomb.tar.xz").write_bytes(content)
    with pytest.raises(CorpusError, match=r"bomb\.tar\.xz: needs more than 256 MiB of memory"):
        extract(tmp_path / "bomb.tar.xz", tmp_path / "out")
