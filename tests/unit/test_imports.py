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
    "finewhisper.align.attention": "train",
    "finewhisper.align.run": "train",
    "finewhisper.convert.onnx_browser": "onnx",
    "finewhisper.convert.onnx_graph": "onnx",
    "finewhisper.convert.onnx_network": "onnx",
    "finewhisper.convert.onnx_sherpa": "onnx",
    "finewhisper.convert.onnx_weights": "onnx",
    "finewhisper.engines.drafts": "train",
    "finewhisper.engines.transformers": "train",
    "finewhisper.finetune.adalora": "train",
    "finewhisper.finetune.advice": "train",
    "finewhisper.finetune.batches": "train",
    "finewhisper.finetune.corpus": "train",
    "finewhisper.finetune.dataset": "train",
    "finewhisper.finetune.fitting": "train",
    "finewhisper.finetune.interpolation": "train",
    "finewhisper.finetune.guards": "train",
    "finewhisper.finetune.memory": "train",
    "finewhisper.finetune.methods": "train",
    "finewhisper.finetune.plot": "train",
    "finewhisper.finetune.processes": "train",
    "finewhisper.finetune.results": "train",
    "finewhisper.finetune.run": "train",
    "finewhisper.finetune.scoring": "train",
    "finewhisper.finetune.support": "train",
    "finewhisper.finetune.sweep": "train",
    "finewhisper.finetune.trainer": "train",
    "finewhisper.serve.addresses": "serve",
    "finewhisper.serve.app": "serve",
    "finewhisper.serve.docs": "serve",
    "finewhisper.serve.errors": "serve",
    "finewhisper.serve.health": "serve",
    "finewhisper.serve.hosts": "serve",
    "finewhisper.serve.jobs.options": "serve",
    "finewhisper.serve.jobs.routes": "serve",
    "finewhisper.serve.jobs.runner": "serve",
    "finewhisper.serve.keys": "serve",
    "finewhisper.serve.limits": "serve",
    "finewhisper.serve.live.connections": "serve",
    "finewhisper.serve.live.conversation": "serve",
    "finewhisper.serve.live.ear": "serve",
    "finewhisper.serve.live.realtime": "serve",
    "finewhisper.serve.live.realtime_settings": "serve",
    "finewhisper.serve.live.socket": "serve",
    "finewhisper.serve.logs": "serve",
    "finewhisper.serve.metrics": "serve",
    "finewhisper.serve.models": "serve",
    "finewhisper.serve.openai": "serve",
    "finewhisper.serve.run": "serve",
    "finewhisper.serve.service": "serve",
    "finewhisper.serve.sockets": "serve",
    "finewhisper.serve.streams": "serve",
    "finewhisper.serve.uploads": "serve",
    "finewhisper.serve.upstream": "serve",
    "finewhisper.serve.worker": "serve",
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
