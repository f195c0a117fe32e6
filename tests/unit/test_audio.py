"""Every kind of file a user may have, and every way in which it may be broken."""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.errors import AudioError

LENGTH_S = 6.0

#: name: FFmpeg's container, codec and rate, and options of the container
AV_FORMATS = {
    "aac.m4a": ("mp4", "aac", 44_100, {}),
    "narrow.m4a": ("mp4", "aac", 16_000, {}),
    "faststart.m4a": ("mp4", "aac", 44_100, {"movflags": "faststart"}),
    "fragmented.mp4": ("mp4", "aac", 44_100, {"movflags": "frag_keyframe+empty_moov"}),
    "adts.aac": ("adts", "aac", 44_100, {}),
    "opus.webm": ("webm", "libopus", 48_000, {}),
    "live.webm": ("webm", "libopus", 48_000, {"live": "1"}),  # as a browser records: no length in the header
    "flac.mka": ("matroska", "flac", 16_000, {}),
    "lame.mp3": ("mp3", "libmp3lame", 44_100, {}),
    "no_xing.mp3": ("mp3", "libmp3lame", 44_100, {"write_xing": "0"}),
}
#: name: soundfile's format, subtype and rate
SF_FORMATS = {
    "plain.wav": ("WAV", "PCM_16", 16_000),
    "phone.wav": ("WAV", "PCM_16", 8_000),
    "studio.wav": ("WAV", "PCM_24", 48_000),
    "float.wav": ("WAV", "FLOAT", 44_100),
    "flac.flac": ("FLAC", "PCM_16", 44_100),
    "studio.flac": ("FLAC", "PCM_24", 48_000),
    "vorbis.ogg": ("OGG", "VORBIS", 44_100),
    "opus.opus": ("OGG", "OPUS", 48_000),
    "sndfile.mp3": ("MP3", "MPEG_LAYER_III", 16_000),
    "sphere.sph": ("NIST", "PCM_16", 16_000),
}


def speechlike(rate: int, seconds: float = LENGTH_S) -> Waveform:
    """A gliding tone in bursts: cheap to make at any rate, and unlike itself at every other place."""
    t = np.arange(round(rate * seconds)) / rate
    return np.asarray(0.4 * np.sin(2 * np.pi * (200 + 60 * t) * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 1.7 * t)), dtype=np.float32)


