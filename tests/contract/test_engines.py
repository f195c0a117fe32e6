"""What every engine promises, on real weights and real speech: one suite over all of them.

A caller may swap engines without looking at anything but these promises.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from finewhisper import audio
from finewhisper.audio import Waveform
from finewhisper.engines import Engine, load_engine
from finewhisper.engines.fake import FakeEngine
from finewhisper.errors import UnsupportedError, UsageError
from finewhisper.features import log_mel, pad_samples
from finewhisper.model import Context, ModelFolder
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import DecodeOptions, Segment, Transcript
from finewhisper.vocabulary import Vocabulary

pytestmark = pytest.mark.real

#: For each engine the fixtures that hold an English-only tiny model, quick enough for everything that needs one language only, and
#: the multilingual base model.
ENGINES = {
    "ctranslate2": ("tiny_en_ct2_model", "base_ct2_model"),
    "transformers": ("tiny_en_model", "base_model"),
    "whispercpp": ("tiny_en_ggml_model", "base_ggml_model"),
    "onnx": ("tiny_en_onnx_model", "base_onnx_model"),
}

JFK = "And so, my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def load(request: pytest.FixtureRequest, fixture: str) -> Engine:
    folder = ModelFolder.open(request.getfixturevalue(fixture))
    return load_engine(folder, device="cpu", precision="auto" if folder.kind == "ggml" else "float32")  # whisper.cpp has no choice


@pytest.fixture(scope="module", params=[*ENGINES, "fake"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "fake":
        return FakeEngine(script, vocabulary=Vocabulary.load(request.getfixturevalue("tiny_en_model")))
    return load(request, ENGINES[request.param][0])


@pytest.fixture(scope="module", params=[*ENGINES, "fake"])
def multilingual(request: pytest.FixtureRequest) -> Engine:
    return FakeEngine(script) if request.param == "fake" else load(request, ENGINES[request.param][1])


def script(clip: Waveform, options: DecodeOptions) -> Transcript:
    """What a fake engine hears in the clips below, told apart by their lengths."""
    duration_s = len(clip) / 16_000
    if np.abs(clip).max(initial=0.0) < 0.01:
        return Transcript((), "en", duration_s)
    language, text = {
        11: ("en", JFK),
        2: ("en", "in being comparatively modern"),
        9: ("de", "Hier spricht der abenteuerliche Simplicissimus"),
    }.get(round(duration_s), ("zh", "translated by a script" if options.task == "translate" else "由剧本写成的话"))
    pause = text.find("ask what") if text == JFK else len(text)
    phrases = (Segment(text[:pause], 0.0, min(duration_s, 8.0)), Segment(text[pause:], 8.0, duration_s))
    return Transcript(phrases, language, duration_s)


@pytest.fixture(scope="module")
def clips(data: Path) -> list[Waveform]:
    """Two clips by two speakers, of 11 and 2 s."""
    return [audio.read(data / "en_misc" / "audio" / f"{name}.opus") for name in ("jfk", "LJ001-0002")]


@pytest.fixture(scope="module")
def heard(engine: Engine, clips: list[Waveform]) -> list[Transcript]:
    """What the engine makes of all clips in one batch."""
    return engine.transcribe(clips, DecodeOptions())


@pytest.fixture(scope="module")
def german(data: Path) -> Waveform:
    return audio.read(data / "longform" / "audio" / "simplicissimus_de.mp3", 0.0, 9.0)


@pytest.fixture(scope="module")
def chinese(data: Path) -> Waveform:
    return audio.read(data / "aishell_sample_zh" / "audio" / "BAC009S0252W0001.opus")


def test_hears_what_is_said(heard: list[Transcript]):
    assert error_rate([JFK], [heard[0].text], "word", Normalizer.for_language("en")).percent < 10
    assert heard[0].language == "en"
    assert heard[0].duration_s == pytest.approx(11.0, abs=0.01)


def test_times_run_forward_and_lie_inside_the_audio(heard: list[Transcript]):
    for transcript in heard:
        times = [time for segment in transcript.segments for time in (segment.start_s, segment.end_s)]
        assert times
        assert times == sorted(times)
        assert times[0] >= 0.0
        assert times[-1] <= transcript.duration_s


def test_phrases_have_times_of_their_own(heard: list[Transcript]):
    """Kennedy pauses before "ask what you can do": a model that writes times ends a phrase there, between 7 and 9 s."""
    segments = heard[0].segments
    assert len(segments) >= 2
    assert 7.0 <= segments[-2].end_s <= 9.0


def test_without_timestamps_a_clip_is_one_segment(engine: Engine, clips: list[Waveform]):
    transcript = engine.transcribe(clips[:1], DecodeOptions(timestamps=False))[0]
    (segment,) = transcript.segments
    assert (segment.start_s, segment.end_s) == (0.0, transcript.duration_s)


def test_a_batch_says_what_a_loop_says(engine: Engine, clips: list[Waveform], heard: list[Transcript]):
    for batched, clip in zip(heard, clips, strict=True):
        (single,) = engine.transcribe([clip], DecodeOptions())
        assert batched.text == single.text
        assert [segment.end_s for segment in batched.segments] == [segment.end_s for segment in single.segments]
        assert batched.segments[0].avg_logprob == pytest.approx(single.segments[0].avg_logprob, abs=1e-3)
        assert batched.segments[0].no_speech_prob == pytest.approx(single.segments[0].no_speech_prob, abs=1e-3)


def test_two_calls_agree(engine: Engine, clips: list[Waveform], heard: list[Transcript]):
    assert engine.transcribe(clips, DecodeOptions()) == heard


def test_words_have_times_inside_their_phrase(engine: Engine, clips: list[Waveform], heard: list[Transcript]):
    if engine.name not in {"ctranslate2", "transformers"}:
        with pytest.raises(UnsupportedError, match="--word-timestamps"):
            engine.transcribe(clips, DecodeOptions(word_timestamps=True))
        return
    transcripts = engine.transcribe(clips, DecodeOptions(word_timestamps=True))
    for plain, timed in zip(heard, transcripts, strict=True):
        assert timed.text == plain.text
        for segment in timed.segments:
            assert [word.text for word in segment.words] == segment.text.split()
            times = [segment.start_s, *(time for word in segment.words for time in (word.start_s, word.end_s)), segment.end_s]
            assert times == sorted(times)
            assert all(0.0 < (word.probability or 0.0) <= 1.0 for word in segment.words)
    said = {word.text: word for segment in transcripts[0].segments for word in segment.words}
    assert said["Americans"].end_s == pytest.approx(2.25, abs=0.25)  # he pauses after it
    assert said["country."].end_s == pytest.approx(10.6, abs=0.25)


def test_without_timestamps_a_phrase_lasts_from_its_first_word_to_its_last(engine: Engine, clips: list[Waveform]):
    if engine.name not in {"ctranslate2", "transformers"}:
        pytest.skip("this engine tells no times of words")
    (segment,) = engine.transcribe(clips[:1], DecodeOptions(timestamps=False, word_timestamps=True))[0].segments
    assert (segment.start_s, segment.end_s) == (segment.words[0].start_s, segment.words[-1].end_s)
    assert 10.3 < segment.end_s < 10.9


def test_tokens_may_be_drawn_by_chance(engine: Engine, clips: list[Waveform], heard: list[Transcript]):
    if engine.name == "fake":
        pytest.skip("a script may answer to it or not")
    drawn = [engine.transcribe(clips[1:2], DecodeOptions(temperature=temperature))[0].text for temperature in (0.2, 1.5, 1.5, 1.5)]
    assert error_rate([heard[1].text], [drawn[0]], "word", Normalizer.for_language("en")).percent < 50
    assert set(drawn[1:]) != {heard[1].text}


def test_hotwords_say_how_to_spell(engine: Engine, clips: list[Waveform]):
    if engine.name == "fake":
        pytest.skip("a script may answer to it or not")
    options = DecodeOptions(hotwords=("Yo, my fellow Amerikans", "our kountry", "my fellow Amerikans", "our kountry"), full_windows=True)
    assert "Amerikans" in engine.transcribe(clips[:1], options)[0].text


def test_beam_search_is_honoured_or_refused(engine: Engine, clips: list[Waveform]):
    if engine.name == "whispercpp":
        with pytest.raises(UnsupportedError, match="--beam-size 3"):
            engine.transcribe(clips[1:], DecodeOptions(beam_size=3))
        return
    found = engine.transcribe(clips[:1], DecodeOptions(beam_size=3))[0]
    assert error_rate([JFK], [found.text], "word", Normalizer.for_language("en")).percent < 10


def test_a_prompt_says_how_to_spell(engine: Engine, clips: list[Waveform], heard: list[Transcript]):
    if engine.name == "fake":
        pytest.skip("a script may answer to it or not")
    prompt = "Yo, my fellow Amerikans; our kountry, my fellow Amerikans, our kountry."
    assert "Americans" in heard[0].text
    assert "Amerikans" in engine.transcribe(clips[:1], DecodeOptions(prompt=prompt, full_windows=True))[0].text


def test_a_long_prompt_leaves_room_for_the_text(engine: Engine, clips: list[Waveform]):
    prompt = "We shall pay any price, bear any burden, meet any hardship. " * 40  # far more than the 223 tokens that are used
    assert "country" in engine.transcribe(clips[:1], DecodeOptions(prompt=prompt))[0].text


def test_silence_yields_little_and_never_fails(engine: Engine):
    silent = [np.zeros(32_000, dtype=np.float32), np.random.default_rng(0).normal(0, 1e-3, 16_000).astype(np.float32)]
    for transcript in engine.transcribe(silent, DecodeOptions()):
        assert len(transcript.text) < 30


def test_a_clip_shorter_than_a_frame_is_a_clip(engine: Engine):
    (transcript,) = engine.transcribe([np.zeros(100, dtype=np.float32)], DecodeOptions())
    assert all(segment.end_s <= 100 / 16_000 for segment in transcript.segments)


def test_no_clips_no_transcripts(engine: Engine):
    assert engine.transcribe([], DecodeOptions()) == []


def test_more_than_30_seconds_are_refused(engine: Engine):
    with pytest.raises(ValueError, match="30 s"):
        engine.transcribe([np.zeros(30 * 16_000 + 1, dtype=np.float32)], DecodeOptions())


def test_an_english_only_model_refuses_anything_else(engine: Engine, clips: list[Waveform]):
    with pytest.raises(UsageError, match="English-only"):
        engine.transcribe(clips[1:2], DecodeOptions(language="de"))
    with pytest.raises(UsageError, match="English-only"):
        engine.transcribe(clips[1:2], DecodeOptions(task="translate"))
    assert engine.detect_languages(clips[1:2]) == [{"en": 1.0}]


def test_short_contexts_are_used_where_the_model_has_learnt_them(engine: Engine, clips: list[Waveform], monkeypatch: pytest.MonkeyPatch):
    """This one has not, and may loop; but it runs on the clip's own length, within the token budget, and tells times inside the clip."""
    monkeypatch.setattr(engine, "_learnt", Context(trimmed=True))
    assert engine.frames(clips[1]) < 400
    (transcript,) = engine.transcribe(clips[1:2], DecodeOptions())
    assert transcript.segments
    assert transcript.segments[-1].end_s <= transcript.duration_s


