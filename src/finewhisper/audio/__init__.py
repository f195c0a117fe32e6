"""Sound: Whisper's constants, and any audio or video file as 16 kHz mono, in its own time.

libsndfile reads WAV, FLAC, OGG and Opus; everything else (MP3, M4A, MP4, WebM, …) and what libsndfile stumbles over goes through
PyAV, which carries its own FFmpeg libraries, so no program needs to be installed. MP3 is left to FFmpeg because libsndfile prints
to standard error about every irregular file and refuses whole ones that carry no Xing header.

What is wrong with a recording but does not prevent its use is told in :class:`Notice`; the rest is an ``AudioError``.
"""

from finewhisper.audio.arrays import Array, SampleStream, from_array
from finewhisper.audio.constants import (
    FRAMES_PER_SECOND,
    HOP_LENGTH,
    N_FFT,
    ROUNDING_S,
    SAMPLE_RATE,
    TIMESTAMP_STEP_S,
    WINDOW_FRAMES,
    WINDOW_S,
    WINDOW_SAMPLES,
    Seconds,
    Waveform,
)
from finewhisper.audio.decode import blocks, channels, duration, encode_mp3, read
from finewhisper.audio.notices import Notice, counted, unheard
from finewhisper.audio.sources import Pick, Source, is_pipe

__all__ = [
    "FRAMES_PER_SECOND",
    "HOP_LENGTH",
    "N_FFT",
    "ROUNDING_S",
    "SAMPLE_RATE",
    "TIMESTAMP_STEP_S",
    "WINDOW_FRAMES",
    "WINDOW_S",
    "WINDOW_SAMPLES",
    "Array",
    "Notice",
    "Pick",
    "SampleStream",
    "Seconds",
    "Source",
    "Waveform",
    "blocks",
    "channels",
    "counted",
    "duration",
    "encode_mp3",
    "from_array",
    "is_pipe",
    "read",
    "unheard",
]
