"""Augmentation by its effects on sound: moments are found again where the times say, levels are what was asked for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from finewhisper.audio import SAMPLE_RATE, WINDOW_S, WINDOW_SAMPLES, Waveform
from finewhisper.errors import CorpusError, UsageError
from finewhisper.manifest import TimedSentence, Utterance
from finewhisper.training.augment import Augmentation, Effects, dsp
from finewhisper.training.augment.effects import Shift, Speed


def burst(length_s: float, *onsets_s: float) -> Waveform:
    """Silence with a 50 ms tone at each onset."""
    waveform = np.zeros(round(length_s * SAMPLE_RATE), dtype=np.float32)
    tone = 0.5 * np.sin(2 * np.pi * 700 * np.arange(800) / SAMPLE_RATE, dtype=np.float32)
    for onset_s in onsets_s:
        first = round(onset_s * SAMPLE_RATE)
        waveform[first : first + 800] = tone
    return waveform


def heard_at_s(waveform: Waveform, near_s: float) -> float:
    """Where a sound begins, looking from 0.3 s before ``near_s`` on."""
    first = max(round((near_s - 0.3) * SAMPLE_RATE), 0)
    loud = np.abs(waveform[first:]) > 0.25 * np.abs(waveform[first:]).max()
    return float(first + int(np.argmax(loud))) / SAMPLE_RATE


def timed(*onsets_s: float, length_s: float, **extra: object) -> Utterance:
    sentences = tuple(TimedSentence(onset_s, onset_s + 0.05, f"beep {onset_s:g}") for onset_s in onsets_s)
    return Utterance(Path("beeps.wav"), "beeps", "en", length_s, sentences=sentences, extra=extra)


def speech(seconds: float = 4.0, seed: int = 0) -> Waveform:
    """Sound that changes in level as speech does."""
    rng = np.random.default_rng(seed)
    waveform = rng.standard_normal(round(seconds * SAMPLE_RATE)) * (1.2 + np.sin(np.arange(round(seconds * SAMPLE_RATE)) / 2000))
    return (0.05 * waveform).astype(np.float32)


def written(folder: Path, text: str) -> Path:
    path = folder / "augment.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder with noise/ (one short, one of 70 s at 44.1 kHz) and rooms/ (echoes after a direct path that comes 10 ms late)."""
    rng = np.random.default_rng(1)
    for name in ("noise", "rooms"):
        (tmp_path / name / "more").mkdir(parents=True)
    soundfile.write(tmp_path / "noise" / "hum.wav", 0.1 * rng.standard_normal(8000), SAMPLE_RATE)
    soundfile.write(tmp_path / "noise" / "more" / "street.flac", 0.02 * rng.standard_normal(70 * 44_100), 44_100)
    (tmp_path / "noise" / "LICENSE").write_text("not a recording")
    response = 0.2 * rng.standard_normal(12_000) * np.exp(-np.arange(12_000) / 2000)
    response[:160] *= 0.01
    response[160] = 0.9
    soundfile.write(tmp_path / "rooms" / "hall.wav", response, SAMPLE_RATE)
    return tmp_path


EVERYTHING = """
speed: {probability: 1, factor: [0.9, 1.1]}
reverb: {probability: 1, folder: rooms}
shift: {probability: 1, seconds: [0.1, 0.5]}
noise: {probability: 1, folder: noise, snr_db: [5, 30]}
resample: {probability: 1, rate_hz: [8000, 11025]}
volume: {probability: 1, gain_db: [-15, 15]}
"""


