"""Whisper's constants: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), section 2.2."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Seconds = float
Waveform = npt.NDArray[np.float32]  # (samples,), mono, 16 kHz, within -1 … 1

SAMPLE_RATE = 16_000  # samples per second
WINDOW_S = 30  # the encoder's full context, seconds
HOP_LENGTH = 160  # samples from one log-mel frame to the next
N_FFT = 400  # samples under one log-mel frame
WINDOW_SAMPLES = WINDOW_S * SAMPLE_RATE  # 480 000
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
WINDOW_FRAMES = WINDOW_S * FRAMES_PER_SECOND  # 3 000
TIMESTAMP_STEP_S = 0.02  # one encoder position: two log-mel frames

#: Times are written to two decimals and headers round: a slice may end this much after the audio.
ROUNDING_S = 0.05
