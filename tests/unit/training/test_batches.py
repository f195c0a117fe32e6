"""Batches hold every utterance once, within their limits, the same for the same seed."""

from __future__ import annotations

import statistics
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finewhisper.audio import FRAMES_PER_SECOND, WINDOW_FRAMES, WINDOW_S
from finewhisper.features import CONTEXT_STEP_FRAMES
from finewhisper.training.batches import LONGEST_PAUSE_S, WINDOW_POSITIONS, BatchPlan, Clip, LengthBatches, Window

plans = st.builds(
    BatchPlan,
    batch_size=st.integers(1, 20),
    batch_seconds=st.floats(30, 300),
    margin_s=st.just((0.1, 2.0)),
    full_window_share=st.floats(0, 1),
    seed=st.integers(0, 5),
    epochs=st.just(3),
    stitched_share=st.sampled_from([0.0, 0.1, 1.0]),
    no_speech_share=st.sampled_from([0.0, 0.2]),
)
corpora = st.lists(st.builds(Clip, st.floats(0.1, 30), st.integers(1, 200), st.sampled_from("ABC")), min_size=1, max_size=120)
SHORT = BatchPlan(16, 120.0, (0.1, 2.0), 0.5, 0, 1, stitched_share=0.1)
FULL = replace(SHORT, full_window_share=1.0, stitched_share=1.0)


def rows(batch: list[Window]) -> list[int]:
    return [row for window in batch for row in window.rows]


@settings(max_examples=60, deadline=None)
@given(corpora, plans)
def test_every_epoch_has_every_utterance_once_in_the_same_number_of_batches(clips: list[Clip], plan: BatchPlan) -> None:
    batches = LengthBatches(clips, plan)
    for epoch in range(plan.epochs):
        batches.set_epoch(epoch)
        made = list(batches)
        assert len(made) == len(batches)
        assert sorted(row for batch in made for row in rows(batch)) == list(range(len(clips)))
        assert made == list(batches), "the same epoch is the same again"


@settings(max_examples=60, deadline=None)
@given(corpora, plans)
def test_a_batch_keeps_its_limits_and_no_clip_is_cut(clips: list[Clip], plan: BatchPlan) -> None:
    for batch in LengthBatches(clips, replace(plan, no_speech_share=0.0)):
        frames = {window.frames for window in batch}
        assert len(frames) == 1
        context = frames.pop()
        assert len(rows(batch)) <= plan.batch_size
        assert len(batch) == 1 or len(batch) * context <= plan.batch_seconds * FRAMES_PER_SECOND
        assert context % CONTEXT_STEP_FRAMES == 0
        assert context <= WINDOW_FRAMES
        for window in batch:
            pauses_s = LONGEST_PAUSE_S * (len(window.rows) - 1)
            assert (sum(clips[row].duration_s for row in window.rows) + pauses_s) * FRAMES_PER_SECOND <= context + 1e-6
            assert len({clips[row].speaker for row in window.rows}) == 1
            assert len(window.rows) == 1 or sum(clips[row].tokens for row in window.rows) <= 440


@settings(max_examples=60, deadline=None)
@given(corpora, plans)
def test_a_full_window_is_complete_and_ends_in_silence(clips: list[Clip], plan: BatchPlan) -> None:
    for batch in LengthBatches(clips, plan):
        blocks = {window.silence for window in batch}
        assert len(blocks) == 1, "the encoder continues all windows of a batch in the same way"
        widths, heard = blocks.pop(), batch[0].frames // 2
        if widths:
            assert heard + sum(widths) == WINDOW_POSITIONS
            assert min(widths) > 0
            assert widths[-1] == 1
            assert len(widths) < 80, "condensed"
            longest_s = max(sum(clips[row].duration_s for row in window.rows) for window in batch)
            assert longest_s * FRAMES_PER_SECOND <= batch[0].frames - 10


def is_full(batch: list[Window]) -> bool:
    return bool(batch[0].silence) or batch[0].frames == WINDOW_FRAMES


