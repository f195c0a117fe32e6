"""Models that a server's tests share: tiny.en as it is, and the same with contexts of the clips' own length."""

from __future__ import annotations

from pathlib import Path

import pytest

from finewhisper.model import Context, ModelCard


@pytest.fixture(scope="session")
def quick_model(tiny_en_ct2_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.en on contexts of the clips' own length: many times faster, for tests that do not look at the words."""
    return _quick(tiny_en_ct2_model, tmp_path_factory.mktemp("quick") / "quick")


@pytest.fixture(scope="session")
def quick_base_model(base_ct2_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of the multilingual base."""
    return _quick(base_ct2_model, tmp_path_factory.mktemp("quick") / "base")


def _quick(model: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    ModelCard(context=Context(trimmed=True), timestamps=False).write(folder)
    return folder


@pytest.fixture(scope="session")
def jfk(data: Path) -> Path:
    """Eleven seconds of a president."""
    return data / "en_misc" / "audio" / "jfk.opus"
