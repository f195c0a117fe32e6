"""``finewhisper transcribe``: recordings in, text or subtitles out."""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from finewhisper import audio
from finewhisper.audio import WINDOW_S, Notice, Pick, Seconds, Waveform
from finewhisper.engines import KINDS, load_for
from finewhisper.errors import AudioError, CutShortError, DiskFullError, FinewhisperError, UsageError
from finewhisper.files import atomic_file, unwritable
from finewhisper.model import ModelFolder
from finewhisper.progress import bar, in_threads, note
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.transcript.cues import Layout
from finewhisper.transcript.writers import WRITERS
from finewhisper.transcription.chunks import Clip
from finewhisper.transcription.config import TranscribeConfig
from finewhisper.transcription.files import STANDARD_INPUT, Recording, destinations, find
from finewhisper.transcription.speakers import together
from finewhisper.transcription.transcriber import Plan, Transcriber
from finewhisper.transcription.wording import changed, changes

#: Less audio than this is done before a bar would be read.
_WORTH_A_BAR_S = 60.0
#: Longer recordings are decoded piece by piece, so that memory does not grow with them.
_LONG_S: Seconds = 600.0


@dataclass(eq=False)
class _Task:
    """A recording and the files to write for it; no files: standard output."""

    recording: Recording
    targets: dict[str, Path]
    notices: list[Notice] = field(default_factory=list)  #: what was noticed in reading it

    @cached_property
    def source(self) -> Path | bytes:
        """The recording, or the content of one that can be read only once. Raises: AudioError."""
        path = self.recording.path
        if path is not None:
            return path.read_bytes() if audio.is_pipe(path) else path
        return sys.stdin.buffer.read()

    def read(self, pick: Pick) -> Waveform:
        """The whole recording.

        Raises:
            AudioError: it cannot be read.
        """
        with self._named():
            return audio.read(self.source, pick=pick, notices=self.notices)

    def pieces(self, pick: Pick) -> Iterator[Waveform]:
        """The recording piece by piece. Raises: AudioError, also in the middle."""
        with self._named():
            yield from audio.blocks(self.source, pick=pick, notices=self.notices)

    def check_channels(self, names: Sequence[str], track: str) -> None:
        """Raises: AudioError: the recording has not as many channels as names were given."""
        with self._named():
            count = audio.channels(self.source, pick=Pick(track))
            if count != len(names):
                found = "1 channel" if count == 1 else f"{count} channels"
                raise AudioError(f"{self.recording.name}: has {found}, but --channels names {len(names)} speakers; name one for each")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Bytes have no name, or one that means nothing to somebody at a terminal."""
        try:
            yield
        except AudioError as error:
            text = str(error)
            raise AudioError(f"{self.recording.name}:{text[6:]}" if text.startswith("audio:") else text) from error

    def write(self, transcript: Transcript, layout: Layout) -> None:
        for name, path in self.targets.items():
            with atomic_file(path) as temporary:
                temporary.write_text(WRITERS[name](transcript, layout), encoding="utf-8")


def run(config: TranscribeConfig) -> str | None:
    """Transcribe every recording that can be read, and write what can be written.

    Returns:
        The text, where it goes to standard output; else one line saying what was done.

    Raises:
        AudioError: some recordings could not be read or their results not be written; the others are done, and a text for standard
            output is printed.
        UsageError: ``-`` for the output and several recordings or formats, or an option that the model cannot honour.
        ModelError, UnsupportedError, MissingExtraError: as :func:`finewhisper.engines.load_engine`.
        DiskFullError: a result could not be written, nor could any other be.
    """
    started_s = time.monotonic()
    recordings, problems = find(config.files)
    named = len(recordings) + len(problems)
    printed = _is_printed(config, recordings, problems)
    tasks = [_Task(recording, {}) for recording in recordings] if printed else _open_tasks(config, recordings, problems)
    texts: list[str] = []
    heard_s = 0.0
    layout = Layout(config.max_line_width, config.max_line_count)
    wanted = changes(to_simple=config.to_simple, remove_pun=config.remove_pun)
    for task, heard in _transcribed(config, tasks, problems):
        transcript = changed(heard, wanted)
        for notice in transcript.notices:
            note(f"{task.recording.name}: {notice}")
        heard_s += transcript.duration_s
        if printed:
            texts.append(WRITERS[printed](transcript, layout))
        else:
            _write(task, transcript, layout, problems)
    text = "".join(texts).rstrip("\n")
    if problems:
        if texts:
            print(text, flush=True)
        raise _failure(problems, named)
    if printed:
        return text
    return _summary(len(tasks), len(recordings) - len(tasks), heard_s, time.monotonic() - started_s)


def _write(task: _Task, transcript: Transcript, layout: Layout, problems: list[str]) -> None:
    """Write the results of one recording, or add to ``problems`` why not. Raises: DiskFullError."""
    try:
        task.write(transcript, layout)
    except DiskFullError:
        raise
    except Exception as error:
        problems.append(_problem(task.recording, error))
    else:
        note(f"{task.recording.name}: wrote {_listed(task.targets.values())}")


def _is_printed(config: TranscribeConfig, recordings: list[Recording], problems: list[str]) -> str | None:
    """The format that goes to standard output, if any does."""
    if config.output is not None and str(config.output) == STANDARD_INPUT:
        if len(recordings) > 1 or len(config.format) > 1:
            raise UsageError("--output -: standard output takes one recording in one --format; give a folder")
        return config.format[0] if config.format else "txt"
    if config.output is not None or len(recordings) + len(problems) != 1:
        return None
    from_input = bool(recordings) and recordings[0].path is None
    if not config.format:
        name = config.files[0]
        one_file = name == STANDARD_INPUT or os.path.isfile(name) or audio.is_pipe(Path(name))  # noqa: PTH113 - pathlib may raise
        return "txt" if one_file else None
    return config.format[0] if from_input and len(config.format) == 1 else None


def _open_tasks(config: TranscribeConfig, recordings: list[Recording], problems: list[str]) -> list[_Task]:
    """What is still to be written: results that are there are left alone unless they may be replaced.

    What cannot be written is added to ``problems`` now, before time is spent on it.
    """
    tasks = []
    for recording, targets in zip(recordings, destinations(recordings, config.output, config.format or ("txt",)), strict=True):
        kept = [] if config.overwrite else [path for path in targets.values() if os.path.isfile(path)]  # noqa: PTH113
        if kept:
            note(f"{recording.name}: skipped {_listed(kept)}, which is there already; --overwrite replaces it")
        missing = {name: path for name, path in targets.items() if path not in kept}
        refused = next(filter(None, map(unwritable, missing.values())), None)
        if refused is not None:
            problems.append(refused)
        elif missing:
            tasks.append(_Task(recording, missing))
    return tasks


def _transcribed(config: TranscribeConfig, tasks: list[_Task], problems: list[str]) -> Iterator[tuple[_Task, Transcript]]:
    """Every task that can be read with what was heard; the others are added to ``problems``."""
    if not tasks:
        return
    lengths_s = list(in_threads(_duration, (task.recording.path for task in tasks)))
    transcriber = _transcriber(config, side_by_side=len(tasks) > 1 or max(lengths_s) > WINDOW_S)
    read: deque[_Task] = deque()
    languages: list[str | None] = []
    broken: set[_Task] = set()
    heard: defaultdict[_Task, list[Transcript]] = defaultdict(list)
    with _progress(sum(lengths_s) * len(config.picks)) as shown:

        def clips() -> Iterator[Clip]:
            for task, length_s in zip(tasks, lengths_s, strict=True):
                try:
                    if config.channels:
                        task.check_channels(config.channels, config.track)
                    for pick in config.picks:
                        clip = pieces(task, pick) if length_s > _LONG_S else task.read(pick)
                        read.append(task)
                        languages.append(config.spoken_in(task.recording.path))
                        yield clip
                except Exception as error:
                    failed(task, error)

        def pieces(task: _Task, pick: Pick) -> Iterator[Waveform]:
            try:
                yield from task.pieces(pick)
            except Exception as error:  # what was heard so far is not the recording
                failed(task, error)

        def failed(task: _Task, error: Exception) -> None:
            if task not in broken:
                problems.append(_problem(task.recording, error))
                broken.add(task)

        def advance(seconds: Seconds) -> None:
            if shown is not None:
                shown.update(seconds)
                speed = shown.n / max(time.time() - shown.start_t, 1e-3)
                shown.set_postfix_str(f"{speed:.1f} times real time", refresh=False)

        for transcript in transcriber.transcribe_clips(clips(), languages=iter(languages), progress=advance):
            task = read.popleft()
            heard[task].append(transcript)
            if task not in broken and len(heard[task]) == len(config.picks):
                yield task, _whole(task, heard.pop(task), config.channels)


def _whole(task: _Task, heard: list[Transcript], speakers: Sequence[str]) -> Transcript:
    """What was heard in all channels, with what was noticed of the recording."""
    transcript = together(heard, speakers) if speakers else heard[0]
    task.__dict__.pop("source", None)  # the content of a pipe
    return transcript.noticed(task.notices)


def _transcriber(config: TranscribeConfig, *, side_by_side: bool) -> Transcriber:
    """A loaded model with the options.

    Args:
        side_by_side: there are more windows than one.
    """
    folder = ModelFolder.open(config.model, *KINDS)
    engine = load_for(folder, config, side_by_side=side_by_side and not config.sequential, full_windows=config.full_windows)
    options = DecodeOptions(
        language=config.language,
        task=config.task,
        timestamps=_writes_times(config, folder) if config.timestamps is None else config.timestamps,
        beam_size=config.beam_size,
        prompt=config.prompt,
        hotwords=config.hotwords,
        word_timestamps=config.word_timestamps,
    )
    for language in filter(None, [config.language, *(pair.rpartition("=")[2] for pair in config.language_of)]):
        engine.vocabulary.prompt(language, config.task, timestamps=options.timestamps)  # raises before any recording is read
    return Transcriber(engine, options, Plan(config.batch_size, config.vad, config.sequential))


def _writes_times(config: TranscribeConfig, folder: ModelFolder) -> bool:
    """Whether anybody wants to see times that the model can write; without them text comes sooner, and a little better."""
    shown = config.sequential or any(name != "txt" for name in config.format)
    return shown and folder.card.timestamps is not False


def _progress(total_s: Seconds) -> AbstractContextManager[Any]:
    """A bar over seconds of audio where there is enough of it to wait for."""
    if total_s < _WORTH_A_BAR_S:
        return nullcontext()
    layout = "{l_bar}{bar}| {n:.0f}/{total:.0f} s of audio [{elapsed} so far, {remaining} left{postfix}]"
    return bar("transcribe", total_s, "s", layout=layout, smoothing=0.0)


def _duration(path: Path | None) -> Seconds:
    """From the header; 0 where that does not say, as reading the file will say what is wrong with it."""
    try:
        return 0.0 if path is None or audio.is_pipe(path) else audio.duration(path)
    except CutShortError as error:
        return error.found_s
    except Exception:
        return 0.0


def _problem(recording: Recording, error: Exception) -> str:
    """What to tell of an error that concerns one recording; one that nobody foresaw is shown with its traceback, too."""
    if isinstance(error, FinewhisperError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{recording.name}: memory does not hold it; cut it into shorter recordings"
    note("".join(traceback.format_exception(error)).rstrip())
    return f"{recording.name}: failed with {type(error).__name__} ({error}), a defect of finewhisper; please report the traceback above"


def _listed(paths: Iterable[Path]) -> str:
    return ", ".join(map(str, paths))


def _failure(problems: list[str], named: int) -> AudioError:
    if named == 1:
        return AudioError(problems[0])
    listed = "".join(f"\n  {problem}" for problem in problems)
    return AudioError(f"{len(problems)} of {named} recordings could not be transcribed; the others are done:{listed}")


def _summary(done: int, skipped: int, heard_s: Seconds, took_s: Seconds) -> str:
    if not done:
        return f"nothing to do: the results of {_recordings(skipped)} are there already"
    left = f", {skipped} skipped" if skipped else ""
    return f"{_recordings(done)}, {heard_s:.1f} s of audio in {took_s:.1f} s ({heard_s / took_s:.1f} times real time){left}"


def _recordings(count: int) -> str:
    return "1 recording" if count == 1 else f"{count} recordings"
