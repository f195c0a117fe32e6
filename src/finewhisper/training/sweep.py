"""After training: how far to go from the base towards what was learnt, and whether the mean of the last checkpoints is better.

All that is tried is decoded on the development sets and, with ``--keep``, on sets of speech that must not be forgotten. The model as it
was tuned stays the result unless another one is better for sure: of several tries on a small set the best is often so by chance. Only
what it forgets is a reason too: where it raises a kept set by more than ``--keep-tolerance`` points over the base, the lowest mean error
of the development sets wins among the candidates that do not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewhisper.engines import Engine
from finewhisper.engines.transformers import TransformersEngine
from finewhisper.progress import note
from finewhisper.scoring.matrix import Matrix, ModelScores
from finewhisper.scoring.plot import plot
from finewhisper.scoring.rates import Comparison, ErrorRate, Interval, common_unit, mean_difference
from finewhisper.scoring.scores import Score
from finewhisper.scoring.sets import SpeechSet
from finewhisper.training import scoring
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.interpolation import Line, Weights, average
from finewhisper.training.scoring import MACRO, Scores
from finewhisper.transcription.sets import setting

if TYPE_CHECKING:
    from finewhisper.training.trainer import SpeechTrainer

#: Scales that are tried besides 1: by default, and where there is something to keep.
SCALES, KEEPING_SCALES = (0.8,), (0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Candidate:
    """One of the models that can be made from what was learnt, and how it did."""

    averaged: int  #: checkpoints whose mean it is; 1: the one that was kept
    scale: float  #: of the way from the base
    weights: Weights
    row: ModelScores
    scores: Scores  #: on the development sets; empty without any
    rise: float  #: the most that the error rate of a kept set rose over the base's, points; 0 where none rose or nothing is kept
    change: Interval | None = None  #: of the mean error on the development sets from the tuned model's, points; None: it is that one

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def error(self) -> float:
        """The mean error on the development sets, percent; 0 without any."""
        return self.scores.get(MACRO, 0.0)

    @property
    def is_better(self) -> bool:
        """Whether it makes fewer errors than the tuned model on other speech of the kind too, as sure as 95 % are."""
        return self.change is not None and self.change.high < 0


@dataclass(frozen=True)
class Choice:
    """The model that was chosen, and all that were tried."""

    chosen: Candidate
    matrix: Matrix  #: without the base where nothing is kept
    kept: tuple[str, ...]  #: the names of the kept sets
    reason: str
    changes: Mapping[str, Interval]  #: of the mean error on the development sets from the tuned model's, by the names of the others

    def card(self) -> dict[str, Any]:
        """As in ``finewhisper.json``."""
        tried = {row.name: [round(score.percent, 2) for score in row.scores] for row in self.matrix.rows}
        return {
            "scale": self.chosen.scale,
            "averaged": self.chosen.averaged,
            "sweep": {
                "chosen": self.chosen.name,
                "sets": self.matrix.headings(),
                "tried": tried,
                "changes": {name: [round(change.low, 2), round(change.high, 2)] for name, change in self.changes.items()},
            },
        }

    def write(self, output: Path) -> None:
        """Write ``forgetting.json`` and ``forgetting.png`` where there are kept sets."""
        if not self.kept:
            return
        content = {"kept": list(self.kept), "chosen": self.chosen.name, "reason": self.reason} | self.matrix.json()
        (output / "forgetting.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        plot(self.matrix, output / "forgetting.png")

    def markdown(self) -> str:
        """The section of the model card."""
        heading = "What was learnt, what was forgotten" if self.kept else "What was tried"
        return f"\n## {heading}\n\n{self.matrix.markdown()}\n\n{self.reason}\n"


class Sweep:
    """What is tried after training.

    Args:
        line: made before training, so that the weights' beginning is known.
        engine: over the model that is trained, with the context that it learns.
        dev, kept: the development sets, and those that must not be forgotten.
    """

    def __init__(
        self, line: Line, engine: TransformersEngine, dev: Sequence[SpeechSet], kept: Sequence[SpeechSet], config: FinetuneConfig
    ) -> None:
        self.line, self.engine, self.dev, self.config = line, engine, tuple(dev), config
        taken = {speech.name for speech in dev}
        self.kept = tuple(replace(speech, name=f"kept {speech.name}") if speech.name in taken else speech for speech in kept)
        self.decoding = scoring.decoding(config)
        scales = config.sweep.scales or (KEEPING_SCALES if config.keep else SCALES)
        self.scales = tuple(scale for scale in scales if scale != 1) if dev else ()

    def choose(self, trainer: SpeechTrainer) -> Choice | None:
        """Leave the best model's weights in the trainer's model.

        Returns:
            None where there is nothing to choose from and nothing to report.
        """
        checkpoints = self._checkpoints(trainer)
        if not (self.scales or checkpoints or self.kept):
            return None
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            note("nothing is tried after training: the weights are spread over several devices; use finewhisper merge --scale")
            return None
        trainer.model.eval()
        learnt = self.line.learnt()
        base = self._base(learnt) if self.kept else None
        candidates = [tuned := self._try("tuned", learnt, 1, 1.0, base)]
        if checkpoints:
            mean = average(self.line, trainer, checkpoints)
            candidates.append(self._try(f"mean of {len(checkpoints)}", mean, len(checkpoints), 1.0, base, tuned))
        best = _best(candidates)
        candidates += [self._try(f"{scale:g} × {best.name}", best.weights, best.averaged, scale, base, tuned) for scale in self.scales]
        return self._chosen(candidates, base)

    def _checkpoints(self, trainer: SpeechTrainer) -> list[Path]:
        """The checkpoints to average; AdaLoRA's have other ranks each, so that their factors have no mean."""
        if not (self.dev and self.config.sweep.average) or self.config.method == "adalora":
            return []
        found = [path.parent for path in Path(str(trainer.args.output_dir)).glob("checkpoint-*/trainer_state.json")]
        return found if len(found) > 1 else []

    def _try(
        self, name: str, weights: Weights, averaged: int, scale: float, base: ModelScores | None, tuned: Candidate | None = None
    ) -> Candidate:
        row, scores = self._measure(name, self._placed(weights, scale), (*self.dev, *self.kept))
        rises = [after.percent - before.percent for after, before in zip(row.scores, base.scores, strict=True)] if base else []
        change = mean_difference(self._on_dev(tuned.row), self._on_dev(row)) if tuned and self.dev else None
        return Candidate(averaged, scale, weights, row, scores, max([0.0, *rises[len(self.dev) :]]), change)

    def _on_dev(self, row: ModelScores) -> list[Sequence[ErrorRate]]:
        return [score.rates for score in row.scores[: len(self.dev)]]

    def _base(self, learnt: Weights) -> ModelScores:
        return self._measure("base", self._placed(learnt, 0.0), (*self.dev, *self.kept))[0]

    def _placed(self, weights: Weights, scale: float) -> Engine:
        """The model at ``scale`` of the way, in contexts that it can decode in."""
        self.line.place(weights, scale)
        return self.engine.within(self.engine.context.at(scale))

    def _measure(self, name: str, engine: Engine, sets: Sequence[SpeechSet]) -> tuple[ModelScores, Scores]:
        note(f"{name}:")
        heard = {speech.name: scoring.hear_together(engine, speech, *self.decoding) for speech in sets}
        self.kept = tuple(speech.scored_like(heard[speech.name]) for speech in self.kept)  # the base's languages go for all after it
        found = tuple(
            _score(heard[speech.name], self.config.metric if column < len(self.dev) else "auto") for column, speech in enumerate(sets)
        )
        dev = {speech.name: heard[speech.name] for speech in self.dev}
        return ModelScores(name, setting(engine), found), scoring.scores(dev, self.config.metric) if dev else {}

    def _chosen(self, candidates: Sequence[Candidate], base: ModelScores | None) -> Choice:
        best, reason = select(candidates, self.config.keep_tolerance, keeping=bool(self.kept))
        self.line.place(best.weights, best.scale)
        rows = tuple(candidate.row for candidate in candidates)
        matrix = Matrix((*self.dev, *self.kept), (base, *rows) if base else rows)
        note(f"{matrix}\n{reason}")
        changes = {candidate.name: candidate.change for candidate in candidates if candidate.change is not None}
        return Choice(best, matrix, tuple(speech.name for speech in self.kept), reason, changes)


