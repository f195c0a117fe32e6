"""Recordings as they come from phones, browsers and broken disks: read whole, in their own time, with a word on what is wrong."""

from __future__ import annotations

import io
import os
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Notice, Pick, Waveform
from finewhisper.errors import AudioError, CutShortError
from finewhisper.manifest import Utterance, check

FIELD = Path(__file__).parent.parent / "field" / "audio"
RATE = 48_000


def told(path: Path, pick: Pick = Pick()) -> tuple[Waveform, list[Notice]]:  # noqa: B008
    """A recording and what is said of it; read in pieces it is the same."""
    notices: list[Notice] = []
    waveform = audio.read(path, pick=pick, notices=notices)
    again: list[Notice] = []
    pieces = np.concatenate(list(audio.blocks(path, pick=pick, notices=again)))
    assert len(pieces) == pytest.approx(len(waveform), abs=160)
    assert [notice.kind for notice in again] == [notice.kind for notice in notices]
    return waveform, notices


def first_sound_s(waveform: Waveform, start_s: float = 0.0) -> float:
    loud = np.flatnonzero(np.abs(waveform[round(start_s * SAMPLE_RATE) :]) > 0.02)
    return start_s + float(loud[0]) / SAMPLE_RATE


@pytest.mark.parametrize(
    ("name", "length_s", "kinds"),
    [
        ("gap.mp4", 29.7, ["hole"]),
        ("drop6.m4a", 9.66, ["hole"]),
        ("drop.webm", 9.66, ["hole"]),
        ("corrupt_mid.mp3", 9.66, ["damaged"]),
        ("pad0.mp3", 9.66, ["damaged"]),
        ("joined.mp3", 19.4, ["damaged"]),
        ("chained.ogg", 19.3, ["joined"]),
        ("late.mkv", 14.66, []),
        ("startat5.mka", 14.66, []),
        ("voice_memo.amr", 12.04, []),
        ("silence.wav", 3.0, ["quiet"]),
        ("float_scaled_as_int16.wav", 1.9, ["scaled"]),
    ],
)
def test_recordings_from_the_field_have_their_true_length(name: str, length_s: float, kinds: list[str]) -> None:
    waveform, notices = told(FIELD / name)
    assert len(waveform) / SAMPLE_RATE == pytest.approx(length_s, abs=0.06)
    assert audio.duration(FIELD / name) == pytest.approx(length_s, abs=0.12)
    assert [notice.kind for notice in notices] == kinds
    assert np.abs(waveform).max() <= 1.0


@pytest.mark.parametrize(("name", "before_s", "at_s"), [("gap.mp4", 11.2, 19.9), ("late.mkv", 0.0, 5.0), ("startat5.mka", 0.0, 5.0)])
def test_words_after_a_hole_and_late_words_keep_their_times(name: str, before_s: float, at_s: float) -> None:
    waveform = audio.read(FIELD / name)
    assert first_sound_s(waveform, before_s) == pytest.approx(at_s, abs=0.2)
    inside_s = at_s - 1.0  # a slice that begins where nothing is
    part = audio.read(FIELD / name, inside_s, at_s + 1.0)
    assert first_sound_s(part) == pytest.approx(first_sound_s(waveform, before_s) - inside_s, abs=0.03)


def bursts(seconds: int, rate: int = RATE) -> Waveform:
    """A tone of 0.2 s at the beginning of each second, higher from second to second."""
    t = np.arange(seconds * rate) / rate
    return (0.5 * np.sin(2 * np.pi * (300 + 40 * np.floor(t)) * t) * (t % 1 < 0.2)).astype(np.float32)


def encode(
    path: Path,
    container: str,
    codec: str,
    waveform: Waveform,
    *,
    drop: tuple[float, float] = (0, 0),
    jitter_s: float = 0.0,
    jump: tuple[float, float] = (1e9, 0.0),
    rate: int = RATE,
) -> None:
    """Write packets without those between two times, with stamps that jitter, or that jump by some seconds from a time on."""
    random = np.random.default_rng(1)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        size = stream.codec_context.frame_size or 960
        kind = stream.codec_context.format
        convert = av.AudioResampler(format=kind, layout="mono", rate=rate)
        packets = []
        for at in range(0, len(waveform) - size + 1, size):
            frame = av.AudioFrame.from_ndarray(waveform[None, at : at + size], format="flt", layout="mono")
            frame.rate, frame.pts, frame.time_base = rate, at, Fraction(1, rate)
            packets += [packet for piece in convert.resample(frame) for packet in stream.encode(piece)]
        for packet in [*packets, *stream.encode(None)]:
            if packet.pts is None or drop[0] <= float(packet.pts * packet.time_base) < drop[1]:
                continue
            time_s = float(packet.pts * packet.time_base)
            extra_s = (jump[1] if time_s >= jump[0] else 0.0) + (random.uniform(0, jitter_s) if packet.pts > 0 else 0.0)
            packet.pts = packet.dts = packet.pts + round(extra_s / packet.time_base)
            output.mux(packet)


