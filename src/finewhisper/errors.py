"""Every error a user can cause, as one tree.

::

    FinewhisperError            what the command line prints in one line, exit code 2
    ├── UsageError              a flag, an environment variable or a recipe file
    ├── AudioError              a file that cannot be decoded, or a slice outside it
    │   └── CutShortError       a file whose header promises more than there is
    ├── ListingError            carries every problem found
    │   ├── ManifestError       lines of a manifest
    │   ├── CorpusError         a corpus folder or archive that is not what it should be
    │   └── TrainingError       a training that was stopped, with the utterances that it was fed
    ├── ModelError              a model folder that is missing, incomplete or of the wrong kind
    ├── UnsupportedError        an option that the chosen engine or format cannot honour
    ├── VerificationError       a converted copy that does not say what its source says
    ├── MissingExtraError       an optional dependency that is not installed
    ├── MemoryLimitError        memory that does not hold a batch
    └── StorageError            a folder that cannot be written
        └── DiskFullError       a full disk, which nothing else can be written to either

A message names the file, line or flag, the value that was found, and the next step. Anything else that is raised is a defect of
finewhisper and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class FinewhisperError(Exception):
    """The root of all errors that the user can put right."""


class UsageError(FinewhisperError):
    """A flag, an environment variable or a line of a recipe is wrong."""


class AudioError(FinewhisperError):
    """An audio file is missing, empty, damaged or not audio at all."""


class CutShortError(AudioError):
    """An audio file breaks off before its header says it does.

    Attributes:
        found_s: how many seconds of it there are; a slice that ends before can be used.
        promised_s: how many the header promises; None: it does not say.
    """

    def __init__(self, name: str, found_s: float, promised_s: float | None = None) -> None:
        self.found_s, self.promised_s = found_s, promised_s
        what = "it breaks off in the middle of a page" if promised_s is None else f"its header promises {promised_s:.2f} s"
        super().__init__(
            f"{name}: is cut short: {what}, the data end after {found_s:.2f} s; copy or record it again, or give an end_time before that"
        )


class ListingError(FinewhisperError):
    """An error that carries every problem found, and shows the first of them.

    Attributes:
        problems: one sentence for each problem, beginning with its file and, where there is one, its line.
    """

    #: How many problems a message lists before it only counts the rest.
    SHOWN = 20

    def __init__(self, message: str, problems: Sequence[str] = (), *, limit: int = SHOWN) -> None:
        self.problems = tuple(problems)
        shown = "".join(f"\n  {problem}" for problem in self.problems[:limit])
        if len(self.problems) > limit:
            shown += f"\n  … and {len(self.problems) - limit} more"
        super().__init__(message + shown)


class ManifestError(ListingError):
    """A manifest has lines that cannot be used; each problem begins with ``file:line:``."""


class CorpusError(ListingError):
    """A corpus is missing, incomplete or unsafe to extract, or has clips that cannot be used."""


class TrainingError(ListingError):
    """A training cannot go on: its loss is not a number or jumps, or memory runs out; each problem is an utterance of the step."""


class ModelError(FinewhisperError):
    """A model folder is missing, incomplete or of the wrong kind."""


class UnsupportedError(FinewhisperError):
    """The engine or format was asked for something it cannot do; nothing is silently ignored."""


class VerificationError(FinewhisperError):
    """A converted model differs from its source by more than the stated bound."""


class MissingExtraError(FinewhisperError):
    """An optional dependency is needed; the message holds the pip command."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed; run: {install_command(extra)}")


def install_command(extra: str) -> str:
    """How an extra of this very installation is added: from the folder of its source, for finewhisper is on no package index.

    That folder is what pip recorded (PEP 610), or the clone that the code runs from; a wheel does not know it.
    """
    import json
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    clone = Path(__file__).resolve().parents[2]
    editable, source = True, clone if (clone / "pyproject.toml").is_file() and clone.joinpath("src").is_dir() else None
    if source is None:
        try:
            record = json.loads(metadata.distribution("finewhisper").read_text("direct_url.json") or "{}")
            editable = bool(record.get("dir_info", {}).get("editable"))
            address = urlsplit(record.get("url", ""))
            folder = Path(url2pathname(address.path))
            source = folder if address.scheme == "file" and (folder / "pyproject.toml").is_file() else None
        except (metadata.PackageNotFoundError, ValueError, AttributeError):
            source = None
    if source is None:
        return f'pip install ".[{extra}]" in the folder of finewhisper\'s source, or with its wheel: pip install "WHEEL[{extra}]"'
    return f'pip install {"-e " if editable else ""}"{source}[{extra}]"'


class MemoryLimitError(FinewhisperError):
    """The memory of the machine or of the GPU does not hold what was asked for."""


class StorageError(FinewhisperError):
    """The disk is full or the target cannot be written."""


class DiskFullError(StorageError):
    """The disk or the user's share of it is full."""