@pytest.mark.parametrize("seed", range(5))
def test_times_stay_with_the_sound_under_speed_and_shift(seed: int) -> None:
    """Upstream changed the speed of the audio and left the times as they were: labels up to a tenth off (3 s at 27 s)."""
    onsets_s = (0.5, 13.0, 26.5)
    augmentation = Augmentation(Effects(speed=Speed(probability=1), shift=Shift(probability=1, seconds=(0.0, 0.4))))
    utterance, waveform = augmentation.apply(timed(*onsets_s, length_s=26.6), burst(26.6, *onsets_s), np.random.default_rng(seed))
    assert utterance.sentences is not None
    assert utterance.duration_s == len(waveform) / SAMPLE_RATE != 26.6
    for one in utterance.sentences:
        assert heard_at_s(waveform, one.start_s) == pytest.approx(one.start_s, abs=0.02)


def test_times_stay_with_the_sound_under_everything_at_once(recordings: Path) -> None:
    augmentation = Augmentation.load(written(recordings, EVERYTHING))
    for seed in range(5):
        utterance, waveform = augmentation.apply(timed(0.7, 2.5, length_s=4.0), burst(4.0, 0.7, 2.5), np.random.default_rng(seed))
        for one in utterance.sentences or ():
            assert heard_at_s(waveform, one.start_s) == pytest.approx(one.start_s, abs=0.02)
        assert [word.split()[0] for word in utterance.extra["augmented"].split(", ")] == [
            "speed", "reverb", "shift", "noise", "resample", "volume",
        ]  # fmt: skip


def test_speed_changes_the_pitch_by_the_same_factor() -> None:
    second = np.arange(SAMPLE_RATE, dtype=np.float32) / SAMPLE_RATE
    faster = dsp.change_speed(np.sin(2 * np.pi * 1000 * second, dtype=np.float32), 1.1)
    assert len(faster) == round(SAMPLE_RATE / 1.1)
    assert np.argmax(np.abs(np.fft.rfft(faster))) * SAMPLE_RATE / len(faster) == pytest.approx(1100, abs=2)


@pytest.mark.parametrize(
    "effects", [Effects(speed=Speed(probability=1, factor=(0.9, 0.9))), Effects(shift=Shift(probability=1, seconds=(3, 3)))]
)
def test_a_clip_never_grows_past_30_s_and_is_never_cut(effects: Effects) -> None:
    """Upstream slowed a clip of 28 s to 31 s and cut off its last words."""
    whole, moderate = burst(28.0, 27.9), burst(20.0, 19.9)
    augmentation = Augmentation(effects)
    utterance, waveform = augmentation.apply(timed(27.9, length_s=28.0), whole, np.random.default_rng(0))
    assert waveform is whole, "the effect is left out where it does not fit"
    assert utterance == timed(27.9, length_s=28.0)
    longer, waveform = augmentation.apply(timed(19.9, length_s=20.0), moderate, np.random.default_rng(0))
    assert len(moderate) < len(waveform) <= WINDOW_SAMPLES
    assert longer.sentences is not None
    assert heard_at_s(waveform, longer.sentences[0].start_s) == pytest.approx(longer.sentences[0].start_s, abs=0.02)


