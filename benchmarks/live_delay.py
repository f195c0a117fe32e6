"""How long after a word is spoken it stands: real speech at the speed of speech into a real server, on a CPU.

The delay of a word is the time from its end in the sound to the message in which it is confirmed, or is final where it was not confirmed
before or was confirmed as something else. Its end is that of the final text's word times. Sound is sent in pieces of 0.1 s, each when its
last sample would have been recorded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import websockets

from finewhisper import audio
from finewhisper.audio import SAMPLE_RATE, Seconds, Waveform
from finewhisper.errors import FinewhisperError

PIECE_S: Seconds = 0.1
#: Silence after each recording: the next speaker takes a breath.
GAP_S: Seconds = 1.0
PATIENCE_S: Seconds = 300.0


@dataclass(frozen=True)
class Delay:
    """One word."""

    word: str
    seconds: Seconds
    confirmed: bool  #: before its utterance had a final text


def main() -> None:
    options = _options()
    sound = joined(options.sounds, options.seconds)
    with serving(options.model, options.threads, options.precision) as address:
        delays = asyncio.run(delays_of(address, sound, options.language))
    figures = summary(delays, len(sound) / SAMPLE_RATE)
    print(
        f"{figures['words']} words in {figures['audio_s']:.0f} s of speech at the speed of speech: "
        f"median {figures['live_final_word_median_s']:.2f} s, 95th percentile {figures['live_final_word_p95_s']:.2f} s after the word's "
        f"end; {100 * figures['confirmed_share']:.0f} % were confirmed before the final text"
    )
    if options.json is not None:
        options.json.write_text(json.dumps({"model": options.model.name, "threads": options.threads, **figures}, indent=2) + "\n")


def summary(delays: list[Delay], audio_s: Seconds) -> dict[str, Any]:
    """The figures of the table.

    Raises:
        FinewhisperError: there was nothing to measure.
    """
    if not delays:
        raise FinewhisperError("no word was heard; give --sounds with speech in the model's language")
    seconds = [delay.seconds for delay in delays]
    return {
        "live_final_word_median_s": round(float(np.median(seconds)), 3),
        "live_final_word_p95_s": round(float(np.percentile(seconds, 95)), 3),
        "confirmed_share": round(sum(delay.confirmed for delay in delays) / len(delays), 3),
        "words": len(delays),
        "audio_s": round(audio_s, 2),
    }


async def delays_of(address: str, sound: Waveform, language: str) -> list[Delay]:
    """Feed the sound at its own speed, and take the time of every message."""
    heard: list[tuple[Seconds, dict[str, Any]]] = []
    async with websockets.connect(f"ws{address.removeprefix('http')}/v1/listen?language={language}", ping_timeout=None) as socket:
        if json.loads(await socket.recv())["type"] != "ready":
            raise FinewhisperError("the server refuses the session")
        started_s = time.monotonic()
        feeding = asyncio.ensure_future(_feed(socket, sound, started_s))
        async for message in socket:
            content = json.loads(message)
            if content["type"] == "error":
                raise FinewhisperError(f"the server ended the session: {content['message']}")
            heard.append((time.monotonic() - started_s, content))
            if content["type"] == "done":
                break
        await feeding
    return list(_delays(heard))


async def _feed(socket: Any, sound: Waveform, started_s: Seconds) -> None:
    samples = (np.clip(sound, -1, 1) * 32767).astype("<i2")
    step = round(PIECE_S * SAMPLE_RATE)
    for first in range(0, len(samples), step):
        piece = samples[first : first + step]
        await asyncio.sleep(max(started_s + (first + len(piece)) / SAMPLE_RATE - time.monotonic(), 0.0))
        await socket.send(piece.tobytes())
    await socket.send('{"type": "end"}')


def _delays(heard: list[tuple[Seconds, dict[str, Any]]]) -> Iterator[Delay]:
    """Of the words of every final text: the first time that a message confirmed the same word at the same place."""
    confirmed: dict[tuple[int, str], Seconds] = {}
    for at_s, message in heard:
        if message["type"] == "partial":
            for place, word in enumerate(message["words"][: message["confirmed"]]):
                confirmed.setdefault((place, _key(word["word"])), at_s)
        elif message["type"] == "final":
            for place, word in enumerate(message["words"]):
                stood_s = confirmed.get((place, _key(word["word"])))
                yield Delay(word["word"], (at_s if stood_s is None else stood_s) - word["end"], stood_s is not None)
            confirmed = {}


def _key(word: str) -> str:
    return re.sub(r"\W", "", word).casefold() or word


def joined(paths: list[Path], most_s: Seconds) -> Waveform:
    """Recordings with a pause between them, cut after ``most_s``."""
    gap = np.zeros(round(GAP_S * SAMPLE_RATE), dtype=np.float32)
    pieces = [piece for path in paths for piece in (audio.read(path), gap)]
    return np.concatenate(pieces)[: round(most_s * SAMPLE_RATE)]


@contextmanager
def serving(model: Path, threads: int, precision: str) -> Iterator[str]:
    """A server of its own; its address."""
    command = [sys.executable, "-m", "finewhisper", "serve", "-m", str(model), "--port", "0"]
    options = ["--threads", str(threads), "--precision", precision, "--device", "cpu"]
    process = subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        address = next((found[1] for line in process.stderr if (found := re.search(r"running on (http://[\d.]+:\d+)", line))), None)
        if address is None:
            raise FinewhisperError("the server did not start; run finewhisper serve by hand to see why")
        yield address
    finally:
        process.terminate()
        process.stderr.close()
        process.wait(PATIENCE_S)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="CTranslate2 folder, such as one of tiny.en")
    parser.add_argument("--sounds", type=Path, nargs="+", help="recordings, one after the other; default: read sentences of the test data")
    parser.add_argument("--seconds", type=float, default=60.0, help="stop after so much sound")
    parser.add_argument("--language", default="en")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of the server; 0 leaves the choice to the engine")
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.sounds is None:
        folder = Path(os.environ.get("FINEWHISPER_TEST_DATA", "")) / "en_misc" / "audio"
        options.sounds = sorted(folder.glob("LJ*.opus"))
        if not options.sounds:
            parser.error("--sounds: give recordings, or set FINEWHISPER_TEST_DATA")
    return options


if __name__ == "__main__":
    try:
        main()
    except FinewhisperError as error:
        sys.exit(f"live_delay.py: {error}")