def encode(path: Path, container: str, codec: str, rate: int, options: dict[str, str], waveform: Waveform, channels: int = 1) -> None:
    layout = "mono" if channels == 1 else "stereo"
    with av.open(str(path), "w", format=container, options=options) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.repeat(waveform, channels)[None], format="flt", layout=layout)
        frame.rate = rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        fifo = av.AudioFifo()
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            fifo.write(piece)
        while (piece := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for name, (container, codec, rate, options) in AV_FORMATS.items():
        encode(folder / name, container, codec, rate, options, speechlike(rate))
    for name, (container, subtype, rate) in SF_FORMATS.items():
        soundfile.write(folder / name, speechlike(rate), rate, format=container, subtype=subtype)
    return folder


def correlation(one: Waveform, other: Waveform) -> float:
    length = min(len(one), len(other))
    return float(np.corrcoef(one[:length], other[:length])[0, 1])


def delay(late: Waveform, reference: Waveform) -> int:
    """By how many samples ``late`` lags behind, up to a quarter of a second: the peak of their cross-correlation."""
    size = 2 * max(len(late), len(reference))
    product = np.fft.irfft(np.fft.rfft(late, size) * np.conj(np.fft.rfft(reference, size)), size)
    return int(np.argmax(product[: SAMPLE_RATE // 4]))


@pytest.mark.parametrize("name", [*SF_FORMATS, *AV_FORMATS])
def test_every_format_becomes_the_same_16_khz_mono(sounds: Path, name: str) -> None:
    samples = audio.read(sounds / name)
    assert samples.dtype == np.float32
    assert samples.shape == (len(samples),)
    assert abs(len(samples) / SAMPLE_RATE - LENGTH_S) < 0.12  # MP3 and AAC without a table of contents keep their padding
    reference = speechlike(SAMPLE_RATE)
    lag = delay(samples, reference)
    assert correlation(samples[lag:], reference) > 0.97
    if name not in {"adts.aac", "no_xing.mp3", "fragmented.mp4"}:
        assert lag < 0.01 * SAMPLE_RATE


@pytest.mark.parametrize("name", [*SF_FORMATS, *AV_FORMATS])
def test_the_header_tells_the_decoded_length(sounds: Path, name: str) -> None:
    assert audio.duration(sounds / name) == pytest.approx(len(audio.read(sounds / name)) / SAMPLE_RATE, abs=0.05)


@pytest.mark.parametrize("name", ["plain.wav", "vorbis.ogg", "opus.opus", "lame.mp3", "aac.m4a", "opus.webm"])
def test_bytes_and_streams_read_as_files_do(sounds: Path, name: str) -> None:
    whole = audio.read(sounds / name)
    raw = (sounds / name).read_bytes()
    np.testing.assert_array_equal(audio.read(raw), whole)
    np.testing.assert_array_equal(audio.read(io.BytesIO(raw)), whole)
    np.testing.assert_array_equal(audio.read(io.BytesIO(raw), 1.0, 2.0), audio.read(sounds / name, 1.0, 2.0))


@pytest.mark.parametrize(("start_s", "end_s"), [(0.0, 1.5), (0.5, 2.25), (3.0, 4.5), (4.75, None)])
@pytest.mark.parametrize("name", [*SF_FORMATS, *AV_FORMATS])
def test_a_slice_is_that_part_of_the_whole(sounds: Path, name: str, start_s: float, end_s: float | None) -> None:
    whole = audio.read(sounds / name)[round(start_s * SAMPLE_RATE) : None if end_s is None else round(end_s * SAMPLE_RATE)]
    part = audio.read(sounds / name, start_s, end_s)
    assert abs(len(part) - len(whole)) <= 0.001 * SAMPLE_RATE  # Matroska counts in milliseconds
    assert any(correlation(part[800 + shift :], whole[800:-800]) > 0.999 for shift in sorted(range(-16, 17), key=abs))


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = speechlike(44_100)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, 0 * left], axis=1), 44_100)
    encode(tmp_path / "stereo.m4a", "mp4", "aac", 44_100, {}, left, channels=2)
    assert np.abs(audio.read(tmp_path / "stereo.wav")).max() == pytest.approx(0.2, abs=0.01)
    assert np.abs(audio.read(tmp_path / "stereo.m4a")).max() == pytest.approx(0.4, abs=0.04)


def test_a_film_gives_its_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.mp4"), "w") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        sound = output.add_stream("aac", rate=16_000, layout="mono")
        for number in range(20):
            picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), number * 10, np.uint8), format="rgb24")
            output.mux(video.encode(picture))
        frame = av.AudioFrame.from_ndarray(speechlike(16_000, 2.048).reshape(1, -1), format="fltp", layout="mono")
        frame.rate = 16_000
        fifo = av.AudioFifo()
        fifo.write(frame)
        while (piece := fifo.read(1024)) is not None:
            output.mux(sound.encode(piece))
        output.mux([*sound.encode(None), *video.encode(None)])
    length_s = len(audio.read(tmp_path / "film.mp4")) / SAMPLE_RATE
    assert length_s == pytest.approx(2.048, abs=0.07)  # the encoder adds a frame
    assert audio.duration(tmp_path / "film.mp4") == pytest.approx(length_s, abs=0.01)


def test_a_film_without_sound_says_so(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "silent.mp4"), "w") as output:
        video = output.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        output.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        output.mux(video.encode(None))
    for look in (audio.read, audio.duration):
        with pytest.raises(AudioError, match=r"silent\.mp4: has no audio track"):
            look(tmp_path / "silent.mp4")


