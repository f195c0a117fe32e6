"""Damaged recordings: one sentence or sound, never a traceback, a library's words, hours of silence or gigabytes."""

from __future__ import annotations

import io
import random
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from finewhisper import audio
from finewhisper.errors import AudioError
from fuzzing import damaged, seeds

FIELD = Path(__file__).parent.parent / "field" / "audio"
WRITTEN = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "ULAW"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
}
SENT = ("gap.mp4", "drop6.m4a", "drop.webm", "late.mkv", "startat5.mka", "joined.mp3", "chained.ogg", "voice_memo.amr")
#: Of one file: what its bytes allow, and processor time.
MOST_S_PER_BYTE, ALWAYS_S, MOST_TIME_S = 1 / 200, 61.0, 20.0
#: What all of them together may take above what the undamaged files do.
MOST_MORE_BYTES = 1_000_000_000


def _mpegts(tone: np.ndarray) -> bytes:
    """AAC in a transport stream, as broadcasters and cameras write it."""
    written = io.BytesIO()
    with av.open(written, "w", format="mpegts") as output:
        stream = output.add_stream("aac", rate=16_000, layout="mono")
        for at in range(0, len(tone) - 1023, 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, at : at + 1024], format="fltp", layout="mono")
            frame.rate = 16_000
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return written.getvalue()


@pytest.mark.skipif(sys.platform == "win32", reason="measures the peak of memory by its POSIX name")
def test_damaged_recordings_are_refused_or_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import resource

    tone = (0.3 * np.sin(np.arange(32_000) / 10)).astype(np.float32)
    contents = {name: (FIELD / name).read_bytes() for name in SENT}
    for name, (container, subtype) in WRITTEN.items():
        soundfile.write(tmp_path / "whole", tone, 16_000, format=container, subtype=subtype)
        contents[name] = (tmp_path / "whole").read_bytes()
    contents["mpegts"] = _mpegts(tone)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    names = sorted(contents)
    for seed in seeds(2000, 54):
        name = names[seed % len(names)]
        content = damaged(contents[name], random.Random(seed))
        (tmp_path / "damaged").write_bytes(content)
        started_s = time.process_time()
        for look in (audio.duration, lambda path: audio.read(path, notices=[]), lambda path: sum(map(len, audio.blocks(path)))):
            try:
                found = look(tmp_path / "damaged")
            except AudioError:
                continue
            if isinstance(found, np.ndarray) and name in SENT:
                assert len(found) / audio.SAMPLE_RATE < max(len(content) * MOST_S_PER_BYTE, ALWAYS_S) + 60, f"seed {seed}, {name}"
        assert time.process_time() - started_s < MOST_TIME_S, f"seed {seed}, {name}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * (1 if sys.platform == "darwin" else 1024)
    assert grown < MOST_MORE_BYTES
    assert capfd.readouterr().err == ""
