"""``finewhisper prepare``: fetch, read, look at every clip, write the manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from finewhisper import findings, manifest
from finewhisper.corpora import aishell, audiofolder, existing, fsdd, tuxpaint
from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import Clip, Corpus, LeftOut, Recipe
from finewhisper.corpora.result import Prepared, prepared_before, state, write
from finewhisper.corpora.splits import split
from finewhisper.errors import AudioError, CorpusError
from finewhisper.findings import Named

CORPORA = {
    "aishell": Recipe(aishell.fetch, aishell.read),
    "audiofolder": Recipe(audiofolder.fetch, audiofolder.read),
    "fsdd": Recipe(fsdd.fetch, fsdd.read),
    "manifest": Recipe(existing.fetch, existing.read),
    "tuxpaint": Recipe(tuxpaint.fetch, tuxpaint.read),
}


def run(config: PrepareConfig) -> Prepared:
    """Make the manifests of a corpus, or do nothing where they are there.

    Raises:
        UsageError: an option does not fit the corpus.
        CorpusError: the corpus is missing, damaged or unsafe, or has clips that cannot be used.
        StorageError: other manifests are in the way, or the disk is full.
    """
    source = state(config)
    before = prepared_before(config, source)
    if before is not None:
        return before
    recipe = CORPORA[config.corpus]
    corpus = recipe.read(recipe.fetch(config), config)
    clips, left_out = _usable(corpus, config)
    if corpus.shares is not None:
        clips = split(clips, corpus.shares, config)
    _look(clips)
    return write(config, corpus.title, clips, left_out, source)


def _look(clips: Sequence[Clip]) -> None:
    """Tell what stands out, above all clips that are in two splits."""
    sets = [
        Named(
            name,
            [clip.utterance for clip in clips if clip.split == name],
            {id(clip.utterance): clip.where.removesuffix(": ") for clip in clips if clip.where},
        )
        for name in dict.fromkeys(clip.split for clip in clips)
    ]
    findings.tell([*(item for named in sets for item in findings.of_set(named)), *findings.of_doubles(*sets)])


def _usable(corpus: Corpus, config: PrepareConfig) -> tuple[list[Clip], list[LeftOut]]:
    """Clips with their lengths, and those that are left out.

    Raises:
        CorpusError: there are clips that cannot be used and ``skip_bad`` was not given, or none is left.
    """
    lengths = manifest.durations(clip.utterance.path for clip in corpus.clips)
    broken = _broken(corpus.clips) if config.decode else {}
    problems = list(corpus.problems)
    left_out = [*corpus.left_out, *(LeftOut("cannot be used", Path(), detail=problem) for problem in corpus.problems)]
    clips = []
    for index, clip in enumerate(corpus.clips):
        utterance, length_s = clip.utterance, lengths[clip.utterance.path]
        faults = manifest.faults(utterance, length_s) or broken.get(index, [])
        if faults or isinstance(length_s, AudioError):
            problems += [clip.where + fault for fault in faults]
            left_out.append(LeftOut("cannot be used", utterance.path, utterance.sentence, " ".join(faults)))
            continue
        duration_s = round(min(utterance.end_s or length_s, length_s) - utterance.start_s, 3)
        if corpus.max_characters_per_second and len(utterance.sentence) > corpus.max_characters_per_second * duration_s:
            left_out.append(LeftOut("too short for the text", utterance.path, utterance.sentence, f"{duration_s} s"))
        else:
            clips.append(replace(clip, utterance=replace(utterance, duration_s=duration_s)))
    if problems and not config.skip_bad:
        count = f"{len(problems):,} problem{'s' * (len(problems) > 1)}"
        raise CorpusError(f"{corpus.title}: {count}; correct the clips, or leave them out with --skip-bad", problems)
    if not clips:
        raise CorpusError(f"{corpus.title}: no clip is left that can be used", problems)
    return clips, left_out


def _broken(clips: Sequence[Clip]) -> dict[int, list[str]]:
    """The clips that cannot be decoded to their end, by position."""
    faults = manifest.decoding_faults([clip.utterance for clip in clips])
    return {index: [fault] for index, fault in enumerate(faults) if fault is not None}
