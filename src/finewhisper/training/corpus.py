"""Which lines of a manifest can be learnt from, and what planning needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finewhisper import findings, manifest
from finewhisper.errors import ManifestError, UsageError
from finewhisper.findings import Named
from finewhisper.manifest import Utterance
from finewhisper.progress import note
from finewhisper.scoring.sets import SpeechSet, read_sets
from finewhisper.training import scoring
from finewhisper.training.augment import Augmentation
from finewhisper.training.batches import Clip
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.dataset import speaker
from finewhisper.training.labels import PROMPT_AND_END, Labeller
from finewhisper.vocabulary import MAX_TOKENS, Vocabulary


def usable(path: Path, config: FinetuneConfig, labeller: Labeller) -> list[Utterance]:
    """The utterances of a manifest that can be learnt from; every other one is an error or, with ``skip_bad``, listed and left out."""
    utterances = manifest.read(path)
    problems = manifest.check(utterances, path, count_tokens=labeller.longest, max_tokens=MAX_TOKENS - PROMPT_AND_END, decode=True)
    if labeller.vocabulary.multilingual and config.language is None:
        unnamed = [utterance for utterance in utterances if utterance.language is None]
        problems += [f"{path}:{utterance.line}: has no 'language'; add it or pass --language" for utterance in unnamed]
    bad = {int(problem.removeprefix(f"{path}:").partition(":")[0]) for problem in problems}
    usable = [utterance for utterance in utterances if utterance.line not in bad]
    if problems and not (config.skip_bad and usable):
        raise ManifestError(f"{path}: {len(problems)} problems; correct these lines, or pass --skip-bad to leave them out", problems)
    for language in {config.language or utterance.language for utterance in usable}:
        labeller.vocabulary.prompt(language, config.task, timestamps=False)  # a language or task that the model lacks is found now
    if problems:
        note(f"{path}: left out {len(bad)} of {len(utterances)} utterances:\n" + "\n".join(problems))
    return usable


def kept_sets(config: FinetuneConfig, vocabulary: Vocabulary) -> tuple[SpeechSet, ...]:
    """The sets of ``--keep``, every clip of which the model can decode when training is over.

    Raises:
        ManifestError: a manifest cannot be used, with all its problems.
        UsageError: the model lacks a language in it, or nothing is said in it.
    """
    sets = read_sets(config.keep)
    for path, speech in zip(config.keep, sets, strict=True):
        scoring.require_speech("--keep", path, speech.utterances)
        for language in set(speech.languages) - {None}:  # a language that is not given is detected
            try:
                vocabulary.prompt(language, config.task, timestamps=False)
            except UsageError as error:
                raise UsageError(f"--keep {path}: {error}") from error
    return sets


def look(config: FinetuneConfig, train: Sequence[Utterance], dev: Sequence[SpeechSet], kept: Sequence[SpeechSet]) -> None:
    """Tell what stands out in what is learnt and measured, above all clips that are in both."""
    flags = [("--train", config.train), *(("--dev", path) for path in config.dev), *(("--keep", path) for path in config.keep)]
    utterances = [train, *(speech.utterances for speech in (*dev, *kept))]
    same = findings.of_files(*flags)
    sets = [Named(str(path), rows) for (_, path), rows in zip(flags, utterances, strict=True)]
    alone = [item for named in sets for item in findings.of_set(named)]
    findings.tell([*same, *alone, *(findings.of_doubles(*sets) if not same else findings.of_doubles(sets[0]))])


def clips_of(utterances: Sequence[Utterance], labeller: Labeller, augmentation: Augmentation | None = None) -> list[Clip]:
    """Lengths at most, tokens, and who speaks what language: clips that agree in the last may share a window."""
    longest_s = augmentation.longest_s if augmentation else lambda _, length_s: length_s
    return [
        Clip(longest_s(utterance, utterance.length_s()), labeller.longest(utterance), (speaker(utterance), utterance.language))
        for utterance in utterances
    ]
