"""What the base installation is enough for: every module can be imported without the libraries of the extras.

A module that cannot says so here, with the extra it needs; a verb imports it only when it is about to use it.
"""

from __future__ import annotations

import pkgutil
import re
import subprocess
import sys

import pytest

import finewhisper

#: Libraries that only an extra brings.
OPTIONAL = [
    "_pywhispercpp",
    "accelerate",
    "ctranslate2",
    "fastapi",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "peft",
    "prometheus_client",
    "starlette",
    "tensorboard",
    "torch",
    "transformers",
    "uvicorn",
]

#: Modules that are made of an optional library from their first line on.
NEEDS_AN_EXTRA = {
    "finewhisper.alignment.attention": "train",
    "finewhisper.alignment.run": "train",
    "finewhisper.conversion.onnx_browser": "onnx",
    "finewhisper.conversion.onnx_graph": "onnx",
    "finewhisper.conversion.onnx_network": "onnx",
    "finewhisper.conversion.onnx_sherpa": "onnx",
    "finewhisper.conversion.onnx_weights": "onnx",
    "finewhisper.engines.transformers": "train",
    "finewhisper.training.adalora": "train",
    "finewhisper.training.advice": "train",
    "finewhisper.training.batches": "train",
    "finewhisper.training.corpus": "train",
    "finewhisper.training.dataset": "train",
    "finewhisper.training.fitting": "train",
    "finewhisper.training.interpolation": "train",
    "finewhisper.training.loss_guard": "train",
    "finewhisper.training.memory": "train",
    "finewhisper.training.methods": "train",
    "finewhisper.training.plot": "train",
    "finewhisper.training.processes": "train",
    "finewhisper.training.results": "train",
    "finewhisper.training.run": "train",
    "finewhisper.training.scoring": "train",
    "finewhisper.training.support": "train",
    "finewhisper.training.sweep": "train",
    "finewhisper.training.trainer": "train",
    "finewhisper.server.addresses": "serve",
    "finewhisper.server.app": "serve",
    "finewhisper.server.docs": "serve",
    "finewhisper.server.errors": "serve",
    "finewhisper.server.health": "serve",
    "finewhisper.server.hosts": "serve",
    "finewhisper.server.jobs.options": "serve",
    "finewhisper.server.jobs.routes": "serve",
    "finewhisper.server.jobs.runner": "serve",
    "finewhisper.server.keys": "serve",
    "finewhisper.server.limits": "serve",
    "finewhisper.server.live.connections": "serve",
    "finewhisper.server.live.conversation": "serve",
    "finewhisper.server.live.decoding": "serve",
    "finewhisper.server.live.realtime": "serve",
    "finewhisper.server.live.realtime_settings": "serve",
    "finewhisper.server.live.socket": "serve",
    "finewhisper.server.logs": "serve",
    "finewhisper.server.prometheus": "serve",
    "finewhisper.server.models": "serve",
    "finewhisper.server.openai": "serve",
    "finewhisper.server.run": "serve",
    "finewhisper.server.service": "serve",
    "finewhisper.server.sockets": "serve",
    "finewhisper.server.streams": "serve",
    "finewhisper.server.uploads": "serve",
    "finewhisper.server.schemas": "serve",
    "finewhisper.server.upstream": "serve",
    "finewhisper.server.worker": "serve",
    "finewhisper.whisper": "train",
}

#: Refuses the optional libraries as if they were not installed.
ABSENT = f"""
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {set(OPTIONAL)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
"""

IMPORT_ALL = """
for name in {modules!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(name, error)
"""


def all_modules() -> list[str]:
    found = pkgutil.walk_packages(finewhisper.__path__, "finewhisper.")
    return [module.name for module in found if not module.name.endswith("__main__")]


def failures(modules: list[str]) -> dict[str, str]:
    """The modules that cannot be imported without the extras, and why: in a process of its own, where none is in memory yet."""
    script = ABSENT + IMPORT_ALL.format(modules=modules)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


def test_every_module_imports_with_the_base_installation_alone():
    assert failures([name for name in all_modules() if name not in NEEDS_AN_EXTRA]) == {}


@pytest.mark.parametrize("module", sorted(NEEDS_AN_EXTRA))
def test_a_module_listed_as_needing_an_extra_really_does(module):
    assert any(library in reason for reason in failures([module]).values() for library in OPTIONAL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["finetune", "m", "--train", "t.jsonl", "-o", "out"],
            r"(torch|transformers) is not installed; run: pip install .*\[train\]",
        ),
        (["serve", "-m", "m"], r"(fastapi|starlette|uvicorn) is not installed; run: pip install .*\[serve\]"),
    ],
)
def test_a_verb_whose_library_is_absent_names_the_extra(tmp_path, arguments, message):
    script = f"{ABSENT}from finewhisper.cli import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert re.search(message, done.stderr)
    assert "Traceback" not in done.stderr
