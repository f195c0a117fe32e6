"""``finewhisper prepare`` as a process of its own, interrupted in the middle of its work."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import soundfile

CLIPS = 3000


def corpus(path: Path) -> Path:
    """An archive like AISHELL-1's with enough files that extracting them takes a moment."""
    buffer = io.BytesIO()
    soundfile.write(buffer, 0.1 * np.random.default_rng(0).standard_normal(8000), 16_000, format="WAV")
    files = {f"data_aishell/wav/train/S0002/BAC009S0002W{number:04}.wav": buffer.getvalue() for number in range(CLIPS)}
    lines = "".join(f"{Path(name).stem} 你 好\n" for name in files)
    files["data_aishell/transcript/aishell_transcript_v0.8.txt"] = lines.encode()
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_ctrl_c_leaves_nothing_half_written_and_the_next_run_finishes(tmp_path: Path) -> None:
    archive = corpus(tmp_path / "data_aishell.tgz")
    output = tmp_path / "out"
    command = [sys.executable, "-m", "finewhisper", "prepare", "aishell", str(archive), "-o", str(output)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not any(output.rglob("*.wav")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert len(list(output.rglob("*.wav"))) < CLIPS
    assert not list(output.rglob("*.tmp*"))
    assert not list(output.glob("*.jsonl"))

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{CLIPS:,} utterances" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "nothing to do" in again.stdout
    assert again.stderr == ""
