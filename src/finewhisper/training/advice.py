"""What a run cannot be expected to do, as its manifests and options show before it begins: said then, and again in the model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from finewhisper.manifest import Utterance
from finewhisper.progress import note
from finewhisper.scoring.sets import SpeechSet
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.dataset import speaker

#: Fewer utterances than this are few.
FEW = 200
#: One voice is all there is where so large a share of the utterances is spoken by it.
ONE_VOICE = 0.9


def advise(config: FinetuneConfig, train: Sequence[Utterance], dev: Sequence[SpeechSet]) -> tuple[str, ...]:
    """All that applies to a run, a sentence or two each: what is to be expected, and what to do.

    Args:
        train: what is learnt from.
        dev: the development sets.
    """
    spoken = [utterance for utterance in train if utterance.sentence.strip()]
    heard = [utterance for speech in dev for utterance in speech.utterances]
    return (*_voices(spoken, heard), *_amount(spoken), *_forgetting(config))


def tell(advice: Sequence[str]) -> None:
    """Print it."""
    if advice:
        note("\n".join(["Before you rely on the result:", *(f"  - {each}" for each in advice)]))


def markdown(advice: Sequence[str]) -> str:
    """The section of the model card."""
    return "\n## Before you rely on it\n\n" + "".join(f"- {each}\n" for each in advice) if advice else ""


def _voices(spoken: Sequence[Utterance], heard: Sequence[Utterance]) -> Iterator[str]:
    known = Counter(voice for utterance in spoken if (voice := speaker(utterance)) is not None)
    if not known:
        yield (
            "The manifest does not say who speaks (`speaker`). If it is one person, others may be understood worse afterwards than by the "
            "base: train on other voices too, or see with --keep what becomes of them."
        )
        return
    (voice, count), *_ = known.most_common(1)
    if count < ONE_VOICE * len(spoken):
        return
    name, percent = voice.name if isinstance(voice, Path) else voice, round(100 * count / len(spoken))
    yield (
        f"{percent} % of the utterances are spoken by one voice ({name}). Others may be understood worse afterwards than by the base: "
        "train on other voices too, or see with --keep what becomes of them."
    )
    if heard and all(speaker(utterance) == voice for utterance in heard):
        yield "The development set has no other voice either: its score says nothing about others."


def _amount(spoken: Sequence[Utterance]) -> Iterator[str]:
    if len(spoken) < FEW:
        yield (
            f"{len(spoken)} utterances are few. Below some {FEW}, much of what is learnt is chance: record more, or let each sound "
            "different every time it is heard (--augment), and take no difference for real that is smaller than the interval beside the "
            "score."
        )


def _forgetting(config: FinetuneConfig) -> Iterator[str]:
    if not config.keep:
        yield (
            "Nothing will show what the model forgets. Name speech that must not get worse, such as other voices or languages, with "
            "--keep: base and result are compared on it."
        )
