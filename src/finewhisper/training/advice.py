"""What a run cannot be expected to do, as its manifests and options show before it begins: said then, and again in the model card."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from finewhisper.manifest import Utterance
from finewhisper.messages import say
from finewhisper.progress import note
from finewhisper.scoring.sets import SpeechSet
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.dataset import speaker

#: Fewer utterances than this are few.
FEW = 200
#: One voice is all there is where so large a share of the utterances is spoken by it.
ONE_VOICE = 0.9


@dataclass(frozen=True)
class Advice:
    """A sentence or two: what is to be expected, and what to do."""

    text: str  #: English, with ``{names}`` in it
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text.format(**self.values)

    def local(self) -> str:
        """In the reader's language."""
        return say(self.text, **self.values)


def advise(config: FinetuneConfig, train: Sequence[Utterance], dev: Sequence[SpeechSet]) -> tuple[Advice, ...]:
    """All that applies to a run.

    Args:
        train: what is learnt from.
        dev: the development sets.
    """
    spoken = [utterance for utterance in train if utterance.sentence.strip()]
    heard = [utterance for speech in dev for utterance in speech.utterances]
    return (*_voices(spoken, heard), *_amount(spoken), *_forgetting(config))


def tell(advice: Sequence[Advice]) -> None:
    """Print it."""
    if advice:
        note("\n".join([say("Before you rely on the result:"), *(f"  - {each.local()}" for each in advice)]))


def markdown(advice: Sequence[str]) -> str:
    """The section of the model card."""
    return "\n## Before you rely on it\n\n" + "".join(f"- {each}\n" for each in advice) if advice else ""


def _voices(spoken: Sequence[Utterance], heard: Sequence[Utterance]) -> Iterator[Advice]:
    known = Counter(voice for utterance in spoken if (voice := speaker(utterance)) is not None)
    if not known:
        yield Advice(
            "The manifest does not say who speaks (`speaker`). If it is one person, others may be understood worse afterwards than by the "
            "base: train on other voices too, or see with --keep what becomes of them."
        )
        return
    (voice, count), *_ = known.most_common(1)
    if count < ONE_VOICE * len(spoken):
        return
    yield Advice(
        "{percent} % of the utterances are spoken by one voice ({voice}). Others may be understood worse afterwards than by the base: "
        "train on other voices too, or see with --keep what becomes of them.",
        {"percent": round(100 * count / len(spoken)), "voice": voice.name if isinstance(voice, Path) else voice},
    )
    if heard and all(speaker(utterance) == voice for utterance in heard):
        yield Advice("The development set has no other voice either: its score says nothing about others.")


def _amount(spoken: Sequence[Utterance]) -> Iterator[Advice]:
    if len(spoken) < FEW:
        yield Advice(
            "{count} utterances are few. Below some {few}, much of what is learnt is chance: record more, or let each sound different "
            "every time it is heard (--augment), and take no difference for real that is smaller than the interval beside the score.",
            {"count": len(spoken), "few": FEW},
        )


def _forgetting(config: FinetuneConfig) -> Iterator[Advice]:
    if not config.keep:
        yield Advice(
            "Nothing will show what the model forgets. Name speech that must not get worse, such as other voices or languages, with "
            "--keep: base and result are compared on it."
        )
