"""Tux Paint's captions on a small folder of stamps with everything that is odd about the real one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from finewhisper import manifest
from finewhisper.corpora import debian, tuxpaint
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.result import Prepared
from finewhisper.corpora.run import run
from finewhisper.corpora.splits import same_text
from finewhisper.errors import CorpusError, UsageError

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb makes the package that is opened here")


def record(path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * rng.standard_normal(16_000), 16_000)


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty Bulgarian animals, each under a stamp of its own, and the odd cases."""
    folder = tmp_path_factory.mktemp("stamps")
    rng = np.random.default_rng(0)

    def stamp(name: str, captions: str, *recordings: str, same_as: str = "") -> None:
        for recording in recordings:
            record(folder / f"{name}{recording}", rng)
            if same_as:
                shutil.copy(folder / f"{same_as}{recording}", folder / f"{name}{recording}")
        (folder / f"{name}.txt").write_text(captions, encoding="utf-8")

    for number in range(40):
        stamp(f"animals/a{number:02}", f"An animal.\nbg.utf8=Животно {'абвгдежзик'[number // 4]}{'клмн'[number % 4]}.\n", "_desc_bg.ogg")
    stamp("twice/owl", "An owl.\nbg.utf8=Една сова.\n", "_desc_bg.ogg")
    stamp("twice/owl2", "An owl.\nbg.utf8=Една  сова!\n", "_desc_bg.ogg", same_as="twice/owl")
    stamp("said/one", "One.\nbg.utf8=Бас.\n", "_desc_bg.ogg")
    stamp("said/other", "Other.\nbg.utf8=Бас китара.\n", "_desc_bg.ogg", same_as="said/one")
    stamp("money/dime", "A dime.\nbg.utf8=10 цента.\n", "_desc_bg.ogg")
    stamp("money/euro", "A euro.\nbg.utf8=Едно евро (€).\n", "_desc_bg.ogg")
    stamp("late/long", "Long.\nbg.utf8=" + "Дълъг текст, който не е казан. " * 3 + "\n", "_desc_bg.ogg")
    stamp("none/muffin", "A muffin.\nca.utf8=Un.\n", "_desc_bg.ogg")
    stamp("none/empty", "\nbg.utf8=\n", "_desc_bg.ogg", "_desc.ogg")
    record(folder / "none" / "renamed_desc_bg.ogg", rng)
    stamp(
        "iberia/cat",
        "A cat.\nca@valencia.utf8=Una gata.\nca.utf8=Un gat. \npt.utf8=Um gato europeu.\npt_BR.utf8=Um gato.\n",
        "_desc_ca.ogg",
        "_desc_pt_BR.wav",
        "_desc.ogg",
        "_desc_da.ogg.ogg",
    )
    stamp("iberia/dog", "A dog.\nca.utf8=Un\xa0gos.\r\npt_BR.utf8=Um cão.\nda.utf8=En hund.\n", "_desc_ca.ogg", "_desc_da.ogg.ogg")
    return folder


def prepare(source: Path | None, output: Path, language: str | None = "bg", **options: object) -> Prepared:
    return run(PrepareConfig(corpus="tuxpaint", source=source, output=output, language=language, **options))


def texts(prepared: Prepared) -> dict[str, set[str]]:
    return {name: {row.sentence for row in manifest.read(prepared.manifest(name))} for name in prepared.splits}


def test_what_is_kept_and_what_is_left_out(stamps: Path, tmp_path: Path) -> None:
    prepared = prepare(stamps, tmp_path / "out")
    found = set().union(*texts(prepared).values())
    assert len(found) == 41
    assert "Една сова!" in found  # of owl and owl2, the first by name, its double space made one
    assert prepared.left_out == {
        "no caption in bg": 3,
        "digits, currency or brackets in the caption": 2,
        "the same recording again": 1,
        "the same recording under another caption": 2,
        "too short for the text": 1,
    }
    assert {name: summary.utterances for name, summary in prepared.splits.items()} == {"train": 30, "dev": 3, "test": 8}
    assert {row.language for row in manifest.read(prepared.manifest("test"))} == {"bg"}


def test_no_test_sentence_is_trained_on(stamps: Path, tmp_path: Path) -> None:
    found = {name: {same_text(text) for text in split} for name, split in texts(prepare(stamps, tmp_path / "out")).items()}
    assert not found["test"] & found["train"]
    assert not found["dev"] & (found["train"] | found["test"])