def test_real_speech_that_libsndfile_refuses_is_read(data: Path) -> None:
    """libsndfile calls a page of this whole Opus file malformed and stops there."""
    speech = data / "longform" / "audio" / "bush_columbia_2003.opus"
    assert len(audio.read(speech)) / SAMPLE_RATE == pytest.approx(198.76, abs=0.05)


@pytest.mark.parametrize("look", [audio.read, audio.duration])
class TestUnusable:
    def test_missing(self, tmp_path: Path, look) -> None:
        with pytest.raises(AudioError, match=r"gone\.wav: no such file; check the path"):
            look(tmp_path / "gone.wav")

    def test_empty(self, tmp_path: Path, look) -> None:
        (tmp_path / "empty.wav").touch()
        with pytest.raises(AudioError, match=r"empty\.wav: is empty \(0 bytes\)"):
            look(tmp_path / "empty.wav")

    def test_folder(self, tmp_path: Path, look) -> None:
        with pytest.raises(AudioError, match="is a folder"):
            look(tmp_path)

    @pytest.mark.parametrize("name", ["zero.wav", "zero.flac", "zero.ogg", "zero.mp3"])
    def test_zero_length(self, tmp_path: Path, look, name: str) -> None:
        soundfile.write(tmp_path / name, np.zeros(0, np.float32), SAMPLE_RATE)
        with pytest.raises(AudioError, match=rf"{name}: (holds no samples|is empty|cannot be decoded as audio)"):
            look(tmp_path / name)

    @pytest.mark.parametrize("name", ["text.wav", "text.mp3", "text.ogg", "text.raw", "text"])
    def test_text_under_another_name(self, tmp_path: Path, look, name: str) -> None:
        (tmp_path / name).write_text("This is not a sound.\n" * 100)
        with pytest.raises(AudioError, match=rf"{name}: (cannot be decoded as audio .*; give a WAV|has no audio track)"):
            look(tmp_path / name)

    @pytest.mark.parametrize("name", ["plain.wav", "studio.wav", "opus.opus", "aac.m4a"])
    def test_cut_short_where_the_container_shows_it(self, sounds: Path, tmp_path: Path, look, name: str) -> None:
        broken = _truncated(sounds / name, tmp_path)
        with pytest.raises(AudioError, match=rf"{name}: (is cut short|cannot be decoded)"):
            look(broken)


