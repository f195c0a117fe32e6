"""``finewhisper evaluate`` of several models or manifests: one table, from top to bottom."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from finewhisper.engines import KINDS, Engine, load_for
from finewhisper.errors import install_command
from finewhisper.evaluation.cells import Cells
from finewhisper.evaluation.clips import look
from finewhisper.evaluation.config import CompareConfig
from finewhisper.files import sha256
from finewhisper.model import ModelFolder, versions
from finewhisper.outputs import atomic_folder, require_absent
from finewhisper.progress import note
from finewhisper.scoring.config import detected_note
from finewhisper.scoring.matrix import Matrix, ModelScores
from finewhisper.scoring.plot import plot
from finewhisper.scoring.scores import Score
from finewhisper.scoring.sets import SpeechSet, compare_heard, read_sets, short_names
from finewhisper.transcript import Transcript
from finewhisper.transcription.sets import setting, transcripts
from finewhisper.transcription.transcriber import Plan


@dataclass(frozen=True)
class Compared:
    """The matrix, and where it was written."""

    output: Path
    matrix: Matrix

    def __str__(self) -> str:
        return f"{self.matrix}\nwritten to {self.output}"


def compare(config: CompareConfig) -> Compared:
    """Measure every model on every manifest.

    Raises:
        FinewhisperError: a model or a manifest cannot be used, or the output is there already.
    """
    require_absent(config.output, replace=config.overwrite)
    folders = [ModelFolder.open(path, *KINDS) for path in config.models]
    sets = read_sets(config.manifest, config.limit, language=config.language, skip_bad=config.skip_bad)
    for speech in sets:
        speech.unit(config.unit, config.task)
    digests = [sha256(path) for path in config.manifest]
    for path, speech, digest in zip(config.manifest, sets, digests, strict=True):
        look(path, speech.utterances, digest, folders)
    names = config.names or short_names(config.models)
    cells = Cells(config.output)
    heard = []
    for name, folder in zip(names, folders, strict=True):
        heard.append(_heard(name, folder, sets, cells, config))
        sets = tuple(speech.settle(found) for speech, found in zip(sets, heard[0].transcripts, strict=True))
    for speech in sets:
        if speech.detected:
            note(f"{speech.name}: {detected_note(speech.languages.count(None), speech.detected)}")
    matrix = Matrix(sets, tuple(_row(one, sets, digests, config) for one in heard))
    with atomic_folder(config.output, replace=config.overwrite) as output:
        (output / "result.json").write_text(json.dumps(_json(matrix, folders, config), ensure_ascii=False, indent=1) + "\n", "utf-8")
        (output / "matrix.csv").write_text(matrix.csv(), "utf-8")
        (output / "matrix.md").write_text(matrix.markdown() + "\n", "utf-8")
        if find_spec("matplotlib"):
            plot(matrix, output / "matrix.png")
        else:
            note(f"matrix.png: not drawn, for matplotlib is not installed; run: {install_command('train')}")
    cells.drop()
    return Compared(config.output, matrix)


@dataclass(frozen=True)
class _Heard:
    """What one model heard in every set."""

    name: str
    setting: str  #: engine and precision
    context: str
    transcripts: tuple[list[Transcript], ...]


def _heard(name: str, folder: ModelFolder, sets: tuple[SpeechSet, ...], cells: Cells, config: CompareConfig) -> _Heard:
    note(f"{name}:")
    engine = load_for(folder, config, side_by_side=True, full_windows=config.full_windows)
    fingerprint = folder.fingerprint()
    found = tuple(_cell(engine, fingerprint, speech, cells, config) for speech in sets)
    return _Heard(name, setting(engine), engine.context.name, found)


def _cell(engine: Engine, fingerprint: str, speech: SpeechSet, cells: Cells, config: CompareConfig) -> list[Transcript]:
    """What a model hears in a set, now or before this command was killed."""
    options = config.decode_options()
    made_with = {
        "model": fingerprint,
        "engine": f"{engine.name} {engine.precision}",
        "context": engine.context.model_dump(mode="json"),
        "options": repr(options),
        "versions": versions(*_PACKAGES),
    }
    key = cells.key(speech, **made_with)
    kept = cells.read(key, speech)
    if kept is not None:
        note(f"{speech.name}: heard before this command was interrupted")
        return kept
    heard = transcripts(engine, speech, options, Plan(config.batch_size, config.vad))
    cells.write(key, heard)
    return heard


def _row(heard: _Heard, sets: tuple[SpeechSet, ...], digests: list[str], config: CompareConfig) -> ModelScores:
    found = []
    for speech, transcribed, digest in zip(sets, heard.transcripts, digests, strict=True):
        compared = compare_heard(speech, transcribed, config.task, config.normalizer)
        unit = speech.unit(config.unit, config.task)
        signature = config.signature(
            unit,
            config.normalizers(speech.settled),
            context=heard.context,
            detected=speech.detected,
            engine=heard.setting.partition(",")[0],
            manifest_sha256=digest,
            skipped=len(speech.skipped),
        )
        found.append(Score.of(compared, unit, signature))
    return ModelScores(heard.name, heard.setting, tuple(found))


#: Whose versions can change a score.
_PACKAGES = ("ctranslate2", "torch", "transformers", "pywhispercpp", "onnxruntime", "whisper-normalizer", "jiwer")


def _json(matrix: Matrix, folders: list[ModelFolder], config: CompareConfig) -> dict[str, object]:
    return {
        **matrix.json(),
        "manifests": {speech.name: sha256(path) for speech, path in zip(matrix.sets, config.manifest, strict=True)},
        "fingerprints": {row.name: folder.fingerprint() for row, folder in zip(matrix.rows, folders, strict=True)},
        "limit": config.limit,
        "config": config.model_dump(mode="json"),
        "versions": versions(*_PACKAGES),
    }
