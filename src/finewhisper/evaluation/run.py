"""``finewhisper evaluate``, from top to bottom."""

from __future__ import annotations

import json
import time
from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from itertools import accumulate
from pathlib import Path

from finewhisper import manifest
from finewhisper.audio import Seconds
from finewhisper.engines import KINDS, Engine, load_for
from finewhisper.errors import ManifestError
from finewhisper.evaluation import clips, report, table
from finewhisper.evaluation.baseline import RESULT_NAME, Baseline
from finewhisper.evaluation.clips import look
from finewhisper.evaluation.config import CompareConfig, EvaluateConfig
from finewhisper.evaluation.curves import Curves
from finewhisper.evaluation.result import Evaluation, Setting
from finewhisper.evaluation.scores import groups, require_unit, score
from finewhisper.evaluation.several import Compared, compare
from finewhisper.evaluation.sweep import require_short_contexts, store, sweep
from finewhisper.files import sha256
from finewhisper.model import ModelFolder, versions
from finewhisper.outputs import atomic_folder, require_absent
from finewhisper.progress import bar
from finewhisper.scoring.sets import SpeechSet
from finewhisper.transcript import Transcript, written_language
from finewhisper.transcription.transcriber import Plan, Transcriber

#: Whose versions can change a score.
_PACKAGES = ("ctranslate2", "torch", "transformers", "pywhispercpp", "onnxruntime", "whisper-normalizer", "OpenCC", "cn2an", "jiwer")

_ROUNDING_S = 1e-3  # sums of many durations differ by the order of adding


def run(config: EvaluateConfig) -> Evaluation | Compared:
    """Score one model on one manifest and write its table and page, or several side by side.

    Raises:
        FinewhisperError: a model, a manifest, a clip of it (unless ``skip_bad``) or the baseline cannot be used.
    """
    return evaluate(config) if config.single else compare(CompareConfig.of(config))


def evaluate(config: EvaluateConfig) -> Evaluation:
    """Score a model on a manifest and write the table and the page.

    Raises:
        FinewhisperError: the model, the manifest, a clip of it (unless ``skip_bad``) or the baseline cannot be used.
    """
    require_absent(config.output, replace=config.overwrite)
    (model,), (manifest_path,) = config.model, config.manifest
    folder = ModelFolder.open(model, *KINDS)
    if config.context_sweep:
        require_short_contexts(folder)
    curves = Curves.read(model)
    baseline = Baseline.read(config.baseline) if config.baseline else None
    speech, measured = _usable(manifest_path, config)
    digest = sha256(manifest_path)
    look(manifest_path, speech.utterances, digest, [folder])
    if baseline is not None:  # what it detected goes for this run too, else the two would be scored by different rules
        named = zip(speech.utterances, speech.languages, strict=True)
        spoken = [language or baseline.language(utterance.line) for utterance, language in named]
        baseline.require_same(manifest_path, digest, config.normalizers(spoken), _references(speech, spoken, config))
        speech = replace(speech, settled=tuple(language or "en" for language in spoken))

    engine = load_for(folder, config, side_by_side=True, full_windows=config.full_windows)
    swept = sweep(engine, partial(_transcribe, speech, measured, config), speech, config) if config.context_sweep else None
    heard, seconds = (swept.chosen.heard, swept.chosen.seconds) if swept else _transcribe(speech, measured, config, engine)

    rows = score(speech, heard, config)
    setting = Setting(
        folder.kind,
        folder.fingerprint(),
        f"{engine.name} {engine.precision}",
        swept.chosen.context if swept else engine.context,
        digest,
        versions(*_PACKAGES),
        frozenset(row.scored_as for row in rows if row.scored_as),
    )
    before = None if baseline is None else [baseline.rows[row.line] for row in rows]
    found = groups(rows, before, config, setting.sign(config, len(speech.skipped)))
    evaluation = Evaluation(config, setting, tuple(found), speech.skipped, seconds, baseline, datetime.now(timezone.utc), swept)
    with atomic_folder(config.output, replace=config.overwrite) as output:
        table.write(output / table.NAME, rows)
        (output / RESULT_NAME).write_text(json.dumps(evaluation.json(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
        (output / evaluation.report.name).write_text(report.render(evaluation, speech.utterances, curves), encoding="utf-8")
    if swept is not None:
        store(folder, swept, {key: evaluation.json()[key] for key in ("created", "manifest", "utterances", "engine", "versions")})
    return evaluation


def _usable(path: Path, config: EvaluateConfig) -> tuple[SpeechSet, clips.Measured]:
    """The utterances to score, measured, and the clips that are left out."""
    listed = manifest.read(path)[: config.limit]
    require_unit(SpeechSet(path.stem, tuple(listed), config.language), config)
    measured = clips.measure(listed, path)
    problems = measured.problems
    if problems and not (config.skip_bad and measured.utterances):
        step = "none is left" if config.skip_bad else "correct these lines, or leave them out of the scores with --skip-bad"
        raise ManifestError(f"{path}: {len(problems)} of {len(listed)} clips cannot be used; {step}", problems, limit=len(problems))
    return SpeechSet(path.stem, measured.utterances, config.language, skipped=problems), measured


def _references(speech: SpeechSet, languages: Sequence[str | None], config: EvaluateConfig) -> dict[int, str]:
    return {
        utterance.line: config.normalizer(written_language(language, config.task))(utterance.sentence)
        for utterance, language in zip(speech.utterances, languages, strict=True)
    }


def _transcribe(
    speech: SpeechSet, measured: clips.Measured, config: EvaluateConfig, engine: Engine, title: str = "transcribing"
) -> tuple[list[Transcript], Seconds]:
    """What was heard in each utterance, and the seconds it took.

    The longest come first, so that memory is tested at once and the bar does not flatter.
    """
    utterances, languages = speech.utterances, speech.languages
    order = sorted(range(len(utterances)), key=lambda index: -(utterances[index].duration_s or 0.0))
    ends_s = list(accumulate(utterances[index].duration_s or 0.0 for index in order))
    began = time.perf_counter()
    with bar(title, len(order), " clip") as progress:
        heard_s = 0.0

        def advance(more_s: Seconds) -> None:  # in clips: a model that needs full windows takes as long for a short one
            nonlocal heard_s
            heard_s += more_s
            progress.update(bisect(ends_s, heard_s + _ROUNDING_S) - progress.n)

        transcripts = Transcriber(engine, config.decode_options(), Plan(config.batch_size, config.vad)).transcribe_clips(
            map(measured.waveform, order),
            languages=[languages[index] for index in order],
            progress=advance,
        )
        heard = dict(zip(order, transcripts, strict=True))
    return [heard[index] for index in range(len(utterances))], time.perf_counter() - began
