"""The server that one writes first: FastAPI around faster-whisper, one process, a plain function that the framework runs in a thread.

`serve_load.py` compares `finewhisper serve` with it, on the same weights, beams and threads.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from typing import Annotated

import uvicorn
from fastapi import FastAPI, File, Form, UploadFile
from faster_whisper import WhisperModel


def create_app(model: WhisperModel) -> FastAPI:
    app = FastAPI()

    @app.post("/recognition")
    def recognition(audio: Annotated[UploadFile, File()], language: Annotated[str, Form()]) -> dict[str, object]:
        segments, _ = model.transcribe(BytesIO(audio.file.read()), language=language, beam_size=1)
        return {"results": [{"result": segment.text, "start": segment.start, "end": segment.end} for segment in segments], "code": 0}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a CTranslate2 folder")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    model = WhisperModel(arguments.model, device="cpu", compute_type="int8", cpu_threads=arguments.threads)
    uvicorn.run(create_app(model), port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
