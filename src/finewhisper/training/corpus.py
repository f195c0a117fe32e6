"""Which lines of a manifest can be learnt from, and what planning needs to know of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from finewhisper import findings, manifest
from finewhisper.audio import Seconds
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

#: A training set of up to so much speech is decoded before training begins, in some seconds; of a larger one each clip is checked when it
#: is first learnt from (:class:`Unusable`), so that a run on thousands of hours begins at once.
DECODED_FIRST_S: Seconds = 5 * 3600.0
#: Of a clip whose duration nobody has recorded.
_USUAL_S: Seconds = 5.0


def usable(path: Path, config: FinetuneConfig, labeller: Labeller) -> list[Utterance]:
    """The utterances of a manifest that can be learnt from; every other one is an error or, with ``skip_bad``, listed and left out.

    Texts, headers and recorded durations are checked of all, sound up to :data:`DECODED_FIRST_S` of it.
    """
    utterances = manifest.read(path)
    speech_s = sum(utterance.duration_s or _USUAL_S for utterance in utterances)
    most = MAX_TOKENS - PROMPT_AND_END
    problems = manifest.check(utterances, path, count_tokens=labeller.longest, max_tokens=most, decode=speech_s <= DECODED_FIRST_S)
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


class Unusable:
    """The clips of the training set that turned out to be bad while it was learnt from.

    Args:
        path: the manifest.
        utterances: those that are learnt from.
        skip_bad: leave such clips out, each named once, instead of stopping.

    Attributes:
        rows: the clips so far, positions in ``utterances``.
    """

    def __init__(self, path: Path, utterances: Sequence[Utterance], *, skip_bad: bool) -> None:
        self._path, self._utterances, self._skip_bad = path, utterances, skip_bad
        self.rows: set[int] = set()

    def tell(self, faults: Sequence[tuple[int, str]]) -> None:
        """Clips of a batch that cannot be used, each with what is wrong.

        Raises:
            ManifestError: bad clips are not to be left out. It names all of the corpus, which is decoded to the end first.
        """
        new = dict(fault for fault in faults if fault[0] not in self.rows)
        if not new:
            return
        if not self._skip_bad:
            note("a clip cannot be used; looking for others before stopping")
            found = manifest.decoding_faults(self._utterances)
            problems = [self._line(row, fault) for row, fault in enumerate(found) if fault is not None]
            problems = problems or [self._line(row, fault) for row, fault in new.items()]
            step = "correct these lines and begin again, or leave them out with --skip-bad --resume"
            raise ManifestError(f"{self._path}: {len(problems)} clips cannot be used; {step}", problems)
        self.rows |= set(new)
        note("\n".join(["left out:", *(self._line(row, fault) for row, fault in new.items())]))

    def _line(self, row: int, fault: str) -> str:
        return f"{self._path}:{self._utterances[row].line}: {fault}"


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
