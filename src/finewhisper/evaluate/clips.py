"""The clips of a manifest: each decoded once before the model is loaded, so that no evaluation fails at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from finewhisper.audio import SAMPLE_RATE
from finewhisper.errors import AudioError
from finewhisper.manifest import Utterance
from finewhisper.progress import in_threads, track


def measure(utterances: Sequence[Utterance], manifest: Path) -> tuple[list[Utterance], list[str]]:
    """Decode every clip and measure it.

    Returns:
        the utterances that can be decoded, with the durations found, and one sentence ``manifest:line: …`` for each of the others.
    """
    usable, problems = [], []
    for result in track(in_threads(partial(_measured, manifest=manifest), utterances), "checking", len(utterances), "clip"):
        if isinstance(result, Utterance):
            usable.append(result)
        else:
            problems.append(result)
    return usable, problems


def _measured(utterance: Utterance, manifest: Path) -> Utterance | str:
    try:
        return replace(utterance, duration_s=len(utterance.waveform()) / SAMPLE_RATE)
    except AudioError as error:
        return f"{manifest}:{utterance.line}: {error}"
