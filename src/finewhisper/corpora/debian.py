"""A Debian package's files without installing it and without root: ``apt-get download`` and ``dpkg-deb``."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from io import BufferedReader
from pathlib import Path

from finewhisper.corpora.archive import Budget, extract_stream
from finewhisper.errors import CorpusError
from finewhisper.files import storage_errors
from finewhisper.progress import bar, note

_STANDARD_ERROR = 2  # standard output is for results


def package(name: str, folder: Path, *, help_text: str) -> Path:
    """The newest ``.deb`` of a package in ``folder``, downloaded by apt (which checks its signature) unless it is there.

    apt's own lists are used where they know the package; a fresh container has none, so ours are fetched into ``folder``.

    Args:
        help_text: what to do where there is no apt; ends the error message.

    Raises:
        CorpusError: there is no apt, or it cannot get the package.
    """
    found = _newest(name, folder)
    if found is not None:
        return found
    if shutil.which("apt-get") is None:
        raise CorpusError(f"{name}: is a Debian package, but this system has no apt-get to download it with; {help_text}")
    with storage_errors(folder), tempfile.TemporaryDirectory(dir=_made(folder), prefix=".apt-") as work:
        error = _download(name, Path(work))
        found = _newest(name, Path(work))
        if error or found is None:
            raise CorpusError(f"{name}: apt-get cannot download this package ({error or 'no file came'}); {help_text}")
        return found.rename(folder / found.name)


def extract(deb: Path, folder: Path, *, wanted: Callable[[str], str | None], help_text: str) -> int:
    """Extract files of a ``.deb``; returns how many.

    Args:
        wanted: maps a path in the package to where it goes below ``folder``; None leaves it out.

    Raises:
        CorpusError: there is no dpkg, or the package is damaged.
    """
    if shutil.which("dpkg-deb") is None:
        raise CorpusError(f"{deb}: this system has no dpkg-deb to open a Debian package with; unpack it elsewhere, then {help_text}")
    with (
        bar(f"Extracting {deb.name}", None, " file") as progress,
        subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as dpkg,
    ):
        assert isinstance(dpkg.stdout, BufferedReader)
        assert dpkg.stderr is not None
        try:
            count = extract_stream(dpkg.stdout, str(deb), folder, Budget.of(deb), wanted=wanted, tick=progress.update)
            reason = dpkg.stderr.read().decode(errors="replace") if dpkg.wait() else ""
        except CorpusError as error:
            count, reason = 0, dpkg.stderr.read().decode(errors="replace").strip() or str(error)
        finally:
            dpkg.kill()
    if reason:
        raise CorpusError(f"{deb}: cannot be opened ({reason.strip().splitlines()[-1]}); {help_text}")
    return count


def _newest(name: str, folder: Path) -> Path | None:
    return max(folder.glob(f"{name}_*.deb"), key=lambda path: path.stat().st_mtime, default=None)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _download(name: str, work: Path) -> str:
    """Download a package into ``work``, with lists of our own where apt's do not know it or are out of date; returns an error."""
    if not _apt(["download", name], work):
        return ""
    lists, cache = (work / "lists").absolute(), (work / "cache").absolute()
    for folder in (lists, cache / "archives"):
        (folder / "partial").mkdir(parents=True)
    options = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}"]
    return _apt([*options, "update"], work) or _apt([*options, "download", name], work)


def _apt(arguments: Sequence[str], folder: Path) -> str:
    """Run apt-get, its output on standard error; returns the reason where it fails."""
    # Without its sandbox user apt needs no folder that others may enter, and does not warn about it.
    command = [
        "env",
        "LC_ALL=C",
        "apt-get",
        "-q",
        "-o",
        "APT::Sandbox::User=root",
        "-o",
        "Acquire::Retries=3",
        "-o",
        "Acquire::http::Timeout=30",
        *arguments,
    ]
    note(f"$ {' '.join(map(str, command))}")
    done = subprocess.run(command, cwd=folder, stdout=_STANDARD_ERROR, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    reasons = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()[-1:]
    return " ".join(reasons).removeprefix("E: ") or f"exit code {done.returncode}" if done.returncode else ""