@settings(max_examples=40, deadline=None)
@given(
    times=st.lists(st.floats(0, 1), min_size=0, max_size=8),
    length_s=st.floats(0.1, WINDOW_S),
    factor=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)).map(sorted),
    shift=st.tuples(st.floats(0, 5), st.floats(0, 5)).map(sorted),
    seed=st.integers(0, 1000),
)
def test_durations_add_up_and_times_stay_in_order_within_the_clip(
    times: list[float], length_s: float, factor: list[float], shift: list[float], seed: int
) -> None:
    waveform = np.zeros(round(length_s * SAMPLE_RATE), dtype=np.float32)
    length_s = len(waveform) / SAMPLE_RATE
    places = sorted(length_s * time for time in times)
    sentences = tuple(TimedSentence(first, second, "word") for first, second in zip(places[::2], places[1::2], strict=False))
    before = Utterance(Path("a.wav"), "words", "en", length_s, sentences=sentences)
    effects = Effects(speed=Speed(probability=0.7, factor=tuple(factor)), shift=Shift(probability=0.7, seconds=tuple(shift)))
    augmentation = Augmentation(effects)
    after, changed = augmentation.apply(before, waveform, np.random.default_rng(seed))
    assert after.duration_s == pytest.approx(len(changed) / SAMPLE_RATE, abs=1e-9)
    assert len(changed) <= WINDOW_SAMPLES
    assert len(changed) / SAMPLE_RATE <= augmentation.longest_s(before, length_s) <= WINDOW_S
    moments = [time for one in after.sentences or () for time in (one.start_s, one.end_s)]
    assert moments == sorted(moments)
    assert all(0 <= moment <= len(changed) / SAMPLE_RATE for moment in moments)
    assert [one.text for one in after.sentences or ()] == [one.text for one in sentences]
    if length_s / factor[0] + shift[1] < WINDOW_S:
        spans = sum(one.end_s - one.start_s for one in sentences), sum(one.end_s - one.start_s for one in after.sentences or ())
        assert spans[0] / factor[1] - 1e-6 <= spans[1] <= spans[0] / factor[0] + 1e-6 or spans[1] == pytest.approx(spans[0])


@pytest.mark.parametrize("snr_db", [-5.0, 5.0, 20.0])
@pytest.mark.parametrize("file", ["noise/hum.wav", "noise/more/street.flac"])
def test_the_noise_is_as_far_below_the_speech_as_was_asked(recordings: Path, snr_db: float, file: str) -> None:
    for other in {"noise/hum.wav", "noise/more/street.flac"} - {file}:
        (recordings / other).unlink()
    augmentation = Augmentation.load(written(recordings, f"noise: {{probability: 1, folder: noise, snr_db: [{snr_db}, {snr_db}]}}"))
    clean = 0.2 * speech()
    _, noisy = augmentation.apply(Utterance(Path("a.wav"), "a"), clean, np.random.default_rng(0))
    measured_db = 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))
    assert measured_db == pytest.approx(snr_db, abs=0.5)
    assert len(noisy) == len(clean), "the half second of hum goes round and round"
    assert np.abs(noisy - clean).reshape(8, -1).max(axis=1).min() > 0, "the noise lasts as long as the clip"


def test_silence_before_the_speech_does_not_count_as_speech(recordings: Path) -> None:
    text = "shift: {probability: 1, seconds: [4, 4]}\nnoise: {probability: 1, folder: noise, snr_db: [10, 10]}"
    clean = 0.2 * speech()
    _, noisy = Augmentation.load(written(recordings, text)).apply(Utterance(Path("a.wav"), "a"), clean, np.random.default_rng(0))
    noise = noisy - np.concatenate([np.zeros(4 * SAMPLE_RATE, dtype=np.float32), clean])
    assert 10 * np.log10(np.mean(clean**2) / np.mean(noise**2)) == pytest.approx(10, abs=0.5)


def test_a_room_leaves_loudness_length_and_place_and_adds_echoes(recordings: Path) -> None:
    augmentation = Augmentation.load(written(recordings, "reverb: {probability: 1, folder: rooms}"))
    dry = burst(2.0, 1.0)
    _, wet = augmentation.apply(Utterance(Path("a.wav"), "a"), dry, np.random.default_rng(0))
    assert len(wet) == len(dry)
    assert dsp.power(wet) == pytest.approx(dsp.power(dry), rel=1e-3)
    assert heard_at_s(wet, 1.0) == pytest.approx(1.0, abs=0.005), "the response's own delay of 10 ms is taken out"
    assert dsp.power(wet[round(1.06 * SAMPLE_RATE) : round(1.2 * SAMPLE_RATE)]) > 1e-5
    assert not dry[round(1.06 * SAMPLE_RATE) : round(1.2 * SAMPLE_RATE)].any()