@pytest.mark.parametrize(
    ("container", "codec"),
    [
        ("mp4", "aac"),
        ("matroska", "aac"),
        ("webm", "libopus"),
        ("mpegts", "aac"),
        ("mpegts", "libopus"),
        ("matroska", "ac3"),
        ("mov", "alac"),
    ],
)
@pytest.mark.parametrize("drop", [(2.5, 2.6), (3.5, 6.5)])
def test_lost_packets_are_silence_and_what_follows_keeps_its_time(
    tmp_path: Path, container: str, codec: str, drop: tuple[float, float]
) -> None:
    encode(tmp_path / "dropped", container, codec, bursts(8), drop=drop)
    waveform, notices = told(tmp_path / "dropped")
    assert [notice.kind for notice in notices] == ["hole"]
    assert notices[0].at_s == pytest.approx(drop[0], abs=0.1)
    assert first_sound_s(waveform, 6.8) == pytest.approx(7.0, abs=0.07)
    silent = waveform[round((drop[0] + 0.15) * SAMPLE_RATE) : round((drop[1] - 0.15) * SAMPLE_RATE)]
    assert not len(silent) or np.abs(silent).max() < 0.02


@pytest.mark.parametrize(("container", "codec"), [("matroska", "aac"), ("webm", "libopus"), ("mpegts", "aac")])
def test_stamps_that_jitter_insert_nothing(tmp_path: Path, container: str, codec: str) -> None:
    for name, jitter_s in (("even", 0.0), ("uneven", 0.015)):
        encode(tmp_path / name, container, codec, bursts(4), jitter_s=jitter_s)
    even, uneven = audio.read(tmp_path / "even"), audio.read(tmp_path / "uneven")
    shared = min(len(even), len(uneven))
    assert abs(len(even) - len(uneven)) < 0.03 * SAMPLE_RATE  # at the end, by the length that the header states
    np.testing.assert_array_equal(even[:shared], uneven[:shared])


def test_a_stamp_that_no_recording_reaches_is_passed_over(tmp_path: Path) -> None:
    """A million seconds of silence would take 64 GB."""
    encode(tmp_path / "jump.mkv", "matroska", "aac", bursts(6), jump=(3.0, 1e6))
    waveform, notices = told(tmp_path / "jump.mkv")
    assert len(waveform) / SAMPLE_RATE < 61
    assert "times" in [notice.kind for notice in notices]


@pytest.mark.parametrize(
    ("container", "subtype", "rates"),
    [
        ("OGG", "VORBIS", (16_000, 44_100)),
        ("OGG", "OPUS", (48_000, 16_000)),
        ("FLAC", "PCM_16", (16_000, 48_000)),
        ("WAV", "PCM_16", (8_000, 44_100)),
    ],
)
def test_joined_files_are_read_to_their_end(tmp_path: Path, container: str, subtype: str, rates: tuple[int, int]) -> None:
    content = b""
    for rate, channels in zip(rates, (1, 2), strict=True):
        stream = io.BytesIO()
        sound = np.stack([bursts(3, rate)] * channels, axis=1)
        soundfile.write(stream, sound, rate, format=container, subtype=subtype)
        content += stream.getvalue()
    path = tmp_path / "joined"
    path.write_bytes(content)
    waveform, notices = told(path)
    assert len(waveform) / SAMPLE_RATE == pytest.approx(6.0, abs=0.02)
    assert [notice.kind for notice in notices] == ["joined"]
    assert first_sound_s(waveform, 3.5) == pytest.approx(4.0, abs=0.03)
    np.testing.assert_allclose(audio.read(path, 3.5, 5.0), waveform[round(3.5 * SAMPLE_RATE) : 5 * SAMPLE_RATE], atol=0.05)
    np.testing.assert_array_equal(audio.read(content), waveform)
    assert audio.duration(path) == pytest.approx(6.0, abs=0.02)


@pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("FLAC", "PCM_16")])
def test_damage_in_the_middle_leaves_what_follows_at_its_time(tmp_path: Path, container: str, subtype: str) -> None:
    soundfile.write(tmp_path / "whole", bursts(60, 16_000), 16_000, format=container, subtype=subtype)
    content = bytearray((tmp_path / "whole").read_bytes())
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    (tmp_path / "damaged").write_bytes(content)
    waveform, notices = told(tmp_path / "damaged")
    assert notices
    assert len(waveform) / SAMPLE_RATE == pytest.approx(60.0, abs=0.1)
    assert first_sound_s(waveform, 57.5) == pytest.approx(58.0, abs=0.07)


