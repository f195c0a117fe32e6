"""Times the steps of transformers' Trainer, whichever loop it is used in."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class StepClock(TrainerCallback):  # type: ignore[misc]
    """Wall-clock and processor seconds of every optimizer step, its data included; the first step, which warms up, is left out.

    Args:
        utterances: how many utterances the step that just ended has heard.
        progress: a file to note every step in, to be watched.
    """

    def __init__(self, utterances: Callable[[], int], progress: Path | None = None) -> None:
        self.utterances, self.progress = utterances, progress
        self.steps: list[tuple[float, float, int]] = []  # wall-clock seconds, processor seconds, utterances

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.steps.append((time.perf_counter() - self.wall, time.process_time() - self.processor, self.utterances()))
        if self.progress is not None:
            with self.progress.open("a") as stream:
                stream.write(f"{state.global_step} {self.steps[-1]}\n")
        self._start()

    def _start(self) -> None:
        self.wall, self.processor = time.perf_counter(), time.process_time()

    def measured(self) -> dict[str, float]:
        """Seconds per utterance over all steps but the first, and the median seconds of a step."""
        steps = self.steps[1:] or self.steps
        heard = sum(step[2] for step in steps)
        return {
            "seconds_per_utterance": sum(step[0] for step in steps) / heard,
            "processor_seconds_per_utterance": sum(step[1] for step in steps) / heard,
            "median_step_s": statistics.median(step[0] for step in steps),
            "utterances": heard,
        }
