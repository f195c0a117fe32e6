"""The clips of a manifest: each decoded once before the model is loaded, so that no evaluation fails at its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from finewhisper import findings
from finewhisper.audio import SAMPLE_RATE, Notice
from finewhisper.errors import AudioError
from finewhisper.findings import Finding, Named
from finewhisper.manifest import Utterance, tell_notices, unheard
from finewhisper.model import ModelFolder
from finewhisper.progress import in_threads, track


def measure(utterances: Sequence[Utterance], manifest: Path) -> tuple[list[Utterance], list[str]]:
    """Decode every clip and measure it.

    Returns:
        the utterances that can be decoded, with the durations found, and one sentence ``manifest:line: …`` for each of the others.
    """
    usable, problems, unheard, noticed = [], [], [], []
    for result in track(in_threads(partial(_measured, manifest=manifest), utterances), "checking", len(utterances), "clip"):
        if isinstance(result, str):
            problems.append(result)
        else:
            utterance, silence, notices = result
            usable.append(utterance)
            noticed.append((utterance, notices))
            unheard += [Finding("silence", f"{manifest}:{utterance.line}", silence)] if silence else []
    findings.tell(unheard)
    tell_notices(noticed)
    return usable, problems


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


def _measured(utterance: Utterance, manifest: Path) -> tuple[Utterance, str | None, list[Notice]] | str:
    """The utterance with its duration, that nothing can be heard in it, and what was noticed; or what is wrong with it."""
    notices: list[Notice] = []
    try:
        waveform = utterance.waveform(notices)
    except AudioError as error:
        return f"{manifest}:{utterance.line}: {error}"
    return replace(utterance, duration_s=len(waveform) / SAMPLE_RATE), unheard(utterance, waveform), notices
