"""Sound and a requested in, a transcript out: the same as the command line's, within limits, for many at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from finewhisper import audio
from finewhisper.engines import load_engine
from finewhisper.errors import AudioError, UsageError
from finewhisper.model import ModelFolder
from finewhisper.server.config import ServeConfig
from finewhisper.server.errors import BusyError, ClosingError, TooLargeError, UnknownModelError
from finewhisper.server.service import RequestOptions, Service
from finewhisper.transcription.transcriber import Transcriber

pytestmark = pytest.mark.real


@asynccontextmanager
async def serving(*models: Path | str, **options: Any) -> AsyncIterator[Service]:
    service = Service(ServeConfig(model=tuple(map(str, models)), threads=1, **options))
    try:
        yield service
    finally:
        await asyncio.to_thread(service.close)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("not within two minutes")


def test_what_is_served_is_what_is_measured(tiny_en_ct2_model: Path, jfk: Path):
    async def serve() -> None:
        async with serving(tiny_en_ct2_model) as service:
            covered: list[float] = []
            heard = await service.transcript(jfk, RequestOptions(), progress=covered.append)
            parts = [part async for part in service.parts(jfk, RequestOptions(remove_pun=True))]
            engine = load_engine(ModelFolder.open(tiny_en_ct2_model), device="auto", threads=1)
            assert heard == Transcriber(engine).transcribe(audio.read(jfk))
            assert sum(covered) == pytest.approx(heard.duration_s)
            assert "".join(part.text for part in parts) == heard.text.replace(",", "").replace(".", "")

    asyncio.run(serve())


def test_requests_are_heard_together(quick_model: Path, data: Path):
    """On this clip the model does not loop, though it never learnt short contexts."""
    clip = audio.read(data / "en_misc" / "audio" / "LJ001-0010.opus")

    async def serve() -> None:
        async with serving(quick_model) as service:
            heard = await asyncio.gather(*[service.transcript(clip, RequestOptions()) for _ in range(12)])
            assert len({transcript.text for transcript in heard}) == 1
            samples = {sample.name: sample.value for metric in service.metrics.registry.collect() for sample in metric.samples}
            assert samples["finewhisper_batch_windows_sum"] == 12
            assert samples["finewhisper_batch_windows_count"] < 8
            assert samples["finewhisper_audio_seconds_total"] == pytest.approx(12 * len(clip) / 16_000)

    asyncio.run(serve())


@pytest.mark.parametrize(
    ("requested", "error", "words"),
    [
        (RequestOptions(model="large"), UnknownModelError, "choose one of quick"),
        (RequestOptions(language="klingon"), UsageError, "klingon"),
        (RequestOptions(language="zh"), UsageError, "English"),
        (RequestOptions(task="translate"), UsageError, "multilingual"),
    ],
)
def test_a_wish_that_cannot_be_granted(quick_model: Path, jfk: Path, requested: RequestOptions, error: type[Exception], words: str):
    async def serve() -> None:
        async with serving(quick_model) as service:
            with pytest.raises(error, match=words):
                await service.transcript(jfk, requested)
            with pytest.raises(error, match=words):
                await anext(service.parts(jfk, requested))

    asyncio.run(serve())


def test_a_language_that_nobody_named_does_not_disturb_an_english_model(quick_model: Path, jfk: Path):
    async def serve() -> None:
        async with serving(quick_model) as service:
            heard = await service.transcript(jfk, RequestOptions(language="zh", language_is_default=True))
            assert heard.language == "en"

    asyncio.run(serve())


def test_sound_that_is_none_or_too_long(quick_model: Path, tmp_path: Path):
    """A header may promise little, and a small file may hold much: six minutes of silence in a few kilobytes."""
    (tmp_path / "text").write_text("no sound")
    soundfile.write(tmp_path / "bomb", np.zeros(16_000 * 360, np.float32), 16_000, format="FLAC")
    assert (tmp_path / "bomb").stat().st_size < 100_000

    async def serve() -> None:
        async with serving(quick_model, max_duration=60.0) as service:
            with pytest.raises(AudioError, match="audio: cannot be decoded") as refused:
                await service.transcript(tmp_path / "text", RequestOptions())
            assert str(refused.value).startswith("audio: ")
            assert str(tmp_path) not in str(refused.value)
            with pytest.raises(TooLargeError, match="60 s"):
                await service.transcript(tmp_path / "bomb", RequestOptions())
            with pytest.raises(TooLargeError, match="60 s"):
                await service.transcript(np.zeros(16_000 * 61, np.float32), RequestOptions())

    asyncio.run(serve())


def test_no_more_requests_than_places(quick_model: Path):
    async def serve() -> None:
        async with serving(quick_model, queue=2) as service:
            with service.place(), service.place():
                with pytest.raises(BusyError, match="ask again later") as busy, service.place():
                    pass
                assert busy.value.retry_after_s > 0
            with service.place():
                assert service.running == 1
            service.drain()
            with pytest.raises(ClosingError), service.place():
                pass

    asyncio.run(serve())


def test_a_request_that_is_given_up_leaves_nothing_behind(tiny_en_ct2_model: Path, data: Path):
    long = data / "longform" / "audio" / "shakespeare_sonnet001.mp3"

    async def serve() -> None:
        async with serving(tiny_en_ct2_model) as service:
            await service.load()
            waiting = asyncio.create_task(service.transcript(long, RequestOptions()))
            await until(lambda: service.models._places["ctranslate2-tiny.en"].users > 0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            async with aclosing(service.parts(long, RequestOptions())) as parts:
                await anext(parts)
            await until(lambda: service.models._places["ctranslate2-tiny.en"].users == 0)
            assert service.models.waiting == 0

    asyncio.run(serve())


def test_models_come_when_asked_for_and_go_when_idle(quick_model: Path, tiny_en_ct2_model: Path, jfk: Path):
    async def serve() -> None:
        async with serving(f"first={quick_model}", f"second={tiny_en_ct2_model}") as service:
            assert service.models.names == ("first", "second")
            assert not service.ready
            await service.load()
            assert service.ready
            assert service.models.loaded == ("first",)
            await service.transcript(np.zeros(16_000, np.float32), RequestOptions(model="second"))
            assert service.models.loaded == ("first", "second")
            with service.models.use("first"):
                assert service.models.unload_idle(0.0) == ["second"]
            assert service.models.unload_idle(60.0) == []
            assert service.models.resolve("whisper-1") == "first"
            assert (await service.transcript(np.zeros(16_000, np.float32), RequestOptions(model="second"))).duration_s == 1.0

    asyncio.run(serve())