@pytest.mark.parametrize("name", ["flac.flac", "vorbis.ogg", "sndfile.mp3", "lame.mp3", "faststart.m4a", "opus.webm", "flac.mka"])
def test_cut_short_is_found_in_reading(sounds: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(AudioError, match=rf"{name}: is (cut short|damaged)"):
        audio.read(_truncated(sounds / name, tmp_path))


def _truncated(path: Path, folder: Path) -> Path:
    raw = path.read_bytes()
    (folder / path.name).write_bytes(raw[: len(raw) * 6 // 10])
    return folder / path.name


def test_a_wav_written_to_a_pipe_is_whole_although_its_sizes_are_not_known(sounds: Path, tmp_path: Path) -> None:
    raw = bytearray((sounds / "plain.wav").read_bytes())
    at = raw.index(b"data") + 4
    for size in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\xf0\xff\x7f", b"\0\0\0\0"):
        raw[at : at + 4] = size
        (tmp_path / "pipe.wav").write_bytes(raw)
        assert len(audio.read(tmp_path / "pipe.wav")) == LENGTH_S * SAMPLE_RATE
        assert audio.duration(tmp_path / "pipe.wav") == pytest.approx(LENGTH_S, abs=0.01)


def test_a_flac_written_to_a_pipe_does_not_say_how_long_it_is(sounds: Path, tmp_path: Path) -> None:
    raw = bytearray((sounds / "flac.flac").read_bytes())
    fields = int.from_bytes(raw[18:26], "big")  # rate 20 bits, channels 3, bits a sample 5, samples 36 (RFC 9639, section 8.2)
    raw[18:26] = (fields >> 36 << 36).to_bytes(8, "big")
    (tmp_path / "pipe.flac").write_bytes(raw)
    assert len(audio.read(tmp_path / "pipe.flac")) == LENGTH_S * SAMPLE_RATE
    assert audio.duration(tmp_path / "pipe.flac") == pytest.approx(LENGTH_S, abs=0.01)


def test_samples_that_are_not_numbers(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan, 0.5], np.float32), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="not numbers"):
        audio.read(tmp_path / "nan.wav")


@pytest.mark.parametrize("name", ["plain.wav", "lame.mp3", "aac.m4a"])
def test_a_slice_outside_the_file(sounds: Path, name: str) -> None:
    with pytest.raises(AudioError, match="holds no samples from 7 s to its end"):
        audio.read(sounds / name, 7.0)
    with pytest.raises(AudioError, match=r"ends at 6\.\d+ s, before the slice from 5 s to 8 s does"):
        audio.read(sounds / name, 5.0, 8.0)
    assert len(audio.read(sounds / name, 5.0, 6.04)) / SAMPLE_RATE == pytest.approx(1.0, abs=0.05)  # a rounded end is no error


def test_damage_is_reported_in_our_words_only(sounds: Path, tmp_path: Path) -> None:
    """Decoding libraries write warnings of their own to standard error; a user sees one sentence."""
    _truncated(sounds / "lame.mp3", tmp_path)
    raw = (sounds / "sndfile.mp3").read_bytes()
    (tmp_path / "garbage.mp3").write_bytes(raw[:2000] + b"garbage" * 300 + raw[4100:])
    (tmp_path / "text.mp3").write_text("This is not a sound.\n" * 100)
    (tmp_path / "id3.mp3").write_bytes(b"ID3\x03\0\0\0\0\0\x0a" + b"junk" * 500)
    shutil.copy(sounds / "no_xing.mp3", tmp_path)
    program = (
        "import sys, pathlib; from finewhisper import audio, errors\n"
        "for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):\n"
        "    for look in (audio.duration, audio.read):\n"
        "        try: look(path)\n"
        "        except errors.AudioError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert all(line.startswith(str(tmp_path)) for line in done.stdout.splitlines())
    assert {Path(line.split(":")[0]).name for line in done.stdout.splitlines()} == {"lame.mp3", "garbage.mp3", "text.mp3", "id3.mp3"}


def test_the_player_copy_is_small_and_sounds_the_same(sounds: Path) -> None:
    waveform = audio.read(sounds / "plain.wav")
    copy = audio.encode_mp3(waveform)
    assert len(copy) < len(waveform) * 2 / 4
    assert correlation(audio.read(copy), waveform) > 0.98


def test_a_playlist_opens_no_other_file(tmp_path: Path):
    """FFmpeg would read what it names: from a server, any recording beside the uploads."""
    soundfile.write(tmp_path / "private.wav", np.zeros(16_000, np.float32), 16_000)
    playlist = tmp_path / "upload"
    playlist.write_text("ffconcat version 1.0\nfile private.wav\n")
    for source in (playlist, playlist.read_bytes()):
        with pytest.raises(AudioError, match="cannot be decoded"):
            audio.read(source)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_a_picture_and_a_cover_are_not_decoded(sounds: Path, tmp_path: Path) -> None:
    """25 million pixels of one colour are a PNG of 73 KB; they would take 75 MB only to be looked at."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compressobj(9)
    pixels = b"".join(rows.compress(bytes(1 + 3 * 5000)) for _ in range(5000)) + rows.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 5000, 5000, 8, 2, 0, 0, 0))
    picture = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    (tmp_path / "picture.png").write_bytes(picture)
    frame = b"\0image/png\0\x03\0" + picture
    tag = b"APIC" + struct.pack(">IH", len(frame), 0) + frame
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    (tmp_path / "cover.mp3").write_bytes(b"ID3\x03\0\0" + size + tag + (sounds / "lame.mp3").read_bytes())
    program = (
        "import pathlib, re, sys, av; from finewhisper import audio, errors\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[1])\n"
        "before = peak()\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "print(len(audio.read(folder / 'cover.mp3')))\n"
        "try: audio.read(folder / 'picture.png')\n"
        "except errors.AudioError as error: print('no audio track' in str(error))\n"
        "print(peak() - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    samples, refused, kilobytes = done.stdout.split()
    assert int(samples) == len(audio.read(sounds / "lame.mp3"))
    assert refused == "True"
    assert int(kilobytes) < 30_000


def test_what_a_header_only_claims_takes_no_memory(sounds: Path, tmp_path: Path) -> None:
    raw = bytearray((sounds / "flac.flac").read_bytes())
    fields = int.from_bytes(raw[18:26], "big") | (1 << 36) - 1  # samples: 69 thousand million, which would take 256 GB
    raw[18:26] = fields.to_bytes(8, "big")
    (tmp_path / "claims.flac").write_bytes(raw)
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match=r"claims\.flac: (is cut short|is damaged|cannot be decoded)"):
            audio.read(tmp_path / "claims.flac")
        assert tracemalloc.get_traced_memory()[1] < 80e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("look", [audio.read, lambda path: list(audio.blocks(path))])
def test_a_rate_at_which_nobody_records(tmp_path: Path, look) -> None:
    """Each of its samples would become 16 000."""
    soundfile.write(tmp_path / "slow.wav", np.zeros(10_000, np.float32), 1)
    with pytest.raises(AudioError, match=r"slow\.wav: its header claims 1 samples a second"):
        look(tmp_path / "slow.wav")


@pytest.mark.parametrize("look", [audio.read, audio.duration, lambda path: list(audio.blocks(path))])
def test_a_codec_that_nobody_knows(tmp_path: Path, look) -> None:
    soundfile.write(tmp_path / "odd.caf", speechlike(SAMPLE_RATE, 0.5), SAMPLE_RATE, format="CAF")
    (tmp_path / "odd.caf").write_bytes((tmp_path / "odd.caf").read_bytes().replace(b"lpcm", b"zzzz"))
    with pytest.raises(AudioError, match=r"odd\.caf: its sound is of a kind that cannot be decoded"):
        look(tmp_path / "odd.caf")


def test_damaged_files_are_told_of_in_our_words_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whatever stands in a header: no other error, no library's words, no warning."""
    for name in ("aac.m4a", "opus.webm", "lame.mp3"):
        container, codec, rate, options = AV_FORMATS[name]
        encode(tmp_path / name, container, codec, rate, options, speechlike(rate, 0.3))
    for name, container in (("a.wav", "WAV"), ("a.flac", "FLAC"), ("a.ogg", "OGG"), ("a.caf", "CAF"), ("a.aiff", "AIFF")):
        soundfile.write(tmp_path / name, speechlike(SAMPLE_RATE, 0.3), SAMPLE_RATE, format=container)
    chance = random.Random(5)  # the same damage every time
    sources = [(path.name, path.read_bytes()) for path in sorted(tmp_path.iterdir())]
    for _ in range(160):
        name, content = chance.choice(sources)
        damaged = bytearray(content)
        for _ in range(chance.choice([1, 4, 16])):
            at = chance.randrange(min(len(content), chance.choice([64, 256, 4096])))
            damaged[at : at + 4] = chance.choice([b"\xff" * 4, b"\0" * 4, chance.randbytes(4)])
        (tmp_path / f"damaged-{name}").write_bytes(damaged)
        for look in (audio.duration, audio.read, lambda path: list(audio.blocks(path))):
            with contextlib.suppress(AudioError):
                look(tmp_path / f"damaged-{name}")
    assert capfd.readouterr().err == ""
