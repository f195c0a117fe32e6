"""What ``finewhisper transcribe`` can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from finewhisper.config import Config, Flag
from finewhisper.errors import UsageError
from finewhisper.transcript import Task

Format = Literal["txt", "srt", "vtt", "json", "tsv"]


class TranscribeConfig(Config):
    """One recording without --format and --output is written to standard output as text; everything else goes into files.

    Recordings may be of any length and in any audio or video format. One that cannot be read does not stop the others: such
    recordings are listed at the end and the exit code is 2. Files that are there already are left as they are, so that a command
    that was interrupted can simply be run again.
    """

    files: Annotated[tuple[str, ...], Flag(positional=True)]
    """Recordings: files, folders (searched for audio and video), quoted patterns such as "talks/**/*.mp3", or - for standard input."""
    model: Annotated[Path, Flag(alias="-m")]
    """Folder of the model: Hugging Face, CTranslate2 or ggml."""
    output: Annotated[Path | None, Flag(alias="-o")] = None
    """Folder for the results, or - for standard output; default: beside each recording."""
    format: Annotated[tuple[Format, ...], Flag(alias="-f")] = ()
    """What to write; default: txt."""
    overwrite: bool = False
    """Replace results that are there already."""

    language: str | None = None
    """Language of the recordings, as a code or name; default: detected in each."""
    task: Task = "transcribe"
    """transcribe, or translate into English."""
    timestamps: bool | None = None
    """Let the model write the times of phrases; default: unless it was fine-tuned without them."""
    prompt: str = ""
    """Text that the model takes for what was said before: names and spellings to use."""
    beam_size: int = Field(1, ge=1)
    """Hypotheses kept while decoding; 1 is greedy."""
    vad: bool | None = None
    """Decode only where somebody speaks; default: in recordings longer than 30 s."""

    batch_size: int = Field(8, ge=1)
    """Windows of 30 s decoded together, and up to four times as many shorter ones; fewer need less memory."""
    device: str = "auto"
    """Where to compute: cpu, cuda, or auto, which is CUDA where there is one."""
    precision: str = "auto"
    """Type to compute in, such as float32, float16 or int8; auto is what suits the model and device."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 leaves the choice to the engine."""

    @field_validator("files")
    @classmethod
    def _some_files(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        if not files:
            raise ValueError("name at least one recording, folder or pattern")
        return files

    @field_validator("language")
    @classmethod
    def _known_language(cls, language: str | None) -> str | None:
        from finewhisper.vocabulary import language_code

        try:
            return None if language is None else language_code(language)
        except UsageError as error:
            raise ValueError(str(error)) from None
