"""How many requests `finewhisper serve` answers, and how soon, beside the server that one writes first.

Both run on this machine, one after the other, with the same int8 copy, threads and beams, and are asked over loopback by 1, 4, 16 and 64
clients, each of which asks again as soon as it is answered. Error rates stand beside the times because a fast wrong answer is worth
nothing. Then finewhisper answers 500 requests while its memory is watched, and hears live sound where its socket is there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import live_delay

from finewhisper import audio, manifest
from finewhisper.errors import FinewhisperError
from finewhisper.language import language_code
from finewhisper.manifest import Utterance
from finewhisper.model import ModelFolder, versions
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import join_texts

CLIENTS = (1, 4, 16, 64)
JUDGED = 16  # clients at which the two are compared
SOAK_REQUESTS = 500
#: Requests before memory is first looked at: by then every batch size has been met.
SETTLED_REQUESTS = 100
START_TIMEOUT_S = 300.0
LIVE_S = 60.0  # of live sound, at most


@dataclass(frozen=True)
class Load:
    """What one server did for a number of clients."""

    server: str
    clients: int
    requests_per_s: float
    p50_s: float
    p95_s: float
    failed: int
    error_rates: dict[str, float]  #: characters, percent, by language

    @property
    def row(self) -> str:
        rates = ", ".join(f"{language} {rate:.1f}" for language, rate in self.error_rates.items())
        cells = (self.server, self.clients, f"{self.requests_per_s:.2f}", f"{self.p50_s:.2f}", f"{self.p95_s:.2f}", self.failed, rates)
        return f"| {' | '.join(map(str, cells))} |"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def server(command: Sequence[str], threads: int) -> Iterator[str]:
    """A server in a process of its own; its address."""
    port = free_port()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    process = subprocess.Popen([*command, "--threads", str(threads), "--port", str(port)], env=environment, stderr=subprocess.DEVNULL)
    try:
        end_s = time.monotonic() + START_TIMEOUT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
                break
            if process.poll() is not None or time.monotonic() > end_s:
                raise SystemExit(f"{' '.join(command)}: did not start; run it by hand to see why")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60.0)


async def load(name: str, address: str, clips: Sequence[Utterance], clients: int, requests: int) -> Load:
    """So many clients, each asking again when it is answered, until all requests are."""
    sounds = {clip.path: clip.path.read_bytes() for clip in clips}
    work = iter(list(itertools.islice(itertools.cycle(clips), requests)))
    times_s: list[float] = []
    heard: dict[Path, str] = {}
    failed = 0

    async def client(session: httpx.AsyncClient) -> None:
        nonlocal failed
        for clip in work:
            began_s = time.perf_counter()
            code = language_code(clip.language or "zh")
            # Both write what the model writes.
            fields = {"language": code, "to_simple": "0"}
            answer = await session.post(f"{address}/recognition", files={"audio": ("clip", sounds[clip.path])}, data=fields)
            times_s.append(time.perf_counter() - began_s)
            if answer.status_code != 200:
                failed += 1
                continue
            heard[clip.path] = join_texts([segment["result"] for segment in answer.json()["results"]], code)

    began_s = time.perf_counter()
    async with httpx.AsyncClient(timeout=None, limits=httpx.Limits(max_connections=None)) as session:
        await asyncio.gather(*[client(session) for _ in range(clients)])
    took_s = time.perf_counter() - began_s
    p50, p95 = statistics.median(times_s), statistics.quantiles(times_s, n=20)[-1]
    return Load(name, clients, (requests - failed) / took_s, p50, p95, failed, error_rates(clips, heard))


def error_rates(clips: Sequence[Utterance], heard: dict[Path, str]) -> dict[str, float]:
    rates = {}
    for language in dict.fromkeys(clip.language for clip in clips):
        answered = [clip for clip in clips if clip.language == language and clip.path in heard]
        if answered:
            code = language_code(language or "zh")
            texts = [heard[clip.path] for clip in answered]
            rate = error_rate([clip.sentence for clip in answered], texts, "character", Normalizer.for_language(code))
            rates[code] = round(rate.percent, 2)
    return rates


def resident_bytes(address: str) -> float:
    lines = httpx.get(f"{address}/metrics", timeout=None).text.splitlines()
    return float(next(line for line in lines if line.startswith("process_resident_memory_bytes")).split()[1])


async def soak(address: str, clips: Sequence[Utterance], requests: int) -> float:
    """By how much memory grows from request 100 on, as a share of what it was."""
    settled = min(SETTLED_REQUESTS, requests // 2)
    await load("", address, clips, JUDGED, settled)
    before = resident_bytes(address)
    await load("", address, clips, JUDGED, requests - settled)
    return resident_bytes(address) / before - 1.0


def ours(model: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "finewhisper", "serve", "-m", str(model), "--device", "cpu", "--queue", "256", *options]


def copy(model: Path, work: Path) -> Path:
    """An int8 copy for CTranslate2; the model itself where it is one."""
    if ModelFolder.open(model).kind == "ctranslate2":
        return model
    target = work / f"{model.resolve().name}-int8"
    if not target.is_dir():
        command = [sys.executable, "-m", "finewhisper", "convert", str(model), str(target), "--to", "ctranslate2"]
        subprocess.run([*command, "--quantization", "int8"], check=True, stdout=sys.stderr)
    return target


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    clips = [clip for path in arguments.manifest for clip in itertools.islice(manifest.read(path), arguments.clips)]
    model = copy(arguments.model, arguments.work)
    obvious = [sys.executable, str(Path(__file__).with_name("obvious_server.py")), str(model)]
    loads: list[Load] = []
    print("| server | clients | requests/s | p50 s | p95 s | failed | character errors % |\n|---|---|---|---|---|---|---|")
    growth = None
    for name, command in (("finewhisper", ours(model)), ("obvious", obvious)):
        with server(command, arguments.threads) as address:
            asyncio.run(load(name, address, clips, 1, 3))  # both have met the model before the clock starts
            for clients in arguments.clients:
                loads.append(asyncio.run(load(name, address, clips, clients, arguments.requests)))
                print(loads[-1].row, flush=True)
            if name == "finewhisper" and arguments.soak:
                growth = asyncio.run(soak(address, clips, arguments.soak))
                print(f"memory after {arguments.soak} requests: {growth:+.1%}", flush=True)
    delay, reason = live(arguments)
    judged = {each.server: each for each in loads if each.clients == JUDGED}
    both = len(judged) == 2
    return {
        "speedup_16_clients": judged["finewhisper"].requests_per_s / judged["obvious"].requests_per_s if both else None,
        "p95_ratio_16_clients": judged["finewhisper"].p95_s / judged["obvious"].p95_s if both else None,
        "soak_memory_growth": growth,
        "live_final_word_median_s": delay,
        "live_reason": reason,
        "model": str(arguments.model),
        "threads": arguments.threads,
        "requests": arguments.requests,
        "loads": [vars(each) for each in loads],
        "machine": platform.processor() or platform.machine(),
        "versions": versions("ctranslate2", "faster-whisper", "fastapi", "uvicorn"),
    }


def live(arguments: argparse.Namespace) -> tuple[float | None, str]:
    """The median delay of a final word, as `live_delay.py` measures it; None and why there is none."""
    if arguments.live_model is None:
        return None, "no --live-model"
    if not arguments.live_sounds:
        return None, "no --live-sounds"
    sound = live_delay.joined(arguments.live_sounds, LIVE_S)
    with live_delay.serving(copy(arguments.live_model, arguments.work), arguments.threads, "int8") as address:
        delays = asyncio.run(live_delay.delays_of(address, sound, arguments.live_language))
    return live_delay.summary(delays, len(sound) / audio.SAMPLE_RATE)["live_final_word_median_s"], ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("runs/train_speed/aishell/ours-80"), help="a Hugging Face or CTranslate2 folder")
    parser.add_argument("--manifest", type=Path, nargs="+", default=[Path("runs/train_speed/aishell/test.jsonl")])
    parser.add_argument("--clips", type=int, default=48, help="of each manifest")
    parser.add_argument("--clients", type=int, nargs="+", default=list(CLIENTS))
    parser.add_argument("--requests", type=int, default=96, help="for each number of clients")
    parser.add_argument("--soak", type=int, default=SOAK_REQUESTS, help="requests; 0 leaves it out")
    parser.add_argument("--live-model", type=Path, help="a model to hear live sound with, such as tiny.en")
    parser.add_argument("--live-sounds", type=Path, nargs="+", help="recordings to feed at the speed of speech, one after the other")
    parser.add_argument("--live-language", default="en")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--work", type=Path, default=Path("runs/serve_load"), help="folder for int8 copies")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    try:
        figures = compare(arguments)
    except FinewhisperError as error:
        print(error, file=sys.stderr)
        return 2
    figures_text = json.dumps(figures, indent=2, ensure_ascii=False)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(figures_text + "\n", encoding="utf-8")
    for name in ("speedup_16_clients", "p95_ratio_16_clients", "soak_memory_growth", "live_final_word_median_s"):
        print(f"{name}: {figures[name] if figures[name] is None else round(figures[name], 3)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
