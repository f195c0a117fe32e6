"""The smallest margin of silence that a model needs after a clip, found on a dev set.

A margin costs time: a clip of one second with a second of silence after it is twice the work of the clip alone. Too little of it, and a
model may cut the last word or loop. How much is enough depends on the model, so it is measured and kept in ``finewhisper.json``, where
every engine reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from finewhisper.audio import FRAMES_PER_SECOND, WINDOW_S, Seconds
from finewhisper.engines import Engine
from finewhisper.errors import UsageError
from finewhisper.evaluation.config import EvaluateConfig
from finewhisper.evaluation.scores import Row, score
from finewhisper.features import context_frames
from finewhisper.model import CARD_NAME, Context, ModelFolder
from finewhisper.scoring.rates import Interval, common_unit
from finewhisper.scoring.scores import Score, bounds
from finewhisper.scoring.sets import SpeechSet
from finewhisper.transcript import Transcript

#: The margins that are tried, beside the one that the model has and full windows.
MARGINS_S: tuple[Seconds, ...] = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)

#: The largest share of errors above the best that may pass for chance; on a small set a much worse margin is not significantly worse.
TOLERANCE = 0.05

#: Decodes the dev set with the engine as it is: what was heard, and the seconds it took. Takes the title of its progress bar.
Decode = Callable[[Engine, str], tuple[list[Transcript], Seconds]]


@dataclass(frozen=True)
class Trial:
    """One context, and how well and how fast the dev set was heard in it."""

    context: Context
    heard: tuple[Transcript, ...]
    seconds: Seconds
    score: Score
    mean_context_s: Seconds  #: what the encoder saw of a clip, on average

    @property
    def name(self) -> str:
        return _name(self.context)

    def above(self, best: Trial) -> Interval:
        """How many percentage points more errors than ``best``."""
        return self.score.since(best.score) or Interval(0.0, 0.0)


@dataclass(frozen=True)
class Sweep:
    """All trials, by margin, full windows last."""

    trials: tuple[Trial, ...]

    @cached_property
    def best(self) -> Trial:
        """The trial of the lowest error rate."""
        return min(self.trials, key=lambda trial: trial.score.percent)

    @cached_property
    def differences(self) -> list[Interval]:
        """Each trial's difference from the best."""
        return [trial.above(self.best) for trial in self.trials]

    @cached_property
    def safe(self) -> list[bool]:
        """Of each trial, whether it is not significantly worse than the best, and no more than :data:`TOLERANCE` worse."""
        most = (1 + TOLERANCE) * self.best.score.percent
        return [found.low <= 0.0 and trial.score.percent <= most for trial, found in zip(self.trials, self.differences, strict=True)]

    @cached_property
    def chosen(self) -> Trial:
        """The smallest margin that is safe; full windows where none is."""
        return next(trial for trial, safe in zip(self.trials, self.safe, strict=True) if safe)

    @property
    def margin_s(self) -> Seconds | None:
        """The chosen margin; None: none is safe."""
        return self.chosen.context.margin_s if self.chosen.context.trimmed else None

    @property
    def score(self) -> str:
        """What the trials are judged by: WER or CER."""
        return self.best.score.name

    def json(self) -> dict[str, Any]:
        """As in ``result.json`` and ``finewhisper.json``; no margin: full windows."""
        return {
            "score": self.score.lower(),
            "margin_s": self.margin_s,
            "trials": [
                {
                    "margin_s": trial.context.margin_s if trial.context.trimmed else None,
                    "mean_context_s": round(trial.mean_context_s, 3),
                    "percent": round(trial.score.percent, 4),
                    "difference_interval": bounds(found),
                    "seconds": round(trial.seconds, 2),
                }
                for trial, found in zip(self.trials, self.differences, strict=True)
            ],
        }

    def printed(self) -> list[tuple[str, ...]]:
        """The lines of the printed table, its headings first."""
        lines: list[tuple[str, ...]] = [("context", "mean length", f"{self.score} %", "points above the best", "seconds", "")]
        for trial, found, safe in zip(self.trials, self.differences, self.safe, strict=True):
            verdict = "chosen" if trial is self.chosen else "" if safe else "worse"
            figures = (f"{trial.mean_context_s:.2f} s", f"{trial.score.percent:.2f}", str(found), f"{trial.seconds:.1f}")
            lines.append((trial.name, *figures, verdict))
        return lines

    @property
    def conclusion(self) -> str:
        """What was found, in a sentence."""
        if self.margin_s is None:
            return f"Every margin is worse than 30 s windows; {CARD_NAME} stays as it was."
        return f"Chosen: {self.chosen.name}, the smallest that is not worse than the best ({self.best.name}); it is now in {CARD_NAME}."


def require_short_contexts(folder: ModelFolder) -> None:
    """Raises: UsageError where the model has not learnt short contexts, so that no engine trims any."""
    if not folder.card.context.trimmed:
        raise UsageError(
            f"--context-sweep: {folder.path} has not learnt short contexts (finewhisper.json would say so), so it gets 20 s at "
            "least and has no margin to choose; give a model that finewhisper finetune made"
        )


def sweep(engine: Engine, decode: Decode, speech: SpeechSet, config: EvaluateConfig) -> Sweep:
    """Decode the dev set in every context, and choose one.

    A margin is safe where the 95 % interval of its difference from the lowest error rate, by the paired bootstrap over utterances, reaches
    down to 0, and where its errors are no more than :data:`TOLERANCE` above it; of the safe ones the smallest is chosen.

    Raises:
        UsageError: nothing is said in the set.
    """
    if not any(utterance.sentence.strip() for utterance in speech.utterances):
        raise UsageError(
            f"--context-sweep: nothing is said in {config.manifest[0]}, so no margin is better than another; give a set of speech"
        )
    learnt = engine.context
    margins = sorted({*MARGINS_S, learnt.margin_s})
    contexts = [learnt.model_copy(update={"margin_s": margin_s}) for margin_s in margins] + [learnt.full()]
    trials: list[Trial] = []
    for context in contexts:
        heard, seconds = decode(engine.within(context), _name(context))
        speech = speech.settle(heard)  # all contexts are scored alike
        trials.append(_trial(context, score(speech, heard, config), heard, seconds, config))
    return Sweep(tuple(trials))


def _trial(context: Context, rows: Sequence[Row], heard: Sequence[Transcript], seconds: Seconds, config: EvaluateConfig) -> Trial:
    unit = common_unit((row.words for row in rows), characters=config.unit == "character")
    margin_s = context.margin_s if context.trimmed else WINDOW_S
    frames = [context_frames(row.duration_s, margin_s) for row in rows]
    rates = tuple(row.rate(unit) for row in rows)
    mean_s = sum(frames) / len(frames) / FRAMES_PER_SECOND
    return Trial(context, tuple(heard), seconds, Score(unit, rates), mean_s)


def _name(context: Context) -> str:
    return f"margin {context.margin_s:g} s" if context.trimmed else "30 s windows"


def store(folder: ModelFolder, found: Sweep, record: dict[str, Any]) -> None:
    """Write the chosen margin, and how it was found, into ``finewhisper.json``; where none is safe nothing is written.

    Args:
        record: what else to keep about the sweep, such as its manifest.

    Raises:
        StorageError: the file cannot be written.
    """
    if found.margin_s is None:
        return
    before = folder.card.context
    calibration = record | found.json() | {"previous_margin_s": before.margin_s}
    context = before.model_copy(update={"margin_s": found.margin_s, "calibration": calibration})
    folder.card.model_copy(update={"context": context}).write(folder.path)