@pytest.mark.parametrize("frames", [100, 400, 3000])
def test_encodes_any_length(engine: Engine, clips: list[Waveform], frames: int):
    features = np.stack([log_mel(pad_samples(clip, frames), engine.n_mels) for clip in clips[:2]])
    if not engine.encodes:
        with pytest.raises(UnsupportedError):
            engine.encode(features)
        return
    encoded = engine.encode(features)
    assert encoded.shape == (2, frames // 2, 384)
    assert encoded.dtype == np.float32
    np.testing.assert_allclose(engine.encode(features[1:]), encoded[1:], atol=1e-4)  # a clip does not hear its neighbours


def test_detects_languages(multilingual: Engine, clips: list[Waveform], german: Waveform, chinese: Waveform):
    detected = multilingual.detect_languages([clips[1], german, chinese])
    assert [max(clip, key=clip.__getitem__) for clip in detected] == ["en", "de", "zh"]
    for clip in detected:
        assert len(clip) == 99
        assert sum(clip.values()) == pytest.approx(1.0, abs=1e-3)


def test_each_clip_of_a_batch_has_its_own_language(multilingual: Engine, clips: list[Waveform], german: Waveform):
    transcripts = multilingual.transcribe([clips[1], german], DecodeOptions())
    assert [transcript.language for transcript in transcripts] == ["en", "de"]
    assert all(0.5 < (transcript.language_probability or 0.0) <= 1.0 for transcript in transcripts)
    assert "modern" in transcripts[0].text
    assert "der" in transcripts[1].text.split()


def test_translates_into_english(multilingual: Engine, chinese: Waveform):
    said, translated = (
        multilingual.transcribe([chinese], DecodeOptions(language="zh", task=task))[0] for task in ("transcribe", "translate")
    )
    assert len(re.findall(r"[一-鿿]", said.text)) > 5
    assert said.language_probability is None
    assert not re.search(r"[一-鿿]", translated.text)
    assert len(translated.text.split()) > 2


@pytest.mark.parametrize("language", ["yue", "klingon"])
def test_a_language_that_the_model_lacks_is_refused(multilingual: Engine, clips: list[Waveform], language: str):
    with pytest.raises(UsageError, match=language):
        multilingual.transcribe(clips[1:2], DecodeOptions(language=language))


#: The types that people use beside float32, with the fixture that holds the tiny model in them.
PRECISIONS = {
    ("transformers", "bfloat16"): "tiny_en_model",
    ("ctranslate2", "int8"): "tiny_en_ct2_model",
    ("whispercpp", "q8_0"): "tiny_en_q8_model",
    ("onnx", "int8"): "tiny_en_int8_onnx_model",
}


@pytest.mark.parametrize(("name", "precision"), list(PRECISIONS))
def test_other_precisions_keep_the_promises(request: pytest.FixtureRequest, clips: list[Waveform], name: str, precision: str):
    """What is said, times inside the audio, a text that does not depend on a clip's neighbours, and the precision that was asked for."""
    folder = ModelFolder.open(request.getfixturevalue(PRECISIONS[name, precision]))
    engine = load_engine(folder, device="cpu", precision=precision, threads=1)
    assert engine.name == name
    assert engine.precision.startswith(precision)  # CTranslate2 says what the rest is computed in, too: int8_float32
    heard = engine.transcribe(clips, DecodeOptions())
    assert error_rate([JFK], [heard[0].text], "word", Normalizer.for_language("en")).percent < 10
    for transcript in heard:
        times = [time for segment in transcript.segments for time in (segment.start_s, segment.end_s)]
        assert times
        assert times == sorted(times)
        assert times[-1] <= transcript.duration_s
    assert engine.transcribe(clips[1:], DecodeOptions())[0].text == heard[1].text


def test_a_precision_that_the_device_lacks_is_refused(tiny_en_ct2_model: Path, tiny_en_ggml_model: Path, tiny_en_onnx_model: Path):
    for folder, precision in ((tiny_en_ct2_model, "float16"), (tiny_en_ggml_model, "q8_0"), (tiny_en_onnx_model, "float16")):
        with pytest.raises(UnsupportedError, match=f"--precision {precision}: .* (auto|float32)"):
            load_engine(ModelFolder.open(folder), device="cpu", precision=precision)


def test_all_engines_say_the_same(request: pytest.FixtureRequest, clips: list[Waveform]):
    """The same weights in the same type: the same text and times.

    Scores may differ a little: they are taken over all tokens in one engine, over those that the rules of timestamps allow in another.
    """
    engines = [load(request, small) for small, _ in ENGINES.values()]
    expected, *others = [engine.transcribe(clips, DecodeOptions()) for engine in engines]
    for transcripts in others:
        for one, other in zip(expected, transcripts, strict=True):
            assert one.text == other.text
            assert [segment.end_s for segment in one.segments] == [segment.end_s for segment in other.segments]
            assert one.segments[0].avg_logprob == pytest.approx(other.segments[0].avg_logprob, abs=0.15)
            assert one.segments[0].no_speech_prob == pytest.approx(other.segments[0].no_speech_prob, abs=1e-2)
    timed = [engine for engine in engines if engine.name in {"ctranslate2", "transformers"}]
    for one, other in zip(*(engine.transcribe(clips, DecodeOptions(word_timestamps=True)) for engine in timed), strict=True):
        for ours, theirs in zip(one.segments, other.segments, strict=True):
            assert [word.text for word in ours.words] == [word.text for word in theirs.words]
            starts = [[word.start_s for word in segment.words] for segment in (ours, theirs)]
            np.testing.assert_allclose(*starts, atol=0.05)
