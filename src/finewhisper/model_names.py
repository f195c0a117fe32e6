"""The names that models go by, and where somebody who names one that is not there may find it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

#: OpenAI's models that lie in wheels of the package index.
WHEELS = ("base", "tiny.en")
#: OpenAI's names and the hub ids they stand for; "large" is the newest one, as in OpenAI's own package.
HUB_IDS = {
    **{name: f"openai/whisper-{name}" for name in ("tiny", "base.en", "small", "small.en", "medium", "medium.en", "large-v2", "large-v3")},
    "large-v1": "openai/whisper-large",
    "large": "openai/whisper-large-v3",
    "large-v3-turbo": "openai/whisper-large-v3-turbo",
    "turbo": "openai/whisper-large-v3-turbo",
    **{f"distil-{name}": f"distil-whisper/distil-{name}" for name in ("small.en", "medium.en", "large-v2", "large-v3", "large-v3.5")},
}
#: What others put before a model's name.
_PREFIXES = ("openai/", "distil-whisper/", "systran/", "faster-", "openai-", "whisper-", "whisper_")
#: One of these makes a folder look like a model; weights must lie beside a config.json.
_MARKERS = ("adapter_config.json", "ggml-model.bin")
_WEIGHTS = ("*.safetensors", "model.bin", "pytorch_model*.bin", "onnx", "sherpa-onnx")
#: How far below a folder models are looked for, and at how many entries the search ends: a mistyped path may lie in a home folder.
_DEPTH, _ENTRIES, _SHOWN = 4, 2000, 3


def known(text: str) -> str | None:
    """The model that ``text`` names, whoever spells it: ``whisper-small``, ``openai/whisper-small`` and ``small`` are ``small``."""
    name = text.strip().lower()
    by_id = {hub_id: name for name, hub_id in reversed(HUB_IDS.items())}
    if name in by_id:
        return by_id[name]
    while name not in (*WHEELS, *HUB_IDS):
        shorter = next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), None)
        if shorter is None:
            return None
        name = shorter
    return name


def resembling(text: str) -> str | None:
    """The model whose name is nearest to ``text``, or None where none is near."""
    name = text.strip().lower()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    close = difflib.get_close_matches(name, [*WHEELS, *HUB_IDS], n=1, cutoff=0.7)
    return close[0] if close else None


def advice(path: Path) -> str:
    """What to do where ``path`` is no model folder: a model nearby, or the command that fetches the one that was meant."""
    near = _near(path)
    same = next((folder for folder in near if folder.name.lower() == path.name.lower()), None)
    name = known(path.as_posix()) or known(path.name)
    bare = not path.is_absolute() and (len(path.parts) == 1 or (len(path.parts) == 2 and not path.parent.exists()))
    if same is not None and not path.is_dir():
        return f"did you mean {same}?"
    if name and not path.is_dir():
        return _fetch(name, path, bare=bare)
    close = difflib.get_close_matches(path.name.lower(), [folder.name.lower() for folder in near], n=1, cutoff=0.7)
    if close and not path.is_dir():
        return f"did you mean {next(folder for folder in near if folder.name.lower() == close[0])}?"
    name = resembling(path.name)
    if name and bare:
        return f"did you mean {name}? {_fetch(name, path, bare=bare)}"
    if near and not (bare and len(path.parts) == 2):
        more = f" and {len(near) - _SHOWN} more" if len(near) > _SHOWN else ""
        return f"there {'is a model' if len(near) == 1 else 'are models'} in {', '.join(map(str, near[:_SHOWN]))}{more}"
    if bare and len(path.parts) == 2:
        return f"if the Hugging Face hub has it, get it with: finewhisper download {path.as_posix()} -o {Path('models') / path.name}"
    return f"get one with: finewhisper download base -o {Path('models') / 'whisper-base'}"


def _fetch(name: str, path: Path, *, bare: bool) -> str:
    there = Path("models") / f"whisper-{name}"
    if bare and is_model(there):
        return f"did you mean {there}?"
    return f"get it with: finewhisper download {name} -o {there if bare else path}"


def is_model(folder: Path) -> bool:
    """Whether a folder looks like a model of any kind."""
    if any((folder / name).is_file() for name in _MARKERS):
        return True
    return (folder / "config.json").is_file() and any(next(folder.glob(pattern), None) is not None for pattern in _WEIGHTS)


def _near(path: Path) -> list[Path]:
    """The models below the first folder on the way up that exists, and that folder itself; those at the top first."""
    start = next((folder for folder in (path, *path.parents) if folder.is_dir()), Path())
    found = [folder for folder in (start, *([start.parent] if start != Path() else [])) if is_model(folder)]
    return [*found, *_models_below(start)]


def _models_below(start: Path) -> Iterator[Path]:
    seen, level = 0, [start]
    for _ in range(_DEPTH):
        deeper: list[Path] = []
        for folder in level:
            try:
                children = sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
            except OSError:
                continue
            for child in children:
                seen += 1
                if seen > _ENTRIES:
                    return
                if is_model(child):
                    yield child
                deeper.append(child)
        level = deeper