def select(candidates: Sequence[Candidate], tolerance: float, *, keeping: bool) -> tuple[Candidate, str]:
    """Which candidate becomes the result, and why: the first, the tuned model, unless another is better or keeps what it forgets.

    Where none keeps what is to be kept, the development sets decide alone, for a model that has not learnt is of no use, and the reason
    says so.
    """
    tuned = candidates[0]
    admitted = [candidate for candidate in candidates if candidate.rise <= tolerance]
    forgets = bool(admitted) and tuned not in admitted
    tried = admitted or candidates
    best = min(tried, key=lambda candidate: candidate.error) if forgets else _best(tried)
    if forgets:
        return best, (
            f"Chosen: {best.name}, the lowest error on the development set of those that raise no kept set by more than {tolerance:g} "
            f"points over the base; tuned raises one by {tuned.rise:.1f}."
        )
    reason = f"Chosen: {best.name}{_because(best, tried)}"
    if not keeping:
        return best, reason
    if admitted:
        return best, f"{reason} No kept set rose by more than {tolerance:g} points over the base."
    closest = min(candidates, key=lambda candidate: candidate.rise)
    return best, (
        f"{reason} The development sets decided alone: none of those tried keeps every kept set within {tolerance:g} points of the "
        f"base. The closest is {closest.name} with {closest.rise:.1f} points; finewhisper merge --scale goes further back."
    )


def _best(candidates: Sequence[Candidate]) -> Candidate:
    """The first, or the lowest of those that are better than it for sure."""
    return min([candidates[0], *(candidate for candidate in candidates if candidate.is_better)], key=lambda candidate: candidate.error)


def _because(best: Candidate, candidates: Sequence[Candidate]) -> str:
    """The rest of the sentence: what the development sets say of the best and of the lowest."""
    if best.change is not None:
        return f": on the development set it differs from tuned by {best.change} points (95 % interval), so it is better."
    if len(candidates) == 1:
        return "; no other was to choose from."
    lowest = min(candidates, key=lambda candidate: candidate.error)
    if lowest.error >= best.error:
        return "; none of the others made fewer errors on the development set."
    return (
        f". {lowest.name} made fewer errors on the development set, by {best.error - lowest.error:.1f} points, but the 95 % interval of "
        f"that difference, {lowest.change}, does not leave out 0: it may be chance."
    )


def _score(heard: Sequence[Comparison], metric: str) -> Score:
    """In the unit of :func:`scoring.scores`: words, unless characters are asked for or what is written has no spaces."""
    return Score.of(heard, common_unit((pair.words for pair in heard), characters=metric == "cer"))
