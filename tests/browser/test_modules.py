"""The page's modules by themselves, in the browser that runs them."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import soundfile

from finewhisper.language import LANGUAGES
from finewhisper.transcript import Segment, Transcript, Word
from finewhisper.transcript.writers import WRITERS


@pytest.fixture(scope="module")
def modules(chromium, server):
    """Runs a script that may import the page's modules."""
    page = chromium.new_page()
    page.goto(server)

    def run(script: str, argument: Any = None) -> Any:
        return page.evaluate(f"async (given) => {{ {script} }}", argument)

    yield run
    page.close()


def test_both_languages_say_everything(modules):
    script = """const { strings } = await import("/strings.js");
      const kind = (value) => (typeof value === "object" ? shape(value) : typeof value);
      const shape = (words) => Object.entries(words).map(([key, value]) => `${key}: ${kind(value)}`).join();
      return Object.values(strings).map(shape);"""
    english, chinese = modules(script)
    assert english == chinese
    used = modules("""const { strings } = await import("/strings.js");
      return [...document.querySelectorAll("[data-text], [data-label]")].flatMap(({ dataset: { text, label } }) => [text, label])
        .filter((key) => key && typeof strings.en[key] !== "string");""")
    assert used == []


def test_the_languages_are_those_of_the_vocabulary(modules):
    assert modules('return (await import("/languages.js")).LANGUAGES') == list(LANGUAGES)


@pytest.mark.parametrize("language", ["en", "zh", ""])
def test_exports_are_those_of_the_command(modules, language):
    segments = (
        Segment("Good morning.", 0.0, 2.5),
        Segment("It costs < 5 & > 3 --> maybe", 2.5, 59.9996),
        Segment("早上好。", 3_599.9999, 360_000.25, words=(Word("早上好。", 3_600.0, 3_601.0),)),
    )
    given = [{"start": segment.start_s, "end": segment.end_s, "text": segment.text} for segment in segments]
    given[2]["words"] = [{"word": " 早上好。", "start": 3_600.0, "end": 3_601.0}]
    script = """const { formats } = await import("/export.js");
      return Object.fromEntries(Object.entries(formats).map(([name, { write }]) => [name, write(given)]));"""
    found = modules(script, {"language": language, "duration": 1.0, "segments": given})
    expected = {name: write(Transcript(segments, language, 1.0)) for name, write in WRITERS.items() if name in found}
    assert json.loads(found.pop("json")) == json.loads(expected.pop("json"))
    assert found == expected


def test_a_recording_is_a_wave_file_that_others_read(modules):
    samples = np.random.default_rng(0).integers(-32768, 32767, 4000).astype(np.int16)
    script = """const { wav } = await import("/audio/wav.js");
      const blob = wav([new Int16Array(given.slice(0, 1600)), new Int16Array(given.slice(1600))], 16000);
      return [...new Uint8Array(await blob.arrayBuffer())];"""
    found, rate = soundfile.read(io.BytesIO(bytes(modules(script, samples.tolist()))), dtype="int16")
    assert rate == 16_000
    assert (found == samples).all()


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("FLAC", "PCM_16")])
def test_the_outline_shows_where_it_is_loud(modules, kind, subtype):
    """Two seconds of silence around one of sound, read in pieces or decoded by the browser; of two channels."""
    waveform = np.zeros((48_000, 2))
    waveform[16_000:32_000] = 0.25
    file = io.BytesIO()
    soundfile.write(file, waveform, 16_000, format=kind, subtype=subtype)
    script = """const { outline } = await import("/audio/peaks.js");
      const { values, duration } = await outline(new Blob([new Uint8Array(given)]));
      return [duration, ...values];"""
    duration, *values = modules(script, list(file.getvalue()))
    assert duration == pytest.approx(3.0, abs=0.01)
    third = len(values) // 3
    assert max(values[: third - 5]) < 10
    assert min(values[third + 5 : 2 * third - 5]) > 200  # resampling overshoots at the edges, and the loudest is 255
    assert max(values[2 * third + 5 :]) < 10


def test_of_a_large_file_only_the_length_is_read(modules):
    file = io.BytesIO()
    soundfile.write(file, np.zeros(8_000), 16_000, format="WAV", subtype="PCM_24")
    script = """const { outline } = await import("/audio/peaks.js");
      const found = await outline(new Blob([new Uint8Array(given), new Uint8Array(41_000_000)]));
      return [found.values, found.duration];"""
    assert modules(script, list(file.getvalue())) == [None, 0.5]


def test_what_is_long_or_large_and_of_unknown_length_becomes_a_job(modules):
    script = """const { ServerEngine } = await import("/engines/server.js");
      const asked = [];
      const { open } = XMLHttpRequest.prototype;
      XMLHttpRequest.prototype.open = (method, path) => {
        asked.push(path);
        throw new Error("that is enough");
      };
      const [engine, { signal }] = [new ServerEngine({ key: () => "" }), new AbortController()];
      for (const [bytes, duration] of given) {
        await engine.transcribe(new Blob([new Uint8Array(bytes)]), {}, { signal, duration }).catch(() => {});
      }
      XMLHttpRequest.prototype.open = open;
      return asked;"""
    stream, job = "recognition_stream", "v1/jobs"
    assert modules(script, [[9, 599], [41_000_000, 599], [9, None], [9, 600], [41_000_000, None]]) == [stream, stream, stream, job, job]


def test_a_stream_is_taken_apart_wherever_it_is_cut(modules):
    script = """const { Pieces } = await import("/engines/answers.js");
      const whole = '{"a":"1"}\\u0000{"b":"\\u4e2d"}\\u0000{"c":3}\\u0000';
      const cuts = [];
      for (let cut = 0; cut <= whole.length; cut++) {
        const pieces = new Pieces();
        cuts.push(JSON.stringify([...pieces.of(whole.slice(0, cut)), ...pieces.of(whole)]));
      }
      return [...new Set(cuts)];"""
    assert modules(script) == ['[{"a":"1"},{"b":"中"},{"c":3}]']


def test_a_key_of_any_characters_is_not_in_the_address_of_the_socket(modules):
    script = """const { listen } = await import("/engines/live.js");
      const [asked, { WebSocket }] = [[], window];
      window.WebSocket = class extends WebSocket {
        constructor(address, protocols) {
          super(address, protocols);
          asked.push(String(address), protocols[1]);
        }
      };
      const wish = { model: "", language: "en", task: "transcribe", simplified: false, punctuation: true };
      let session;
      const answer = await new Promise((resolve) => {
        session = listen(16000, wish, given, { ready: () => resolve("ready"), failed: resolve });
      });
      session.close();
      window.WebSocket = WebSocket;
      return [answer, ...asked];"""
    answer, address, protocol = modules(script, "a/key?>, 钥匙")
    assert answer == "ready"
    assert "key" not in address
    assert base64.urlsafe_b64decode(protocol.removeprefix("finewhisper-key.") + "==").decode() == "a/key?>, 钥匙"


def test_the_oldest_sounds_go_when_there_are_too_many(modules):
    script = """const { surplus } = await import("/store.js");
      return surplus([{id: "old", created: 1, size: 50, sound: true}, {id: "gone", created: 2, size: 90, sound: false},
        {id: "large", created: 3, size: 70, sound: true}, {id: "new", created: 4, size: 200, sound: true}], 250);"""
    assert modules(script) == ["large", "old"]