def pages(content: bytes) -> list[slice]:
    """The places of the pages of an Ogg file (RFC 3533, section 6)."""
    found, at = [], 0
    while at < len(content):
        segments = content[at + 26]
        end = at + 27 + segments + sum(content[at + 27 : at + 27 + segments])
        found.append(slice(at, end))
        at = end
    return found


@pytest.fixture(scope="module", params=["OPUS", "VORBIS"])
def ogg(request: pytest.FixtureRequest) -> bytes:
    """Four seconds in as many pages and one for the last packet."""
    rate = RATE if request.param == "OPUS" else 16_000
    noise = np.random.default_rng(1).normal(0, 0.003, 4 * rate)
    stream = io.BytesIO()
    soundfile.write(stream, bursts(4, rate) + noise, rate, format="OGG", subtype=request.param)
    return stream.getvalue()


@pytest.mark.parametrize("number", [1, -4, -3, -2, -1])  # 1: tags; without Vorbis's codebooks there nothing can be decoded
def test_a_damaged_page_loses_the_damaged_packets_only(tmp_path: Path, ogg: bytes, number: int) -> None:
    content, page = bytearray(ogg), pages(ogg)[number if number < 0 or b"OpusHead" in ogg else -3]
    middle = (page.start + page.stop) // 2
    content[middle : middle + 20] = bytes(byte ^ 0x5A for byte in content[middle : middle + 20])
    (tmp_path / "damaged.ogg").write_bytes(content)
    waveform, notices = told(tmp_path / "damaged.ogg")
    assert "damaged" in [notice.kind for notice in notices]
    assert len(waveform) / SAMPLE_RATE == pytest.approx(4.0, abs=0.03)
    assert audio.duration(tmp_path / "damaged.ogg") == pytest.approx(4.0, abs=0.03)
    whole = audio.read(ogg)[: len(waveform)]
    assert np.mean(np.abs(waveform[: len(whole)] - whole) < 0.1) > 0.9
    np.testing.assert_array_equal(audio.read(bytes(content), notices=[]), waveform)


@pytest.mark.parametrize("number", [-4, -3, -2])
def test_lost_pages_are_silence_at_either_end_too(tmp_path: Path, ogg: bytes, number: int) -> None:
    page = pages(ogg)[number]
    (tmp_path / "lost.ogg").write_bytes(ogg[: page.start] + ogg[page.stop :])
    waveform, notices = told(tmp_path / "lost.ogg")
    assert [notice.kind for notice in notices] == ["hole"]
    assert len(waveform) / SAMPLE_RATE == pytest.approx(audio.duration(tmp_path / "lost.ogg"), abs=0.03) == pytest.approx(4.0, abs=0.03)
    heard_s = 2.0 if number == -2 else 3.0
    assert first_sound_s(waveform, heard_s - 0.5) == pytest.approx(heard_s, abs=0.05)


def test_a_stream_that_was_tuned_into_begins_with_its_first_page(tmp_path: Path) -> None:
    """Its time stamps count from the beginning of the broadcast."""
    stream = io.BytesIO()
    soundfile.write(stream, bursts(70, 16_000), 16_000, format="OGG", subtype="OPUS")
    content = stream.getvalue()
    found = pages(content)
    (tmp_path / "tuned.opus").write_bytes(content[: found[2].start] + content[found[-5].start :])
    waveform, _ = told(tmp_path / "tuned.opus")
    assert 2 < len(waveform) / SAMPLE_RATE < 6
    assert audio.duration(tmp_path / "tuned.opus") == pytest.approx(len(waveform) / SAMPLE_RATE, abs=0.05)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [*((name, "PCM_16") for name in ("WAV", "AIFF", "W64", "NIST", "FLAC")), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")],
)
def test_a_cut_file_is_used_up_to_the_cut_where_that_is_told_and_refused_elsewhere(tmp_path: Path, container: str, subtype: str) -> None:
    soundfile.write(tmp_path / "whole", bursts(50, 16_000) + 0.01, 16_000, format=container, subtype=subtype)
    content = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) * 6 // 10])
    waveform, notices = told(tmp_path / "cut")
    assert 20 < len(waveform) / SAMPLE_RATE < 40
    assert [notice.kind for notice in notices][-1] == "cut"
    with pytest.raises(CutShortError, match=r"cut: is cut short: .*, or give an end_time before that") as caught:
        audio.read(tmp_path / "cut")
    assert caught.value.found_s == pytest.approx(len(waveform) / SAMPLE_RATE, abs=0.1)
    part = audio.read(tmp_path / "cut", 1.0, 3.0)  # lies before the cut, so nothing of it is missing
    assert len(part) / SAMPLE_RATE == pytest.approx(2.0, abs=0.01)