@pytest.mark.parametrize("plan", [SHORT, replace(SHORT, batch_size=64, batch_seconds=60.0), replace(SHORT, batch_seconds=30.0)])
def test_full_and_stitched_windows_have_their_shares(plan: BatchPlan) -> None:
    clips = [Clip(3.0 + index % 5) for index in range(2000)]
    batches = list(LengthBatches(clips, plan))
    assert 0.48 < sum(map(is_full, batches)) / len(batches) < 0.52
    # a stitched window may be so short that one clip fills it
    assert 0.05 < sum(any(len(window.rows) > 1 for window in batch) for batch in batches) / len(batches) < 0.12


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_all_windows_are_full_or_none(share: float) -> None:
    clips = [Clip(1.0 + index % 5) for index in range(500)]
    batches = LengthBatches(clips, replace(SHORT, full_window_share=share))
    assert {is_full(batch) for batch in batches} == {bool(share)}
    assert share or all(len(window.rows) == 1 for batch in batches for window in batch), "stitched windows are full windows"


def test_full_windows_are_as_long_as_the_others() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(2000)]
    batches = list(LengthBatches(clips, replace(SHORT, stitched_share=0.0)))
    means = [statistics.mean(batch[0].frames for batch in batches if is_full(batch) is kind) for kind in (True, False)]
    assert 0.9 < means[0] / means[1] < 1.1


def test_stitched_windows_reach_from_one_clip_to_all_thirty_seconds() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(2000)]
    windows = [window for batch in LengthBatches(clips, replace(SHORT, stitched_share=0.5)) for window in batch]
    lengths_s = [sum(clips[row].duration_s for row in window.rows) for window in windows if len(window.rows) > 1]
    assert min(lengths_s) < 6
    assert 22 < max(lengths_s) <= WINDOW_S


def test_stitched_clips_are_neighbours_in_the_manifest() -> None:
    clips = [Clip(3.0, speaker=index % 2) for index in range(400)]
    joined = [window.rows for batch in LengthBatches(clips, replace(SHORT, stitched_share=0.5)) for window in batch]
    steps = [(after - before) % 400 for window in joined for before, after in pairwise(window)]
    assert steps
    assert set(steps) == {2}, "the speaker's next clip, each time"


def test_trimmed_batches_are_short_and_epochs_differ() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(500)]
    batches = LengthBatches(clips, replace(SHORT, full_window_share=0.0, epochs=2))
    first = list(batches)
    spent = sum(len(batch) * batch[0].frames for batch in first) / FRAMES_PER_SECOND
    assert spent < 2 * sum(clip.duration_s for clip in clips), "padding and margins cost less than the speech; 30 s would cost ten times"
    batches.set_epoch(1)
    assert list(batches) != first


@pytest.mark.parametrize("margin_s", [(0.1, 0.5), (1.0, 1.0), (0.0, 2.0)])
def test_short_windows_have_a_margin_of_the_range(margin_s: tuple[float, float]) -> None:
    clips = [Clip(1.0 + 0.37 * (index % 11)) for index in range(500)]
    for batch in LengthBatches(clips, replace(SHORT, margin_s=margin_s, full_window_share=0.0)):
        longest_s = max(clips[row].duration_s for row in rows(batch))
        quiet_s = batch[0].frames / FRAMES_PER_SECOND - longest_s
        assert margin_s[0] - 0.01 <= quiet_s <= margin_s[1] + CONTEXT_STEP_FRAMES / FRAMES_PER_SECOND


def test_windows_without_speech_have_their_share() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(1000)]
    windows = [window for batch in LengthBatches(clips, replace(SHORT, no_speech_share=0.1)) for window in batch]
    assert 0.08 < sum(not window.rows for window in windows) / len(windows) < 0.12


def test_windows_without_speech_stand_beside_stitched_ones_too() -> None:
    """The share was that of the windows of one clip: where all are stitched, it was none."""
    clips = [Clip(1.0 + index % 5) for index in range(2000)]
    windows = [window for batch in LengthBatches(clips, replace(FULL, no_speech_share=0.3)) for window in batch]
    assert 0.25 < sum(not window.rows for window in windows) / len(windows) < 0.35


def test_it_is_known_whether_windows_hold_several_clips() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(50)]
    assert LengthBatches(clips, FULL).stitches()
    assert not LengthBatches(clips, replace(SHORT, stitched_share=0.0)).stitches()
    assert not LengthBatches([clip._replace(speaker=index) for index, clip in enumerate(clips)], FULL).stitches(), "one of each speaker"
