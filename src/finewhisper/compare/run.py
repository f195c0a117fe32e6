"""``finewhisper compare``, from top to bottom."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from finewhisper.compare.config import CompareConfig
from finewhisper.engines import KINDS, load_engine
from finewhisper.errors import install_command
from finewhisper.files import sha256
from finewhisper.matrix import Matrix, Row, SpeechSet, measure, read_sets, setting, short_names
from finewhisper.matrix_plot import plot
from finewhisper.model import ModelFolder, versions
from finewhisper.outputs import atomic_folder, require_absent
from finewhisper.progress import note
from finewhisper.transcript import DecodeOptions


@dataclass(frozen=True)
class CompareResult:
    """The matrix, and where it was written."""

    output: Path
    matrix: Matrix

    def __str__(self) -> str:
        return f"{self.matrix}\nwritten to {self.output}"


def run(config: CompareConfig) -> CompareResult:
    """Measure every model on every manifest.

    Raises:
        FinewhisperError: a model or a manifest cannot be used, or the output is there already.
    """
    require_absent(config.output, replace=config.overwrite)
    folders = [ModelFolder.open(path, *KINDS) for path in config.models]
    sets = read_sets(config.manifest, config.limit)
    names = config.names or short_names(config.models)
    matrix = Matrix(sets, tuple(_row(name, folder, sets, config) for name, folder in zip(names, folders, strict=True)))
    with atomic_folder(config.output, replace=config.overwrite) as output:
        (output / "result.json").write_text(json.dumps(_json(matrix, folders, config), ensure_ascii=False, indent=1) + "\n", "utf-8")
        (output / "matrix.csv").write_text(matrix.csv(), "utf-8")
        (output / "matrix.md").write_text(matrix.markdown() + "\n", "utf-8")
        if find_spec("matplotlib"):
            plot(matrix, output / "matrix.png")
        else:
            note(f"matrix.png: not drawn, for matplotlib is not installed; run: {install_command('train')}")
    return CompareResult(config.output, matrix)


def _row(name: str, folder: ModelFolder, sets: tuple[SpeechSet, ...], config: CompareConfig) -> Row:
    note(f"{name}:")
    engine = load_engine(folder, device=config.device, precision=config.precision, threads=config.threads, side_by_side=True)
    options = DecodeOptions(timestamps=False, batch_size=config.batch_size)
    return Row(name, setting(engine), tuple(measure(engine, speech, options, config.unit) for speech in sets))


def _json(matrix: Matrix, folders: list[ModelFolder], config: CompareConfig) -> dict[str, object]:
    return {
        **matrix.json(),
        "manifests": {speech.name: sha256(path) for speech, path in zip(matrix.sets, config.manifest, strict=True)},
        "fingerprints": {row.name: folder.fingerprint() for row, folder in zip(matrix.rows, folders, strict=True)},
        "limit": config.limit,
        "versions": versions("ctranslate2", "torch", "transformers", "pywhispercpp", "onnxruntime", "whisper-normalizer", "jiwer"),
    }
