"""Clips of any length through a real model: order, batches, languages, memory, and what a model leaves at the end of a window."""

from __future__ import annotations

import itertools
import json
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finewhisper import audio
from finewhisper.audio import Waveform
from finewhisper.engines import Engine, base, load_engine
from finewhisper.engines.base import Features, Hypothesis
from finewhisper.errors import MemoryLimitError, UsageError
from finewhisper.model import Context, ModelFolder
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import DecodeOptions, Segment, Transcript
from finewhisper.transcription import chunks
from finewhisper.transcription import transcriber as module
from finewhisper.transcription.loops import repeats
from finewhisper.transcription.transcriber import Plan, Transcriber

pytestmark = pytest.mark.real

#: What is told where nobody speaks.
SILENT = ("no speech was found, so nothing was decoded (--no-vad decodes all the same)",)


@pytest.fixture(scope="module")
def engine(tiny_en_ct2_model: Path) -> Engine:
    return load_engine(ModelFolder.open(tiny_en_ct2_model), device="cpu", precision="int8")


@pytest.fixture
def quick(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The same, on contexts of the clips' own length: many times faster, for tests that do not look at the words."""
    monkeypatch.setattr(engine, "_learnt", Context(trimmed=True))
    return engine


@pytest.fixture
def batches(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The lengths in seconds of the windows that the engine was given together."""
    seen: list[list[float]] = []
    original = engine.transcribe

    def spy(waveforms: list[Waveform], options: DecodeOptions, *more: int) -> list[Transcript]:
        seen.append([round(len(waveform) / 16_000, 1) for waveform in waveforms])
        return original(waveforms, options, *more)

    monkeypatch.setattr(engine, "transcribe", spy)
    return seen


def tone(seconds: float) -> Waveform:
    return (0.1 * np.sin(np.arange(round(seconds * 16_000)) * 0.2)).astype(np.float32)


def longform(data: Path, name: str, end_s: float | None = None) -> tuple[Waveform, str]:
    rows = map(json.loads, (data / "longform" / "manifest.jsonl").read_text().splitlines())
    sentence = next(row["sentence"] for row in rows if name in row["audio"]["path"])
    return audio.read(next((data / "longform" / "audio").glob(f"*{name}*")), 0.0, end_s), sentence


def test_a_short_clip_is_what_the_engine_says(engine: Engine, data: Path):
    clip = audio.read(data / "en_misc" / "audio" / "jfk.opus")
    options = DecodeOptions()
    assert Transcriber(engine, options).transcribe(clip) == engine.transcribe([clip], options)[0]


def test_long_speech_is_heard_whole_with_times_of_the_file(engine: Engine, data: Path):
    waveform, said = longform(data, "bush_election_day")
    covered: list[float] = []
    transcript = Transcriber(engine).transcribe(waveform, progress=covered.append)
    assert error_rate([said], [transcript.text], "word", Normalizer.for_language("en")).percent < 12
    times = [time for segment in transcript.segments for time in (segment.start_s, segment.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0.0
    assert transcript.duration_s - 3.0 < times[-1] <= transcript.duration_s == pytest.approx(127.355, abs=0.01)
    assert sum(covered) == pytest.approx(transcript.duration_s)


@pytest.mark.parametrize(
    ("words", "start_s"), [("Printing, in the only", 0.0), ("For although the", 12.05), ("the invention of movable", 27.36)]
)
def test_phrases_begin_when_they_are_said(reading: Transcript, words: str, start_s: float):
    """The recording is made of clips whose times are known; the third phrase is the first of another window."""
    segment = next(segment for segment in reading.segments if segment.text.startswith(words))
    assert segment.start_s == pytest.approx(start_s, abs=0.4)


@pytest.fixture(scope="module")
def reading(engine: Engine, data: Path) -> Transcript:
    return Transcriber(engine).transcribe(longform(data, "ljspeech", 60.0)[0])


def test_clips_of_any_length_keep_their_order(quick: Engine, batches: list[list[float]]):
    clips = [tone(seconds) for seconds in (0.6, 5.0, 0.9, 0.2, 3.0)]
    transcripts = list(Transcriber(quick, DecodeOptions(timestamps=False), plan=Plan(vad=False)).transcribe_clips(clips))
    assert [transcript.duration_s for transcript in transcripts] == [0.6, 5.0, 0.9, 0.2, 3.0]
    assert batches == [[5.0], [3.0], [0.9, 0.6], [0.2]]  # like contexts together, the longest first


def test_a_batch_holds_no_more_than_it_may(quick: Engine, batches: list[list[float]]):
    """Four times as many short windows as long ones, and twice as many of half the length."""
    options = DecodeOptions(timestamps=False, max_tokens_per_second=0.1)
    list(Transcriber(quick, options, Plan(batch_size=2, vad=False)).transcribe_clips([*[tone(1.0)] * 9, *[tone(14.0)] * 5]))
    assert batches == [[14.0] * 4, [14.0], [1.0] * 8, [1.0]]


def test_batches_side_by_side_say_the_same(engine: Engine, tiny_en_ct2_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch):
    pair = load_engine(ModelFolder.open(tiny_en_ct2_model), device="cpu", precision="int8", threads=2, side_by_side=True)
    assert (pair.workers, engine.workers) == (2, 1)
    recording, _ = longform(data, "ljspeech", 60.0)
    clips = [recording, *(audio.read(path)[: 16_000 * 12] for path in sorted((data / "en_misc" / "audio").iterdir())[:3])]
    running: set[int] = set()
    most: list[int] = []
    original = pair.transcribe

    def spy(waveforms: list[Waveform], options: DecodeOptions, *more: int) -> list[Transcript]:
        running.add(threading.get_ident())
        most.append(len(running))
        try:
            return original(waveforms, options, *more)
        finally:
            running.discard(threading.get_ident())

    monkeypatch.setattr(pair, "transcribe", spy)
    transcripts = list(Transcriber(pair, plan=Plan(batch_size=2)).transcribe_clips(clips))
    assert max(most) == 2
    assert [heard.text for heard in transcripts] == [heard.text for heard in Transcriber(engine).transcribe_clips(clips)]


def test_what_one_worker_fails_on_stops_all(tiny_en_ct2_model: Path, monkeypatch: pytest.MonkeyPatch):
    pair = load_engine(ModelFolder.open(tiny_en_ct2_model), device="cpu", precision="int8", threads=2, side_by_side=True)
    calls: list[int] = []

    def broken(waveforms: list[Waveform], options: DecodeOptions, *more: int) -> list[Transcript]:
        calls.append(len(waveforms))
        raise UsageError("not this one")

    monkeypatch.setattr(pair, "transcribe", broken)
    with pytest.raises(UsageError, match="not this one"):
        list(Transcriber(pair, plan=Plan(batch_size=1, vad=False)).transcribe_clips([tone(20.0)] * 12))
    assert len(calls) <= 4  # two that ran, one that waited, and one begun meanwhile


def test_clips_are_read_only_a_stretch_ahead(quick: Engine):
    """A thousand hours may come as a generator: no more than two batches of full windows are ever held."""
    alive: list[weakref.ref[Waveform]] = []
    most = 0

    def clips() -> Iterator[Waveform]:
        nonlocal most
        for _ in range(24):
            clip = tone(10.0)
            alive.append(weakref.ref(clip))
            most = max(most, sum(reference() is not None for reference in alive))
            yield clip

    options = DecodeOptions(timestamps=False, max_tokens_per_second=0.1)
    assert sum(1 for _ in Transcriber(quick, options, Plan(batch_size=1, vad=False)).transcribe_clips(clips())) == 24
    assert 2 <= most <= 2 * 30 / 10 + 2


def test_a_huge_batch_is_not_waited_for(quick: Engine, monkeypatch: pytest.MonkeyPatch):
    """All recordings would be held in memory before the first is decoded."""
    monkeypatch.setattr(module, "_LOOK_AHEAD_S", 40.0)
    read = []

    def clips() -> Iterator[Waveform]:
        for index in range(24):
            read.append(index)
            yield tone(10.0)

    options = DecodeOptions(timestamps=False, max_tokens_per_second=0.1)
    next(Transcriber(quick, options, Plan(batch_size=100_000, vad=False)).transcribe_clips(clips()))
    assert len(read) == 4


def test_transcripts_come_while_clips_are_still_being_read(quick: Engine):
    read = []

    def clips() -> Iterator[Waveform]:
        for index in range(24):
            read.append(index)
            yield tone(10.0)

    options = DecodeOptions(timestamps=False, max_tokens_per_second=0.1)
    next(Transcriber(quick, options, Plan(batch_size=1, vad=False)).transcribe_clips(clips()))
    assert len(read) < 24


def test_an_unused_run_reads_nothing(quick: Engine):
    assert list(Transcriber(quick, plan=Plan(vad=False)).transcribe_clips([])) == []


def test_a_model_that_has_learnt_short_contexts_gets_short_windows(quick: Engine, data: Path, batches: list[list[float]]):
    waveform, _ = longform(data, "bush_election_day", 60.0)
    Transcriber(quick, DecodeOptions(timestamps=False, max_tokens_per_second=0.1), plan=Plan(vad=False)).transcribe(waveform)
    windows = [length for batch in batches for length in batch]
    assert 5 <= len(windows) <= 12
    assert max(windows) <= 10.0


def test_silence_of_any_length_is_an_empty_transcript(engine: Engine, batches: list[list[float]]):
    covered: list[float] = []
    transcript = Transcriber(engine).transcribe(np.zeros(16_000 * 40, dtype=np.float32), progress=covered.append)
    assert transcript == Transcript((), "", 40.0, notices=SILENT)
    assert batches == []
    assert covered == [40.0]


def test_without_detection_silence_is_decoded_too(quick: Engine, batches: list[list[float]]):
    options = DecodeOptions(timestamps=False, max_tokens_per_second=0.1)
    Transcriber(quick, options, Plan(vad=False)).transcribe(np.zeros(16_000 * 40, dtype=np.float32))
    assert sum(map(sum, batches)) == pytest.approx(40.0, abs=0.2)


@pytest.mark.parametrize("sound", ["silence", "noise", "tone"])
def test_no_text_is_invented_where_nobody_speaks(engine: Engine, batches: list[list[float]], sound: str):
    """A check that is on without being asked for, also in clips that fit the model as they are."""
    rng = np.random.default_rng(0)
    clip = {"silence": np.zeros(48_000), "noise": 0.1 * rng.standard_normal(48_000), "tone": tone(3.0)}[sound].astype(np.float32)
    assert Transcriber(engine).transcribe(clip) == Transcript((), "", 3.0, notices=SILENT)
    assert batches == []


def test_clips_with_speech_are_decoded_whole(engine: Engine, data: Path, batches: list[list[float]]):
    clip = audio.read(data / "en_misc" / "audio" / "jfk.opus")
    heard = Transcriber(engine).transcribe(clip)
    assert heard == Transcriber(engine, plan=Plan(vad=False)).transcribe(clip)
    assert heard.notices == ()
    assert batches == [[pytest.approx(len(clip) / 16_000)]] * 2


def test_detection_can_be_asked_for_short_clips(engine: Engine, batches: list[list[float]]):
    assert Transcriber(engine, plan=Plan(vad=True)).transcribe(tone(3.0)).segments == ()
    assert batches == []


def test_languages_must_be_as_many_as_clips(quick: Engine):
    with pytest.raises(ValueError, match="shorter"):
        list(Transcriber(quick, plan=Plan(vad=False)).transcribe_clips([tone(1.0)] * 2, languages=["en"]))


def test_an_unknown_language_is_refused_before_anything_is_decoded(quick: Engine, batches: list[list[float]]):
    with pytest.raises(UsageError, match="klingon"):
        Transcriber(quick, plan=Plan(vad=False)).transcribe(tone(1.0), language="klingon")
    assert batches == []


@pytest.fixture(scope="module")
def multilingual(base_ct2_model: Path) -> Engine:
    return load_engine(ModelFolder.open(base_ct2_model), device="cpu", precision="int8")


def test_a_long_recording_has_one_language_throughout(multilingual: Engine, data: Path):
    waveform, said = longform(data, "simplicissimus")
    transcript = Transcriber(multilingual).transcribe(waveform)
    assert transcript.language == "de"
    assert (transcript.language_probability or 0.0) > 0.9
    assert error_rate([said], [transcript.text], "word", Normalizer.for_language("de")).percent < 25


def test_each_clip_may_have_its_own_language(multilingual: Engine, data: Path, monkeypatch: pytest.MonkeyPatch):
    """Told that it is Chinese, the model writes Chinese; where nothing is told, the options decide."""
    monkeypatch.setattr(multilingual, "_learnt", Context(trimmed=True))
    english = audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus")
    clips = Transcriber(multilingual, DecodeOptions(language="de")).transcribe_clips([english] * 3, languages=["en", "Chinese", None])
    assert [transcript.language for transcript in clips] == ["en", "zh", "de"]


def test_speech_that_a_model_leaves_at_the_end_of_a_window_is_decoded_after_it(multilingual: Engine, data: Path):
    """Of these 27 s of a sonnet the model writes 23 s and leaves the rest to "the next window", as its training data did."""
    waveform, _ = longform(data, "shakespeare", 27.4)
    options = DecodeOptions(language="en")
    (alone,) = multilingual.transcribe([waveform], options)
    whole = Transcriber(multilingual, options).transcribe(waveform)
    assert "abundance" not in alone.text
    assert alone.segments[-1].end_s < 24.0
    assert whole.text.startswith(alone.text)
    assert "abundance" in whole.text
    assert whole.segments[-1].end_s > 25.0


@pytest.mark.parametrize(("end_s", "most"), [(0.5, 2), (4.0, 6)])
def test_a_model_that_creeps_is_not_followed_to_the_end(
    engine: Engine, data: Path, monkeypatch: pytest.MonkeyPatch, end_s: float, most: int
):
    """Its first phrase ends after half a second, whatever it is given: 39 windows would be heard in these 20 s."""
    heard: list[float] = []

    def creeping(waveforms: list[Waveform], options: DecodeOptions, *more: int) -> list[Transcript]:
        heard.extend(len(waveform) / 16_000 for waveform in waveforms)
        return [Transcript((Segment("so it is", 0.0, end_s),), "en", len(waveform) / 16_000) for waveform in waveforms]

    monkeypatch.setattr(engine, "transcribe", creeping)
    waveform, _ = longform(data, "bush_election_day", 20.0)
    transcript = Transcriber(engine).transcribe(waveform)
    assert 2 <= len(heard) <= most
    assert transcript.duration_s == 20.0


def test_a_loop_is_decoded_again_and_nothing_else_is(quick: Engine, data: Path, monkeypatch: pytest.MonkeyPatch):
    """A model that never learnt short contexts loops on them: on the first of these clips, not on the second."""
    clips = [audio.read(data / "en_misc" / "audio" / f"{name}.opus") for name in ("LJ001-0011", "LJ001-0010")]
    options = DecodeOptions(timestamps=False)
    greedy = quick.transcribe(clips, options)
    assert [repeats(transcript.text) for transcript in greedy] == [True, False]
    ways: list[tuple[float, bool, int]] = []
    original = quick.transcribe

    def spy(waveforms: list[Waveform], options: DecodeOptions, *more: int) -> list[Transcript]:
        ways.append((options.temperature, options.full_windows, len(waveforms)))
        return original(waveforms, options, *more)

    monkeypatch.setattr(quick, "transcribe", spy)
    first, second = Transcriber(quick, options, Plan(vad=False)).transcribe_clips(clips)
    assert not repeats(first.text)
    assert second == greedy[1]
    assert ways[-1] == (0.0, True, 1)  # alone, in 30 s, which helps
    assert [way for way in ways if way[1]] == ways[-1:]


def test_a_sentence_that_is_really_said_again_and_again_is_kept(engine: Engine, data: Path):
    """As announcements are: six of them became one."""
    sentence = audio.read(data / "en_misc" / "audio" / "jfk.opus")  # 11 s: And so, my fellow Americans, …
    pause = np.zeros(16_000 * 13, dtype=np.float32)  # so that each has a window of its own
    text = Transcriber(engine).transcribe(np.concatenate([sentence, pause] * 6)).text
    assert text.count("my fellow Americans") == 6


def test_what_loops_in_30_s_too_is_decoded_by_chance(quick: Engine, monkeypatch: pytest.MonkeyPatch):
    """A text that loops whatever is tried, which no clip does for certain."""
    ways: list[tuple[float, bool]] = []

    def looping(waveforms: list[Waveform], options: DecodeOptions, *more: int) -> list[Transcript]:
        ways.append((options.temperature, options.full_windows))
        return [Transcript((Segment("and so " * 40, 0.0, 1.0),), "en", 1.0)]

    monkeypatch.setattr(quick, "transcribe", looping)
    Transcriber(quick, plan=Plan(vad=False)).transcribe(tone(1.0))
    assert ways == [(0.0, False), (0.0, True), *((temperature, True) for temperature in Plan().fallback)]
    ways.clear()
    Transcriber(quick, plan=Plan(vad=False)).transcribe(tone(29.8))  # hears 30 s from the first
    assert ways == [(0.0, False), *((temperature, True) for temperature in Plan().fallback)]
    ways.clear()
    Transcriber(quick, plan=Plan(vad=False, fallback=())).transcribe(tone(1.0))
    assert ways == [(0.0, False)]


def test_ten_minutes_of_speech_silence_and_noise_have_no_loops(engine: Engine, data: Path):
    rows = map(json.loads, (data / "noise_rir" / "manifest.jsonl").read_text().splitlines())
    noises = [audio.read(data / "noise_rir" / row["audio"]["path"]) for row in rows if "response" not in row["label"]]
    speech = [audio.read(path) for path in sorted((data / "en_misc" / "audio").iterdir())]
    parts: list[Waveform] = []
    for index, noise in enumerate(itertools.cycle(noises)):
        parts += [speech[index % len(speech)], np.zeros(32_000 + 16_000 * (index % 6), np.float32), noise]
        if sum(map(len, parts)) >= 600 * 16_000:
            break
    transcript = Transcriber(engine).transcribe(np.concatenate(parts)[: 600 * 16_000])
    assert len(transcript.text) > 2_000
    assert not [segment.text for segment in transcript.segments if repeats(segment.text)]
    assert not repeats(transcript.text)
    texts = [segment.text for segment in transcript.segments]
    assert not any(len(set(texts[index : index + 4])) == 1 for index in range(len(texts) - 3))


def test_where_memory_does_not_hold_a_batch_smaller_ones_are_tried(
    quick: Engine, batches: list[list[float]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The library's own words; a machine of which the test may take all memory cannot be had."""
    original = quick._generate

    def small(features: Features, *rest: Any) -> list[Hypothesis]:
        if len(features) > 2:
            raise RuntimeError("CUDA failed with error out of memory")
        return original(features, *rest)

    monkeypatch.setattr(quick, "_generate", small)
    transcriber = Transcriber(quick, DecodeOptions(timestamps=False, max_tokens_per_second=0.1), Plan(batch_size=2, vad=False))
    assert len(list(transcriber.transcribe_clips([tone(1.0)] * 9))) == 9
    assert [len(batch) for batch in batches] == [8, 4, 2, 2, 4, 2, 2, 1]
    assert "memory does not hold 8 windows" in capsys.readouterr().err
    assert transcriber.plan.batch_size == 1


def test_memory_for_features_is_memory_too(quick: Engine, batches: list[list[float]], monkeypatch: pytest.MonkeyPatch):
    original = base.np.stack

    def small(features: list[Features]) -> Features:
        if len(features) > 2:
            raise MemoryError
        return original(features)

    monkeypatch.setattr(base.np, "stack", small)
    options = DecodeOptions(timestamps=False, max_tokens_per_second=0.1)
    assert len(list(Transcriber(quick, options, Plan(batch_size=1, vad=False)).transcribe_clips([tone(1.0)] * 4))) == 4
    assert [len(batch) for batch in batches] == [4, 2, 2]


def test_memory_that_does_not_suffice_to_detect_a_language_is_told_of(multilingual: Engine, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> list[dict[str, float]]:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(multilingual, "_detect_languages", full)
    with pytest.raises(MemoryLimitError, match="memory does not hold 1 clip at once"):
        multilingual.detect_languages([tone(1.0)])


def test_where_memory_does_not_hold_one_window_the_message_says_what_to_do(quick: Engine, monkeypatch: pytest.MonkeyPatch):
    def full(*_: Any) -> list[Hypothesis]:
        raise MemoryError

    monkeypatch.setattr(quick, "_generate", full)
    with pytest.raises(MemoryLimitError, match="smaller --batch-size, an int8 copy or a smaller model"):
        Transcriber(quick, plan=Plan(vad=False)).transcribe(tone(1.0))


def test_a_recording_in_pieces_is_heard_like_the_whole(engine: Engine, data: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(chunks, "_CHUNK_S", 40.0)
    waveform, _ = longform(data, "bush_election_day", 90.0)
    covered: list[float] = []
    pieces = (waveform[first : first + 100_000] for first in range(0, len(waveform), 100_000))
    transcript = Transcriber(engine).transcribe(pieces, progress=covered.append)
    whole = Transcriber(engine).transcribe(waveform)
    assert error_rate([whole.text], [transcript.text], "word", Normalizer.for_language("en")).percent < 3
    assert transcript.duration_s == whole.duration_s == pytest.approx(sum(covered))


def test_in_turn_each_window_is_told_what_was_said_before(engine: Engine, data: Path, monkeypatch: pytest.MonkeyPatch):
    waveform, said = longform(data, "bush_election_day")
    prompts: list[str] = []
    original = engine.transcribe

    def spy(waveforms: list[Waveform], options: DecodeOptions, *more: int) -> list[Transcript]:
        prompts.append(options.prompt)
        return original(waveforms, options, *more)

    monkeypatch.setattr(engine, "transcribe", spy)
    covered: list[float] = []
    options = DecodeOptions(prompt="An address.")
    transcript = Transcriber(engine, options, Plan(sequential=True)).transcribe(waveform, progress=covered.append)
    assert error_rate([said], [transcript.text], "word", Normalizer.for_language("en")).percent < 12
    assert prompts[0] == "An address."
    assert prompts[1].startswith("An address. Good morning.")
    assert sum(covered) == pytest.approx(transcript.duration_s)
    times = [time for segment in transcript.segments for time in (segment.start_s, segment.end_s)]
    assert times == sorted(times)


def test_words_of_long_recordings_have_the_times_of_the_file(engine: Engine, data: Path):
    """The recording is made of clips whose times are known."""
    waveform, _ = longform(data, "ljspeech", 60.0)
    transcript = Transcriber(engine, DecodeOptions(word_timestamps=True)).transcribe(waveform)
    words = [word for segment in transcript.segments for word in segment.words]
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times)
    for segment in transcript.segments:
        assert segment.text.split() == [word.text for word in segment.words]
        assert segment.start_s <= segment.words[0].start_s
        assert segment.words[-1].end_s <= segment.end_s
    starts = np.array([word.start_s for word in words])
    clips = json.loads((data / "longform" / "segments.json").read_text())["audio/ljspeech_LJ001_0001-0032.opus"]
    errors = [np.abs(starts - clip["start"]).min() for clip in clips if clip["end"] < 60.0]
    assert np.mean(errors) < 0.25


def test_parts_joined_are_the_transcript(engine: Engine, data: Path):
    """Short stretches first, so that text comes soon; a language is in every part with text."""
    waveform, _ = longform(data, "bush_election_day")
    covered: list[float] = []
    parts = list(Transcriber(engine).parts(waveform, progress=covered.append))
    whole = Transcriber(engine).transcribe(waveform)
    assert tuple(itertools.chain.from_iterable(part.segments for part in parts)) == whole.segments
    assert {part.language for part in parts if part.segments} == {"en"}
    heard_s = [part.duration_s for part in parts]
    assert heard_s == sorted(heard_s)
    assert heard_s[0] < 31.0
    assert heard_s[-1] == whole.duration_s == pytest.approx(sum(covered))


def test_parts_of_what_is_decoded_in_turn(engine: Engine, data: Path):
    waveform, _ = longform(data, "bush_election_day", 65.0)
    parts = list(Transcriber(engine, plan=Plan(sequential=True)).parts(waveform))
    whole = Transcriber(engine, plan=Plan(sequential=True)).transcribe(waveform)
    assert len(parts) >= 3
    assert tuple(itertools.chain.from_iterable(part.segments for part in parts)) == whole.segments


def test_parts_of_silence_and_of_a_short_clip(engine: Engine, data: Path):
    assert list(Transcriber(engine).parts(np.zeros(16_000 * 40, dtype=np.float32))) == [Transcript((), "", 40.0, notices=SILENT)]
    clip = audio.read(data / "en_misc" / "audio" / "jfk.opus")
    first, last = Transcriber(engine).parts(clip)
    assert first == Transcriber(engine).transcribe(clip)
    assert last.segments == ()
