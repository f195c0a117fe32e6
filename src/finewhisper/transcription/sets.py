"""What a model hears in each utterance of a set."""

from __future__ import annotations

from finewhisper.engines import Engine
from finewhisper.progress import track
from finewhisper.scoring.rates import Comparison
from finewhisper.scoring.sets import SpeechSet, compare_heard
from finewhisper.transcript import DecodeOptions, Transcript
from finewhisper.transcription.transcriber import Plan, Transcriber


def hear(engine: Engine, speech: SpeechSet, options: DecodeOptions, plan: Plan | None = None) -> list[Comparison]:
    """Decode a set with a model and compare each utterance with what was said, in their order."""
    return compare_heard(speech, transcripts(engine, speech, options, plan), options.task)


def transcripts(engine: Engine, speech: SpeechSet, options: DecodeOptions, plan: Plan | None = None) -> list[Transcript]:
    """What a model hears in each utterance, in their order."""
    clips = (utterance.waveform() for utterance in speech.utterances)
    heard = Transcriber(engine, options, plan).transcribe_clips(clips, languages=speech.languages)
    return list(track(heard, speech.name, len(speech.utterances), "clips"))


def setting(engine: Engine) -> str:
    """What, beside the weights, makes an engine's scores: its name, precision and context."""
    return f"{engine.name} {engine.precision}, context:{engine.context.name}"
