"""The table of kinds of models: complete, and what everything else goes by."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from finewhisper.config import options
from finewhisper.conversion.config import ConvertConfig
from finewhisper.engines.base import Engine
from finewhisper.formats import ENGINES, FORMATS, RUNNABLE, Format, Kind, Quantization
from finewhisper.parity.config import copies

DOCS = Path(__file__).parents[2] / "docs"


def test_every_kind_has_a_value_and_every_value_its_place() -> None:
    assert set(FORMATS) == set(get_args(Kind))
    assert {name for found in FORMATS.values() for name in found.quantizations} == set(get_args(Quantization))
    assert set(ENGINES.values()) == set(RUNNABLE)
    for found in FORMATS.values():
        assert bool(found.engine) == bool(found.runs) == bool(found.libraries) == bool(found.quantizations) == (not found.advice)
        assert set(found.compared) <= set(found.quantizations)


@pytest.mark.parametrize("found", [FORMATS[kind] for kind in RUNNABLE], ids=RUNNABLE)
def test_the_class_that_runs_it_is_an_engine_of_that_name(found: Format) -> None:
    module, _, name = found.runs.partition(":")
    engine = getattr(importlib.import_module(module), name)
    assert issubclass(engine, Engine)
    assert engine.name == found.engine


def test_the_table_imports_no_framework() -> None:
    code = "import sys, finewhisper.formats; print({'torch', 'ctranslate2', 'onnxruntime', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_convert_parity_and_the_documentation_know_every_kind_that_can_be_made() -> None:
    made = {kind for kind, found in FORMATS.items() if found.made_from}
    (to,) = (option for option in options(ConvertConfig) if option.key == "to")
    assert set(to.choices) == made == set(RUNNABLE)
    for kind in made:
        assert {copy.precision for copy in copies((kind,))} == set(FORMATS[kind].compared)
        assert f"--to {kind}" in (DOCS / "convert.md").read_text(encoding="utf-8")