def test_a_telephone_leaves_nothing_above_its_band() -> None:
    narrow = dsp.limit_band(speech(), 8000)
    spectrum = np.abs(np.fft.rfft(narrow)) ** 2
    cut = round(4100 / SAMPLE_RATE * len(narrow))
    assert spectrum[cut:].sum() < 1e-5 * spectrum[:cut].sum()
    assert len(narrow) == len(speech())


def test_volume_is_in_decibels_and_never_clips(tmp_path: Path) -> None:
    waveform = 0.5 * speech()
    quiet = Augmentation.load(written(tmp_path, "volume: {probability: 1, gain_db: [-20, -20]}"))
    loud = Augmentation.load(written(tmp_path, "volume: {probability: 1, gain_db: [60, 60]}"))
    utterance = Utterance(Path("a.wav"), "a")
    assert dsp.power(quiet.apply(utterance, waveform, np.random.default_rng(0))[1]) == pytest.approx(dsp.power(waveform) / 100, rel=1e-3)
    heard, louder = loud.apply(utterance, waveform, np.random.default_rng(0))
    assert np.abs(louder).max() == pytest.approx(1.0, abs=1e-5)
    assert heard.extra["augmented"] != "volume +60.0 dB", "what was done is told, not what was asked"


def test_digital_silence_stays_what_it_is(recordings: Path) -> None:
    silence = np.zeros(SAMPLE_RATE, dtype=np.float32)
    utterance = Utterance(Path("a.wav"), "", sentences=())
    for seed in range(3):
        heard, waveform = Augmentation.load(written(recordings, EVERYTHING)).apply(utterance, silence, np.random.default_rng(seed))
        assert not waveform.any()
        assert heard.sentences == ()


def test_a_seed_repeats_and_another_one_does_not(recordings: Path) -> None:
    path = written(recordings, EVERYTHING)
    clip = timed(0.5, length_s=4.0), speech()
    first, again = (Augmentation.load(path).apply(*clip, np.random.default_rng((7, 0, 3))) for _ in range(2))
    other = Augmentation.load(path).apply(*clip, np.random.default_rng((7, 1, 3)))
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])
    assert first[0].extra != other[0].extra
    assert np.array_equal(clip[1], speech()), "the clip itself is left as it was"


def test_probabilities_are_shares() -> None:
    augmentation = Augmentation(Effects(shift=Shift(probability=0.3)))
    rng = np.random.default_rng(0)
    waveform = speech(0.1)
    changed = sum(augmentation.apply(Utterance(Path("a.wav"), "a"), waveform, rng)[1] is not waveform for _ in range(2000))
    assert changed / 2000 == pytest.approx(0.3, abs=0.04)


def test_a_source_overrides_only_what_it_says(recordings: Path) -> None:
    """As the BELLE fork has it: each ``data_source`` may have probabilities of its own."""
    text = """
noise: {probability: 1, folder: noise, snr_db: [20, 20]}
sources:
  studio: {noise: {probability: 0}, volume: {probability: 1, gain_db: [-6, -6]}}
  street: {noise: {snr_db: [3, 3]}}
"""
    augmentation = Augmentation.load(written(recordings, text))

    def told(**extra: object) -> str:
        utterance, _ = augmentation.apply(replace(timed(length_s=1.0), extra=extra), 0.1 * speech(1.0), np.random.default_rng(0))
        return str(utterance.extra["augmented"])

    assert told(data_source="studio") == "volume -6.0 dB"
    assert told(data_source="street").endswith("at 3.0 dB")
    assert told(data_source="elsewhere").endswith("at 20.0 dB")
    assert told().endswith("at 20.0 dB")


def test_a_source_that_no_utterance_has_is_told_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, "sources: {radoi: {volume: {probability: 1}}}")
    Augmentation.load(path, [timed(length_s=1.0, data_source="radio")])
    assert "no utterance has the data_source radoi" in capfd.readouterr().err


