"""Evaluations made of given words, so that every figure in them is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from finewhisper.evaluation.baseline import Baseline
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.result import Evaluation, Setting
from finewhisper.evaluation.scores import groups, score
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.model import Context
from finewhisper.scoring.sets import SpeechSet
from finewhisper.transcript import Segment, Transcript

#: (language, said, heard)
Said = tuple[str | None, str, str]
Make = Callable[..., tuple[Evaluation, list[Utterance]]]


def evaluated_in(folder: Path) -> Make:
    """A function that makes an evaluation of what is said and heard in clips of the fixture ``speech_folder``, and its utterances."""

    def make(
        said: Sequence[Said],
        *,
        baseline: Baseline | None = None,
        skipped: Sequence[str] = (),
        extra: Sequence[dict[str, object]] = (),
        sentences: tuple[TimedSentence, ...] | None = None,
        well_timed: tuple[bool, ...] = (),
        **options: object,
    ) -> tuple[Evaluation, list[Utterance]]:
        config = EvaluateConfig.model_validate(
            {"model": folder / "model", "manifest": folder / "train.jsonl", "output": folder / "out"} | options
        )
        utterances = [
            Utterance(
                folder / "audio" / f"clip{index % 8}.wav",
                sentence,
                language,
                duration_s=0.5 + index % 8,
                sentences=sentences,
                extra=keys,
                line=index + 1,
            )
            for index, ((language, sentence, _), keys) in enumerate(zip(said, extra or [{"speaker": "Ann"}] * len(said), strict=True))
        ]
        heard = [Transcript((Segment(text, 0.0, 0.5),) if text else (), "en", 0.5, None, well_timed) for _, _, text in said]
        rows = score(SpeechSet("train", tuple(utterances), config.language), heard, config)
        setting = Setting(
            "transformers", "0" * 64, "transformers float32", Context(trimmed=True), "1" * 64, {"finewhisper": "1"}, frozenset()
        )
        before = None if baseline is None else [baseline.rows[row.line] for row in rows]
        made = tuple(groups(rows, before, config, setting.sign(config, len(skipped))))
        created = datetime(2026, 1, 2, tzinfo=timezone.utc)
        return Evaluation(config, setting, made, tuple(skipped), 2.0, baseline, created), utterances

    return make
