"""What ``finewhisper transcribe`` can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from finewhisper.audio import Pick
from finewhisper.config import Flag
from finewhisper.errors import UsageError
from finewhisper.language import spoken_language
from finewhisper.shared_options import EngineOptions, RecognitionOptions

Format = Literal["txt", "srt", "vtt", "json", "tsv", "lrc", "ass"]


class TranscribeConfig(RecognitionOptions, EngineOptions):
    """One recording without --format and --output is written to standard output as text; everything else goes into files.

    Recordings may be of any length and in any audio or video format. One that cannot be read does not stop the others: such
    recordings are listed at the end and the exit code is 2. Files that are there already are left as they are, so that a command
    that was interrupted can simply be run again.
    """

    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Common": ("files", "model", "output", "format", "language", "task", "device", "precision", "threads"),
        "Recognition": ("prompt", "hotwords", "beam_size", "vad", "word_timestamps"),
        "Subtitles": ("max_line_width", "max_line_count"),
        "Recordings": ("track", "channels", "overwrite"),
    }

    files: Annotated[tuple[str, ...], Flag(positional=True)]
    """Recordings: files, folders (searched for audio and video), quoted patterns such as "talks/**/*.mp3", or - for standard input."""
    model: Annotated[Path, Flag(alias="-m")]
    """Folder of the model: Hugging Face, CTranslate2, ggml or ONNX."""
    output: Annotated[Path | None, Flag(alias="-o", role="place")] = None
    """Folder for the results, or - for standard output; default: beside each recording."""
    format: Annotated[tuple[Format, ...], Flag(alias="-f")] = ()
    """What to write; default: txt."""
    overwrite: bool = False
    """Replace results that are there already."""

    language_of: tuple[str, ...] = ()
    """Languages of some recordings, as PATTERN=LANGUAGE such as "*_de.mp3=de"; the first pattern that fits a path or name counts."""
    timestamps: bool | None = None
    """Let the model write the times of phrases; default: where a format shows them, unless it was fine-tuned without them."""
    prompt: str = ""
    """Text that the model takes for what was said before: names and spellings to use."""
    hotwords: tuple[str, ...] = ()
    """Names and terms to expect, each an argument; they are put before the prompt."""
    track: str = ""
    """Audio track of files that have several: its number, from 0, or its language as the file states it; default: the first."""
    channels: tuple[str, ...] = ()
    """Names of the speakers, where each has a channel of their own, in the order of the channels; each channel is decoded by itself."""

    sequential: bool = False
    """Decode window after window, each told what was said before, in place of many at once."""
    word_timestamps: bool = False
    """Find the time of each word: for json, and for where subtitles are broken."""

    max_line_width: int = Field(0, ge=0)
    """Columns of a line in srt, vtt and ass, of which a Chinese character takes two; 0 does not break lines."""
    max_line_count: int = Field(0, ge=0)
    """Lines shown at once; what is longer becomes several cues. 0 shows a phrase whole."""
    to_simple: bool = False
    """Write traditional Chinese characters as simplified ones."""
    remove_pun: bool = False
    """Leave out punctuation."""

    batch_size: int = Field(8, ge=1)
    """Windows of 30 s decoded together, and up to four times as many shorter ones; fewer need less memory."""

    @field_validator("files")
    @classmethod
    def _some_files(cls, files: tuple[str, ...]) -> tuple[str, ...]:
        if not files:
            raise ValueError("name at least one recording, folder or pattern")
        return files

    @field_validator("channels")
    @classmethod
    def _named_channels(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(names) == 1 or any(not name.strip() for name in names):
            raise ValueError("name the speaker of each channel, such as: --channels Anna Ben")
        return tuple(name.strip() for name in names)

    @field_validator("language_of")
    @classmethod
    def _known_languages(cls, pairs: tuple[str, ...]) -> tuple[str, ...]:
        for pair in pairs:
            pattern, separator, language = pair.rpartition("=")
            if not (pattern and separator):
                raise ValueError(f'{pair!r} is not of the form PATTERN=LANGUAGE, such as "*_de.mp3=de"')
            try:
                spoken_language(language)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return pairs

    @model_validator(mode="after")
    def _sensible(self) -> TranscribeConfig:
        if self.max_line_count and not self.max_line_width:
            raise ValueError("--max-line-count needs --max-line-width: without it a phrase is one line")
        if self.sequential and self.vad:
            raise ValueError("--sequential decodes all of a recording; leave out --vad")
        if self.sequential and self.timestamps is False:
            raise ValueError("--sequential follows the model's times; leave out --no-timestamps")
        return self

    @property
    def picks(self) -> list[Pick]:
        """The sounds of each recording that are decoded: one, or every channel."""
        track = self.track.strip()
        return [Pick(track, channel) for channel in range(len(self.channels))] or [Pick(track)]

    def spoken_in(self, path: Path | None) -> str | None:
        """The language of a recording: of the first pattern that fits, else that of all."""
        for pair in self.language_of:
            pattern, _, language = pair.rpartition("=")
            if path is not None and (fnmatch(str(path), pattern) or fnmatch(path.name, pattern)):
                return spoken_language(language)
        return self.language