def test_the_longest_clip_depends_on_the_source() -> None:
    slow = Effects(speed=Speed(probability=0.1, factor=(0.8, 1.0)))
    augmentation = Augmentation(Effects(), {"slow": slow})
    assert augmentation.longest_s(timed(length_s=4.0), 4.0) == pytest.approx(4.0, abs=1e-3)
    assert augmentation.longest_s(timed(length_s=4.0, data_source="slow"), 4.0) == pytest.approx(5.0, abs=1e-3)
    assert augmentation.longest_s(timed(length_s=29.0, data_source="slow"), 29.0) == WINDOW_S


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sped: {probability: 1}", r"augment\.yaml: sped: there is no such option; did you mean speed"),
        ("speed: {probability: 1, faktor: [1, 2]}", r"augment\.yaml: speed\.faktor: there is no such option; did you mean speed\.factor"),
        ("speed: {probability: 1.5}", r"augment\.yaml: speed\.probability: must be 1 or less, not 1\.5"),
        ("speed: {probability: 1, factor: [1.1, 0.9]}", r"speed\.factor: must be two numbers .*the lower one first, not \[1\.1, 0\.9\]"),
        ("speed: {probability: 1, factor: 0.9}", r"speed\.factor: must be two numbers from 0\.5 to 2 in brackets"),
        ("speed: {factor: [0.9, 1.1]}", r"augment\.yaml: speed: has no probability, .*add one"),
        ("speed: 0.5", r"speed: must be a group of options, not 0\.5"),
        ("noise: {probability: 1}", r"augment\.yaml: noise: has no folder; name one"),
        ("resample: {probability: 1, rate_hz: [16000]}", r"resample\.rate_hz: must be less than 16000, not 16000"),
        ("sources: {radio: {nois: {probability: 1}}}", r"augment\.yaml: sources\.radio\.nois: there is no such option; did you mean noise"),
        ("sources: {radio: {speed: {probability: x}}}", r"augment\.yaml: sources\.radio\.speed\.probability: must be a number, not 'x'"),
        ("speed: [", r"augment\.yaml:\d+: is not YAML"),
    ],
)
def test_a_mistake_is_named_with_file_key_value_and_what_to_do(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Augmentation.load(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--augment: no such file: .*missing\.yaml"):
        Augmentation.load(tmp_path / "missing.yaml")


def test_recordings_that_cannot_be_used_are_all_named_before_training(recordings: Path) -> None:
    (recordings / "noise" / "torn.wav").write_text("not sound")
    shutil.copy(recordings / "noise" / "more" / "street.flac", recordings / "rooms")
    soundfile.write(recordings / "rooms" / "nothing.wav", np.zeros(1000), SAMPLE_RATE)
    with pytest.raises(CorpusError) as caught:
        Augmentation.load(written(recordings, EVERYTHING + "sources: {radio: {speed: {probability: 0}}}"))
    assert len(caught.value.problems) == 3, "the source's folders are the same ones"
    text = str(caught.value)
    assert "noise.folder" in text
    assert "torn.wav: cannot be decoded" in text
    assert "street.flac: is 70.0 s long, which no impulse response is" in text
    assert "nothing.wav: is silent" in text
    for name in ("noise/torn.wav", "rooms/street.flac", "rooms/nothing.wav"):
        (recordings / name).unlink()
    Augmentation.load(recordings / "augment.yaml")  # in the same process, as in a notebook


@pytest.mark.parametrize(("folder", "message"), [("nowhere", "no such folder"), ("empty", "no audio or video files")])
def test_a_folder_without_recordings_is_refused(tmp_path: Path, folder: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=message):
        Augmentation.load(written(tmp_path, f"noise: {{probability: 0.5, folder: {folder}}}"))


def test_folders_of_effects_that_are_off_are_not_looked_at(tmp_path: Path) -> None:
    Augmentation.load(written(tmp_path, "noise: {probability: 0, folder: nowhere}"))
