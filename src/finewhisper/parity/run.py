"""``finewhisper parity``, from top to bottom."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from finewhisper import json_values
from finewhisper.conversion.run import run as convert
from finewhisper.engines import Engine, load_engine
from finewhisper.errors import StorageError, UnsupportedError, VerificationError
from finewhisper.files import atomic_file, sha256, unwritable
from finewhisper.model import Context, ModelFolder
from finewhisper.outputs import require_absent
from finewhisper.parity.config import ParityConfig
from finewhisper.parity.result import Heard, Parity
from finewhisper.progress import note
from finewhisper.scoring.config import detected_note
from finewhisper.scoring.rates import Unit
from finewhisper.scoring.scores import Score
from finewhisper.scoring.sets import SpeechSet, compare_heard, read_sets, short_names
from finewhisper.transcription.sets import transcripts
from finewhisper.transcription.transcriber import Plan

#: What weights are kept in, whatever the kind of the folder.
_WEIGHTS = frozenset({".bin", ".data", ".gguf", ".onnx", ".onnx_data", ".safetensors"})


def run(config: ParityConfig) -> Parity:
    """Decode the manifest with the source and with each copy, one model in memory at a time.

    Raises:
        FinewhisperError: a model or the manifest cannot be used, or a copy cannot be made.
        VerificationError: with ``require``, a copy is not what is expected of its precision; the figures are written all the same.
    """
    if config.figures is not None:
        _require_own(config.figures)
    names = short_names(config.models)
    folders = [ModelFolder.open(path) for path in config.models]
    if config.keep is not None:
        for copy in config.copies:
            require_absent(config.keep / copy.name)
    speech = read_sets([config.manifest], config.limit, language=config.language, skip_bad=config.skip_bad)[0]
    source = folders[0]
    speech.unit(config.unit, config.task)
    heard: list[Heard] = []
    for name, folder in zip(names, folders, strict=True):
        one, speech = _heard(name, folder, source, speech, config)
        heard.append(one)
    if speech.detected:
        note(detected_note(speech.languages.count(None), speech.detected))
    with _kept(config.keep) as place:
        for copy in config.copies:
            convert(copy.conversion(source.path, place / copy.name))
            heard.append(_heard(copy.name, ModelFolder.open(place / copy.name), source, speech, config)[0])
    parity = Parity(heard[0], tuple(heard[1:]))
    if config.figures is not None:
        with atomic_file(config.figures) as temporary:
            temporary.write_text(json.dumps(parity.json(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    if config.require and parity.missed:
        raise VerificationError(
            f"{len(parity.missed)} of {len(parity.copies)} copies are not what is expected: {', '.join(parity.missed)}\n{parity}"
        )
    return parity


def _require_own(figures: Path) -> None:
    """Refuse what could not be written at the end, or would replace what somebody else wrote. Raises: StorageError."""
    if (reason := unwritable(figures)) is not None:
        raise StorageError(f"--json {reason}")
    if figures.exists():
        try:
            own = "copies" in json_values.read(figures)
        except (ValueError, TypeError):
            own = False
        if not own:
            raise StorageError(f"--json {figures}: is there already, and parity did not write it; choose another name")


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """Where copies are made."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="finewhisper-parity-") as scratch:
            yield Path(scratch)
    else:
        yield folder


def _heard(name: str, folder: ModelFolder, source: ModelFolder, speech: SpeechSet, config: ParityConfig) -> tuple[Heard, SpeechSet]:
    """Decode the set with one model, on the windows that the source gets; and the set as it is scored since the source was heard."""
    note(f"{name}:")
    if folder.card.context != source.card.context:
        note(f"{name}: its finewhisper.json names other windows than that of {source.path}, whose windows it gets here")
    engine = _load(folder, config).within(_context(source, config))
    began = time.perf_counter()
    written = transcripts(engine, speech, config.decode_options(), Plan(config.batch_size, config.vad, fallback=()))
    seconds = time.perf_counter() - began
    speech = speech.settle(written)
    compared = compare_heard(speech, written, config.task, config.normalizer)
    unit = speech.unit(config.unit, config.task)
    score = Score.of(compared, unit, _signature(unit, engine.context, speech, config))
    texts = tuple(transcript.text for transcript in written)
    return Heard(name, engine.name, _precision(folder, engine), texts, score, seconds, _size(folder.path)), speech


def _context(source: ModelFolder, config: ParityConfig) -> Context:
    return source.card.context.full() if config.full_windows else source.card.context


def _load(folder: ModelFolder, config: ParityConfig) -> Engine:
    """An engine that computes in the type that the weights are stored in, and in float32 where a Hugging Face folder does not say.

    On a GPU engines choose float16 by themselves, and float32 copies would differ for that alone. A CPU's own choice is the stored type,
    or float32 where it cannot compute in that.
    """
    load = partial(load_engine, folder, device=config.device, threads=config.threads, side_by_side=True)
    stored = _stored(folder) or ("float32" if folder.kind == "transformers" else None)
    if config.device == "cpu" or stored is None or folder.kind not in ("transformers", "ctranslate2"):  # the others have no choice
        return load()
    try:
        return load(precision=stored)
    except UnsupportedError:  # of the type or of the device, which then is refused again
        return load()


def _precision(folder: ModelFolder, engine: Engine) -> str:
    """The type that a converted folder is stored in; a CPU may well compute float16 weights in float32."""
    return _stored(folder) or engine.precision


def _stored(folder: ModelFolder) -> str | None:
    """What a conversion wrote down."""
    found = (folder.card.verification or {}).get("quantization")
    return str(found) if found else None


def _size(folder: Path) -> int:
    files = (path for pattern in ("*", "onnx/*") for path in folder.glob(pattern) if path.suffix in _WEIGHTS)
    return sum(path.stat().st_size for path in files)


def _signature(unit: Unit, context: Context, speech: SpeechSet, config: ParityConfig) -> str:
    return config.signature(
        unit,
        config.normalizers(speech.scored_as),
        context=context.name,
        detected=speech.detected,
        engine=None,  # it is what the table is about
        manifest_sha256=sha256(config.manifest),
        skipped=len(speech.skipped),
        again=False,
    )
