from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finewhisper.corpora.config import PrepareConfig
from finewhisper.corpora.corpus import Clip, Shares
from finewhisper.corpora.splits import deal, same_text, split
from finewhisper.errors import UsageError
from finewhisper.manifest import Utterance

keys = st.lists(st.text(max_size=3), max_size=60)
shares = st.fixed_dictionaries({"test": st.floats(0, 0.5), "dev": st.floats(0, 0.4)})


@given(keys, shares, st.integers(0, 3), st.randoms())
def test_the_split_hangs_on_the_keys_alone(keys: list[str], shares: dict[str, float], seed: int, random) -> None:
    splits = deal(keys, shares, seed)
    order = list(range(len(keys)))
    random.shuffle(order)
    assert deal([keys[index] for index in order], shares, seed) == [splits[index] for index in order]


@given(keys, shares, st.integers(0, 3))
def test_equal_keys_stay_together_and_no_split_is_larger_than_its_share(keys: list[str], shares: dict[str, float], seed: int) -> None:
    splits = deal(keys, shares, seed)
    assert len(set(zip(keys, splits, strict=True))) == len(set(keys))
    sizes = Counter(splits)
    assert all(sizes[name] <= math.ceil(share * len(keys)) for name, share in shares.items())


def test_different_keys_fill_the_shares() -> None:
    sizes = Counter(deal([str(number) for number in range(1000)], {"test": 0.18, "dev": 0.07}, 0))
    assert sizes == {"test": 180, "dev": 70, "train": 750}


def test_a_test_set_stays_what_it_is_from_version_to_version() -> None:
    """Scores of last year's model on this year's test set must mean the same."""
    animals = ["ant", "bat", "cat", "dog", "eel", "fox", "gnu", "hen", "ibex", "jay", "kiwi", "lynx"]
    splits = dict(zip(animals, deal(animals, {"test": 0.25, "dev": 0.1}, 0), strict=True))
    assert {name for name, split_ in splits.items() if split_ == "test"} == {"dog", "eel", "jay"}


def test_another_seed_is_another_split() -> None:
    names = [str(number) for number in range(50)]
    assert deal(names, {"test": 0.2}, 0) != deal(names, {"test": 0.2}, 1)


@pytest.mark.parametrize(("one", "other"), [("Чук.", "чук"), ("Буквата E.", "Буквата e."), ("Stop!  Go.", "stop go"), ("Ａ", "a")])
def test_texts_that_sound_alike_are_one(one: str, other: str) -> None:
    assert same_text(one) == same_text(other)


@pytest.mark.parametrize(("one", "other"), [("año", "ano"), ("два", "две"), ("a b", "ab")])
def test_texts_that_sound_different_are_two(one: str, other: str) -> None:
    assert same_text(one) != same_text(other)


def clips(*rows: tuple[str, str]) -> list[Clip]:
    return [
        Clip(Utterance(Path(f"{number}.wav"), text, extra={"speaker": speaker} if speaker else {}))
        for number, (text, speaker) in enumerate(rows)
    ]


def config(**options: object) -> PrepareConfig:
    return PrepareConfig(corpus="audiofolder", source=Path("a"), output=Path("b"), **options)


def test_no_sentence_of_the_test_set_is_trained_on() -> None:
    rows = split(clips(*((f"text {number % 20}", "") for number in range(100))), Shares(test=0.2, dev=0.1), config())
    texts = {name: {row.utterance.sentence for row in rows if row.split == name} for name in ("train", "dev", "test")}
    assert all(texts.values())
    assert not texts["test"] & (texts["train"] | texts["dev"])
    assert not texts["dev"] & texts["train"]


def test_no_speaker_of_the_test_set_is_trained_on() -> None:
    rows = split(clips(*(("same", f"S{number % 20}") for number in range(100))), Shares(test=0.2, dev=0.1), config(split_by="speaker"))
    speakers = {name: {row.utterance.extra["speaker"] for row in rows if row.split == name} for name in ("train", "dev", "test")}
    assert all(speakers.values())
    assert not speakers["test"] & (speakers["train"] | speakers["dev"])


def test_clips_without_words_are_not_one_text() -> None:
    rows = split(clips(*(("", "") for _ in range(50))), Shares(test=0.2, dev=0.1), config())
    assert Counter(row.split for row in rows) == {"train": 35, "test": 10, "dev": 5}


def test_a_split_that_would_be_empty_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"--test-share 0\.2: no speaker is that small a part of the 10 clips"):
        split(clips(*((str(number), f"S{number % 2}") for number in range(10))), Shares(), config(split_by="speaker", test_share=0.2))
    few = clips(*((str(number), f"S{number % 2}") for number in range(10)))
    assert {row.split for row in split(few, Shares(test=0.2), config(split_by="speaker"))} == {"train"}  # nobody asked
    with pytest.raises(UsageError, match=r"--split-by speaker: .*names no speaker; choose --split-by text"):
        split(clips(("a", "")), Shares(test=0.2, dev=0.0), config(split_by="speaker"))