def test_channels_that_cancel_each_other_are_not_silence(tmp_path: Path) -> None:
    sound = bursts(3, 16_000)
    soundfile.write(tmp_path / "opposed.wav", np.stack([sound, -sound], axis=1), 16_000)
    waveform, notices = told(tmp_path / "opposed.wav")
    assert [notice.kind for notice in notices] == ["phase"]
    np.testing.assert_allclose(waveform, sound, atol=1e-3)


def test_one_channel_of_several_can_be_read(tmp_path: Path) -> None:
    left, right = bursts(2, 16_000), np.roll(bursts(2, 16_000), 8_000)
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], axis=1), 16_000)
    np.testing.assert_allclose(told(tmp_path / "call.wav", Pick(channel=0))[0], left, atol=1e-3)
    np.testing.assert_allclose(told(tmp_path / "call.wav", Pick(channel=1))[0], right, atol=1e-3)
    assert audio.channels(tmp_path / "call.wav") == 2
    with pytest.raises(AudioError, match=r"call\.wav: has 2 channels"):
        audio.read(tmp_path / "call.wav", pick=Pick(channel=2))


def test_a_second_track_is_told_of_and_can_be_chosen(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mka"), "w", format="matroska") as output:
        streams = [output.add_stream("pcm_s16le", rate=16_000, layout="mono") for _ in range(2)]
        for stream, language in zip(streams, ("eng", "deu"), strict=True):
            stream.metadata["language"] = language
        for stream, level in zip(streams, (8_000, 16_000), strict=True):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16_000), level, np.int16), format="s16", layout="mono")
            frame.rate = 16_000
            output.mux(stream.encode(frame))
    waveform, notices = told(tmp_path / "film.mka")
    assert str(notices[0]).startswith("has 2 audio tracks: 0 (eng), 1 (deu); 0 is read")
    assert waveform.max() == pytest.approx(8_000 / 32_768, abs=1e-3)
    for track in ("1", "deu", "DEU"):
        waveform, notices = told(tmp_path / "film.mka", Pick(track))
        assert not notices
        assert waveform.max() == pytest.approx(16_000 / 32_768, abs=1e-3)
    with pytest.raises(AudioError, match=r"film\.mka: has no audio track '2'; choose of these: 0 \(eng\), 1 \(deu\)"):
        audio.read(tmp_path / "film.mka", pick=Pick("2"))


@pytest.mark.parametrize(
    ("waveform", "said"),
    [
        (np.zeros(16_000, np.float32), "digital silence"),
        (np.full(16_000, 5e-4, np.float32), "hardly audible: its highest peak is -66 dB"),
        (np.full(160, 0.5, np.float32), "is 0.010 s long"),
        (np.full(16_000, 0.01, np.float32), None),
    ],
)
def test_what_nobody_can_hear_is_said(waveform: Waveform, said: str | None) -> None:
    found = audio.unheard(waveform)
    assert found is None if said is None else said in (found or "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not take such names")
@pytest.mark.parametrize("name", ["你好.wav".encode("gbk"), "Grüße.m4a".encode("latin-1"), b"\xff\xfe.ogg"])
def test_names_in_any_encoding(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    if path.suffix == ".m4a":
        encode(tmp_path / "plain", "mp4", "aac", bursts(2))
        (tmp_path / "plain").rename(path)
    else:
        stream = io.BytesIO()
        soundfile.write(stream, bursts(2, 16_000), 16_000, format=path.suffix[1:].upper())
        path.write_bytes(stream.getvalue())
    assert len(told(path)[0]) / SAMPLE_RATE == pytest.approx(2.0, abs=0.05)
    assert audio.duration(path) == pytest.approx(2.0, abs=0.05)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_read_once_and_refused_where_it_would_be_read_again(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = (FIELD / "drop6.m4a").read_bytes()
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    waveform = audio.read(tmp_path / "pipe")
    writer.join()
    np.testing.assert_array_equal(waveform, audio.read(content))
    with pytest.raises(AudioError, match="pipe: is a pipe, which can be read only once"):
        audio.duration(tmp_path / "pipe")
    if Path("/dev/zero").exists():
        with pytest.raises(AudioError, match="/dev/zero: is a device"):
            audio.read(Path("/dev/zero"))


def test_a_slice_before_a_cut_may_be_trained_on(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "cut.wav", bursts(10, 16_000), 16_000)
    content = (tmp_path / "cut.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    whole, slice_ = (Utterance(tmp_path / "cut.wav", "Hello.", end_s=end_s) for end_s in (None, 3.0))
    assert "is cut short" in check([whole], tmp_path / "m.jsonl")[0]
    assert not check([slice_], tmp_path / "m.jsonl", decode=True)
