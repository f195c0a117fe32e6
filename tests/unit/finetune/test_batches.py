"""Batches hold every utterance once, within their limits, the same for the same seed."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from finewhisper.audio import FRAMES_PER_SECOND, WINDOW_FRAMES, WINDOW_S
from finewhisper.features import CONTEXT_STEP_FRAMES
from finewhisper.finetune.batches import LONGEST_PAUSE_S, BatchPlan, Clip, LengthBatches, Window

plans = st.builds(
    BatchPlan,
    batch_size=st.integers(1, 20),
    batch_seconds=st.floats(30, 300),
    margin_s=st.just((0.1, 2.0)),
    full_window_share=st.floats(0, 1),
    seed=st.integers(0, 5),
    epochs=st.just(3),
    stitch=st.booleans(),
    no_speech_share=st.sampled_from([0.0, 0.2]),
)
corpora = st.lists(st.builds(Clip, st.floats(0.1, 30), st.integers(1, 200), st.sampled_from("ABC")), min_size=1, max_size=120)
SHORT = BatchPlan(16, 120.0, (0.1, 2.0), 0.12, 0, 1)


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


def test_the_share_of_full_windows_is_kept_and_most_hold_several_clips() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(2000)]
    batches = list(LengthBatches(clips, SHORT))
    full = [batch for batch in batches if batch[0].frames == WINDOW_FRAMES]
    assert 0.10 < len(full) / len(batches) < 0.15
    windows = [window for batch in full for window in batch]
    lengths_s = [sum(clips[row].duration_s for row in window.rows) for window in windows]
    assert sum(len(window.rows) for window in windows) / len(windows) > 1.8
    assert min(lengths_s) < 6, "some hold one clip and silence, as other tools show it"
    assert 20 < max(lengths_s) <= WINDOW_S


def test_the_share_of_full_windows_is_kept_where_seconds_and_not_clips_limit_a_batch() -> None:
    clips = [Clip(8.0 + index % 5) for index in range(1000)]
    batches = list(LengthBatches(clips, replace(SHORT, batch_size=64, batch_seconds=60.0)))
    assert max(len(batch) for batch in batches) < 10
    assert 0.11 < sum(batch[0].frames == WINDOW_FRAMES for batch in batches) / len(batches) < 0.14


def test_batches_of_one_window_are_single_clips_and_stitched_ones_in_turn() -> None:
    """With room for one window in a batch, stitching once never happened."""
    clips = [Clip(1.0 + index % 5) for index in range(2000)]
    full = [batch for batch in LengthBatches(clips, replace(SHORT, batch_seconds=30.0)) if batch[0].frames == WINDOW_FRAMES]
    assert all(len(batch) == 1 for batch in full)
    stitched = sum(len(batch[0].rows) > 1 for batch in full) / len(full)
    assert 0.3 < stitched < 0.6


def test_windows_that_are_not_stitched_hold_one_clip() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(500)]
    assert all(len(window.rows) == 1 for batch in LengthBatches(clips, replace(SHORT, stitch=False)) for window in batch)


def test_stitched_clips_are_neighbours_in_the_manifest() -> None:
    clips = [Clip(3.0, speaker=index % 2) for index in range(400)]
    joined = [window.rows for batch in LengthBatches(clips, replace(SHORT, full_window_share=0.5)) for window in batch]
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


def test_windows_without_speech_have_their_share() -> None:
    clips = [Clip(1.0 + index % 5) for index in range(1000)]
    windows = [window for batch in LengthBatches(clips, replace(SHORT, no_speech_share=0.1)) for window in batch]
    trimmed = [window for window in windows if window.frames < WINDOW_FRAMES]
    assert 0.08 < sum(not window.rows for window in trimmed) / len(trimmed) < 0.12
