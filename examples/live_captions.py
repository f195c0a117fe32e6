"""Live captions of a WAV file: python live_captions.py ws://127.0.0.1:8000 speech.wav (pip install websockets)."""

import asyncio
import json
import sys
import wave

import websockets


async def feed(socket, path):
    with wave.open(path) as sound:  # 16-bit, one channel
        while piece := sound.readframes(sound.getframerate() // 10):
            await socket.send(piece)
            await asyncio.sleep(0.1)
    await socket.send(json.dumps({"type": "end"}))


async def main(server, path):
    with wave.open(path) as sound:
        rate = sound.getframerate()
    async with websockets.connect(f"{server}/v1/listen?language=en&sample_rate={rate}") as socket:
        feeding = asyncio.create_task(feed(socket, path))
        async for message in socket:
            event = json.loads(message)
            if event["type"] == "partial":
                print("\r" + event["text"], end="", flush=True)
            elif event["type"] == "final":
                print("\r" + event["text"])
            elif event["type"] == "error":
                sys.exit(event["message"])
        await feeding


asyncio.run(main(*sys.argv[1:]))
