"""OpenAI's own Python client against a real server process, in all the forms of answers that it knows."""

from __future__ import annotations

import asyncio
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import srt
import webvtt

import serving

if importlib.util.find_spec("openai") is None:
    pytest.skip("needs the package openai", allow_module_level=True)
import openai

pytestmark = pytest.mark.real
KEY = "sesame"


@pytest.fixture(scope="module")
def address(tiny_en_ct2_model: Path) -> Iterator[str]:
    with serving.running(f"tiny={tiny_en_ct2_model}", "--api-keys", KEY) as server:
        yield f"{server.address}/v1"


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=address, api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def jfk(data: Path) -> Path:
    return data / "en_misc" / "audio" / "jfk.opus"


def is_jfk(text: str) -> bool:
    return "ask not what your country can do for you" in text.lower()


def test_models(client: openai.OpenAI):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").owned_by == "finewhisper"


def test_text_and_json(client: openai.OpenAI, jfk: Path):
    assert is_jfk(client.audio.transcriptions.create(file=jfk, model="whisper-1").text)
    assert is_jfk(client.audio.transcriptions.create(file=jfk, model="tiny", response_format="text"))


def test_subtitles(client: openai.OpenAI, jfk: Path):
    cues = list(srt.parse(client.audio.transcriptions.create(file=jfk, model="whisper-1", response_format="srt")))
    assert is_jfk(" ".join(cue.content for cue in cues))
    captions = webvtt.from_string(client.audio.transcriptions.create(file=jfk, model="whisper-1", response_format="vtt"))
    assert is_jfk(" ".join(caption.text for caption in captions))


def test_times_of_segments_and_words(client: openai.OpenAI, jfk: Path):
    heard = client.audio.transcriptions.create(
        file=jfk, model="whisper-1", language="en", response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert heard.language == "english"
    assert heard.duration == pytest.approx(11.0, abs=0.1)
    assert heard.segments
    assert heard.words
    assert is_jfk(" ".join(segment.text for segment in heard.segments))
    assert " ".join(word.word for word in heard.words) == heard.text
    times = [time for word in heard.words for time in (word.start, word.end)]
    assert times == sorted(times)
    only_words = client.audio.transcriptions.create(
        file=jfk, model="whisper-1", response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert only_words.segments is None


def test_a_stream_ends_with_the_text_of_its_deltas(client: openai.OpenAI, jfk: Path):
    events = list(client.audio.transcriptions.create(file=jfk, model="whisper-1", stream=True))
    *deltas, done = events
    assert {event.type for event in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(event.delta for event in deltas) == done.text
    assert is_jfk(done.text)


def test_many_at_once_with_the_asynchronous_client(address: str, jfk: Path):
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=address, api_key=KEY, max_retries=0) as client:
            heard = await asyncio.gather(*[client.audio.transcriptions.create(file=jfk, model="whisper-1") for _ in range(4)])
            stream = await client.audio.transcriptions.create(file=jfk, model="whisper-1", stream=True)
            return [*(each.text for each in heard), "".join([event.delta async for event in stream if event.type.endswith("delta")])]

    texts = asyncio.run(ask())
    assert len(set(texts)) == 1
    assert is_jfk(texts[0])


def test_errors_are_the_clients_own_classes(client: openai.OpenAI, address: str, jfk: Path):
    create = client.audio.transcriptions.create
    with pytest.raises(openai.NotFoundError, match="choose one of tiny") as unknown:
        create(file=jfk, model="gpt-9")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="klingon"):
        create(file=jfk, model="tiny", language="klingon")
    with pytest.raises(openai.BadRequestError, match="cannot be decoded"):
        create(file=("a.wav", b"no sound at all"), model="tiny")
    with pytest.raises(openai.BadRequestError, match="temperature"):
        create(file=jfk, model="tiny", temperature=7.0)
    with pytest.raises(openai.BadRequestError, match="multilingual"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client.audio.translations.create(file=jfk, model="tiny")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=address, api_key="wrong", max_retries=0).models.list()
