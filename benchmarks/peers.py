"""One way to turn clips into text, timed in this process: finewhisper and the tools it is compared with.

`transcribe_speed.py` starts one process for each, so that memory and threads do not mix. A job is a JSON file: the side, the model, the
clips with their languages, the number of threads, whether the clips are long. The answer is one JSON line: seconds and texts.

Everybody decodes greedily, once, without conditioning on earlier text, from clips that are in memory. Libraries and the model are loaded
and a first clip is decoded before the clock starts.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resident

from finewhisper import manifest
from finewhisper.audio import SAMPLE_RATE, Waveform
from finewhisper.transcript import join_texts

#: Clips (for long recordings: windows) that are decoded together, wherever a tool can.
BATCH = 16
#: whisper.cpp refuses less than a second.
_SHORTEST = round(1.1 * SAMPLE_RATE)
_POSITIONS_PER_S = 50  # of Whisper's encoder


@dataclass(frozen=True)
class Job:
    """What a side is given."""

    side: str
    model: str
    manifest: str
    threads: int
    long: bool  #: recordings to be cut into windows; else clips of up to 30 s
    margin_s: float  #: silence after a clip, where the side can shorten its context

    @property
    def name(self) -> str:
        return self.side


Clip = tuple[Waveform, str]  # with its language
Decode = Callable[[Sequence[Clip]], list[str]]


def ours(job: Job) -> Decode:
    """The CTranslate2 engine through Transcriber, as `finewhisper transcribe` uses it."""
    from finewhisper.engines import load_engine
    from finewhisper.model import ModelFolder
    from finewhisper.transcript import DecodeOptions
    from finewhisper.transcription.transcriber import Plan, Transcriber

    engine = load_engine(ModelFolder.open(Path(job.model)), device="cpu", threads=job.threads, side_by_side=True)
    transcriber = Transcriber(engine, DecodeOptions(timestamps=False), Plan(BATCH, fallback=()))

    def decode(clips: Sequence[Clip]) -> list[str]:
        waveforms, languages = zip(*clips, strict=True)
        return [heard.text for heard in transcriber.transcribe_clips(waveforms, languages=languages)]

    return decode


def faster_whisper(job: Job) -> Decode:
    """faster-whisper, one clip after the other: its default way."""
    from faster_whisper import WhisperModel

    model = WhisperModel(job.model, device="cpu", cpu_threads=job.threads)

    def decode(clips: Sequence[Clip]) -> list[str]:
        texts = []
        for waveform, language in clips:
            segments, _ = model.transcribe(
                waveform,
                language=language,
                beam_size=1,
                temperature=0.0,
                condition_on_previous_text=False,
                without_timestamps=not job.long,
                vad_filter=job.long,
            )
            texts.append(join_texts([segment.text for segment in segments], language))
        return texts

    return decode


def faster_whisper_batched(job: Job) -> Decode:
    """faster-whisper's batched pipeline. It batches within one recording, so that short clips are joined and their places given."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    pipeline = BatchedInferencePipeline(WhisperModel(job.model, device="cpu", cpu_threads=job.threads))

    def segments(waveform: Waveform, language: str, **options: Any) -> list[Any]:
        common = {"language": language, "beam_size": 1, "temperature": 0.0, "batch_size": BATCH, "without_timestamps": True}
        return list(pipeline.transcribe(waveform, **common, **options)[0])

    def long(clips: Sequence[Clip]) -> list[str]:
        return [join_texts([one.text for one in segments(waveform, language)], language) for waveform, language in clips]

    def joined(clips: Sequence[Clip]) -> list[str]:
        ends = np.cumsum([len(waveform) for waveform, _ in clips])
        starts_s, ends_s = np.concatenate([[0], ends[:-1]]) / SAMPLE_RATE, ends / SAMPLE_RATE
        places = [{"start": float(start), "end": float(end)} for start, end in zip(starts_s, ends_s, strict=True)]
        texts: list[list[str]] = [[] for _ in clips]
        for one in segments(np.concatenate([waveform for waveform, _ in clips]), clips[0][1], vad_filter=False, clip_timestamps=places):
            texts[int(np.searchsorted(ends_s, one.start + 1e-3, side="right"))].append(one.text)
        return [join_texts(parts, language) for parts, (_, language) in zip(texts, clips, strict=True)]

    return long if job.long else joined


def whispercpp(job: Job, *, short_context: bool = False) -> Decode:
    """whisper.cpp through pywhispercpp; it decodes one clip at a time."""
    from pywhispercpp.model import Model

    model = Model(job.model, n_threads=job.threads, redirect_whispercpp_logs_to=None)
    settings = {"no_context": True, "temperature_inc": 0.0, "greedy": {"best_of": 1}, "print_progress": False}
    if not job.long:
        settings |= {"no_timestamps": True, "single_segment": True}

    def decode(clips: Sequence[Clip]) -> list[str]:
        texts = []
        for waveform, language in clips:
            padded = np.pad(waveform, (0, max(_SHORTEST - len(waveform), 0)))
            positions = min(math.ceil((len(waveform) / SAMPLE_RATE + job.margin_s) * _POSITIONS_PER_S), 1500)
            context = {"audio_ctx": max(positions, math.ceil(len(padded) / SAMPLE_RATE * _POSITIONS_PER_S))} if short_context else {}
            texts.append(join_texts([one.text for one in model.transcribe(padded, language=language, **settings, **context)], language))
        return texts

    return decode


def whispercpp_short_context(job: Job) -> Decode:
    """whisper.cpp with `audio_ctx` of the clip's length and the model's margin."""
    return whispercpp(job, short_context=True)


def transformers(job: Job) -> Decode:
    """transformers' pipeline in float32, in batches."""
    import torch
    from transformers import pipeline

    torch.set_num_threads(job.threads)
    chunks = {"chunk_length_s": 30} if job.long else {}
    recognizer = pipeline("automatic-speech-recognition", model=job.model, device="cpu", dtype=torch.float32, batch_size=BATCH, **chunks)
    multilingual = recognizer.model.generation_config.is_multilingual

    def decode(clips: Sequence[Clip]) -> list[str]:
        texts: dict[int, str] = {}
        for language in dict.fromkeys(language for _, language in clips):
            places = [place for place, clip in enumerate(clips) if clip[1] == language]
            spoken = {"language": language, "task": "transcribe"} if multilingual else {}
            inputs = ({"raw": clips[place][0], "sampling_rate": SAMPLE_RATE} for place in places)
            heard = recognizer(inputs, generate_kwargs={"num_beams": 1, "do_sample": False, **spoken})
            texts |= {place: answer["text"].strip() for place, answer in zip(places, heard, strict=True)}
        return [texts[place] for place in range(len(clips))]

    return decode


SIDES = {
    "ours": ours,
    "faster_whisper": faster_whisper,
    "faster_whisper_batched": faster_whisper_batched,
    "whispercpp": whispercpp,
    "whispercpp_audio_ctx": whispercpp_short_context,
    "transformers": transformers,
}


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    clips = [(row.waveform(), row.language or "en") for row in manifest.read(Path(job.manifest))]
    decode = SIDES[job.side](job)
    shortest = min(clips, key=lambda clip: len(clip[0]))
    decode([(shortest[0][: 10 * SAMPLE_RATE], shortest[1])])  # the first call pays for memory and threads
    began = time.perf_counter()
    texts = decode(clips)
    seconds = time.perf_counter() - began
    Path(sys.argv[2]).write_text(
        json.dumps({"seconds": seconds, "texts": texts, "peak_memory_bytes": resident.peak_bytes()}), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