def test_the_split_does_not_hang_on_the_order_of_files_or_their_place(
    stamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = texts(prepare(stamps, tmp_path / "one"))
    shutil.copytree(stamps, tmp_path / "elsewhere" / "deep")
    real = Path.rglob
    monkeypatch.setattr(Path, "rglob", lambda self, pattern: iter(sorted(real(self, pattern), reverse=True)))
    assert texts(prepare(tmp_path / "elsewhere" / "deep", tmp_path / "two")) == first
    assert texts(prepare(stamps, tmp_path / "three", seed=1)) != first


@pytest.mark.parametrize(
    ("language", "code", "captions"),
    [
        ("ca", "ca", {"Un gat.", "Un gos."}),
        ("Catalan", "ca", {"Un gat.", "Un gos."}),
        ("pt", "pt", {"Um gato."}),
        ("pt_BR", "pt", {"Um gato."}),
        ("en", "en", {"A cat."}),
        ("da", "da", {"En hund."}),
    ],
)
def test_languages_and_their_variants_are_not_mixed_up(stamps: Path, tmp_path: Path, language: str, code: str, captions: set[str]) -> None:
    prepared = prepare(stamps, tmp_path / "out", language)
    assert set().union(*texts(prepared).values()) == captions
    rows = [row for name in prepared.splits for row in manifest.read(prepared.manifest(name))]
    assert {row.language for row in rows} == {code}


def test_a_language_that_is_not_spoken(stamps: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"no captions spoken in 'de'; --language can be one of bg \(50\), ca \(2\), da \(2\), en \(2\), pt_BR"
    ):
        prepare(stamps, tmp_path / "out", "de")
    with pytest.raises(UsageError, match="--language: is required for tuxpaint"):
        prepare(stamps, tmp_path / "out", None)


def test_folders_that_hold_no_stamps(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorpusError, match=r"holds no spoken captions .*give a folder of Tux Paint's stamps as SOURCE"):
        prepare(empty, tmp_path / "out")
    with pytest.raises(CorpusError, match="no such file or folder"):
        prepare(tmp_path / "gone", tmp_path / "out")


def test_installed_stamps_are_found(stamps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuxpaint, "INSTALLED", (tmp_path / "nowhere", stamps))
    prepared = prepare(None, tmp_path / "out")
    assert manifest.read(prepared.manifest("test"))[0].path.is_relative_to(stamps)


# ---- from Debian


@pytest.fixture
def deb(stamps: Path, tmp_path: Path) -> Path:
    root = tmp_path / "root"
    shutil.copytree(stamps, root / "usr" / "share" / "tuxpaint" / "stamps")
    (root / "usr/share/tuxpaint/stamps/animals/a00.png").write_bytes(b"picture")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        f"Package: {tuxpaint.PACKAGE}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <n@example.org>\nDescription: stamps\n"
    )
    path = tmp_path / f"{tuxpaint.PACKAGE}_1_all.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", root, path], check=True, capture_output=True)
    return path


def apt(folder: Path, script: str) -> str:
    """A PATH with a made-up apt-get before the real programs."""
    folder.mkdir()
    (folder / "apt-get").write_text(f'#!/bin/sh\necho "$@" >> {folder}/calls\n{script}\n')
    (folder / "apt-get").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@needs_dpkg
def test_from_the_package_only_what_is_needed_is_extracted(deb: Path, stamps: Path, tmp_path: Path) -> None:
    prepared = prepare(deb, tmp_path / "out")
    assert texts(prepared) == texts(prepare(stamps, tmp_path / "reference"))
    extracted = {path.relative_to(tmp_path / "out" / "stamps").as_posix() for path in (tmp_path / "out" / "stamps").rglob("*.*")}
    assert "animals/a00_desc_bg.ogg" in extracted
    assert not any(name.endswith((".png", "_ca.ogg", "BR.wav", "_desc.ogg")) for name in extracted)
    assert '"path": "stamps/animals/' in prepared.manifest("train").read_text(encoding="utf-8")


@needs_dpkg
def test_apt_downloads_the_package_once(deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuxpaint, "INSTALLED", ())
    monkeypatch.setenv("PATH", apt(tmp_path / "bin", f"cp {deb} ."))
    for language in ("bg", "ca"):
        prepare(None, tmp_path / language, language, cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [deb.name]
    calls = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert calls[0].endswith(f"download {tuxpaint.PACKAGE}")


@needs_dpkg
def test_apt_without_lists_gets_lists_of_its_own(deb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuxpaint, "INSTALLED", ())
    script = f'case "$*" in *Lists=*update) ;; *Lists=*download*) cp {deb} . ;; *) echo "E: Unable to locate package" >&2; exit 100 ;; esac'
    monkeypatch.setenv("PATH", apt(tmp_path / "bin", script))
    prepare(None, tmp_path / "out")
    calls = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert [" update" in call for call in calls] == [False, True, False]
    assert [path.name for path in (tmp_path / "out" / "download").iterdir()] == [deb.name]


def test_apt_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuxpaint, "INSTALLED", ())
    monkeypatch.setenv("PATH", apt(tmp_path / "bin", 'echo "W: no" >&2; echo "E: Unable to locate package" >&2; exit 100'))
    with pytest.raises(CorpusError, match=r"apt-get cannot download this package \(Unable to locate package\); give a folder of Tux Paint"):
        prepare(None, tmp_path / "out")
    assert not list((tmp_path / "out" / "download").iterdir())


def test_off_debian_the_message_says_where_to_point_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuxpaint, "INSTALLED", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        CorpusError, match=r"no apt-get .*; give a folder of Tux Paint's stamps as SOURCE, such as /usr/share/tuxpaint/stamps"
    ):
        prepare(None, tmp_path / "out")
    (tmp_path / "x.deb").touch()
    with pytest.raises(CorpusError, match=r"x\.deb: this system has no dpkg-deb"):
        prepare(tmp_path / "x.deb", tmp_path / "out")


@needs_dpkg
def test_a_package_that_is_cut_short(deb: Path, tmp_path: Path) -> None:
    raw = deb.read_bytes()
    for name, content in {"cut.deb": raw[: len(raw) // 2], "text.deb": b"<html>not found</html>" * 50}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorpusError, match=rf"{name}: cannot be opened \(.*\); give a folder of Tux Paint"):
            debian.extract(tmp_path / name, tmp_path / "out", wanted=lambda path: path.lstrip("./"), help_text=tuxpaint._HELP)
