"""The clips of a manifest: each decoded once before the model is loaded, so that no evaluation fails at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from finewhisper import findings
from finewhisper.audio import SAMPLE_RATE, Notice, Seconds, Waveform
from finewhisper.errors import AudioError
from finewhisper.findings import Finding, Named
from finewhisper.manifest import Utterance, tell_notices, unheard
from finewhisper.model import ModelFolder
from finewhisper.progress import in_threads, track

#: Up to so much sound of a set is kept when it has been decoded once (230 MB); the rest is decoded again when its turn comes.
_KEPT_S: Seconds = 3600.0


@dataclass(frozen=True)
class Measured:
    """The clips of a manifest.

    Attributes:
        utterances: those that can be decoded, with the durations found.
        problems: one sentence ``manifest:line: …`` for each of the others.
        sounds: of the utterances, in their order, where it was kept.
    """

    utterances: tuple[Utterance, ...]
    problems: tuple[str, ...]
    sounds: tuple[Waveform | None, ...]

    def waveform(self, index: int) -> Waveform:
        """The sound of an utterance. Raises: AudioError: it was not kept, and can no longer be decoded."""
        sound = self.sounds[index]
        return self.utterances[index].waveform() if sound is None else sound


def measure(utterances: Sequence[Utterance], manifest: Path) -> Measured:
    """Decode every clip and measure it."""
    usable, problems, unheard, noticed = [], [], [], []
    sounds: list[Waveform | None] = []
    kept_s = 0.0
    for result in track(in_threads(partial(_measured, manifest=manifest), utterances), "checking", len(utterances), "clip"):
        if isinstance(result, str):
            problems.append(result)
        else:
            utterance, waveform, silence, notices = result
            usable.append(utterance)
            kept_s += utterance.duration_s or 0.0
            sounds.append(waveform if kept_s <= _KEPT_S else None)
            noticed.append((utterance, notices))
            unheard += [Finding("silence", f"{manifest}:{utterance.line}", silence)] if silence else []
    findings.tell(unheard)
    tell_notices(noticed)
    return Measured(tuple(usable), tuple(problems), tuple(sounds))


def look(manifest: Path, utterances: Sequence[Utterance], digest: str, folders: Sequence[ModelFolder]) -> None:
    """Tell what stands out in a test set, and which models were trained on it.

    Args:
        digest: of the manifest.
    """
    named = Named(str(manifest), utterances)
    trained = [
        Finding("trained on", str(manifest), f"{folder.path} was trained on this very manifest; take other speech")
        for folder in folders
        if (folder.card.training or {}).get("manifest_sha256") == digest
    ]
    findings.tell([*trained, *findings.of_set(named), *findings.of_doubles(named)])


def _measured(utterance: Utterance, manifest: Path) -> tuple[Utterance, Waveform, str | None, list[Notice]] | str:
    """The utterance with its duration, its sound, that nothing can be heard in it, and what was noticed; or what is wrong with it."""
    notices: list[Notice] = []
    try:
        waveform = utterance.waveform(notices)
    except AudioError as error:
        return f"{manifest}:{utterance.line}: {error}"
    return replace(utterance, duration_s=len(waveform) / SAMPLE_RATE), waveform, unheard(utterance, waveform), notices
