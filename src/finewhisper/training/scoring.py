"""How well the model hears the development sets while it trains, and which checkpoint is kept.

The sets are decoded with the code that ``transcribe`` uses. A set counts by its word error rate, or by its character error rate where
a language in it is written without spaces. The best checkpoint has the lowest mean over the sets, however large each of them is (the
macro average). The loss is not used: it does not follow the error rate. Beside every rate stand the bounds of its 95 % interval, for
development sets are often so small that a difference between two checkpoints is chance.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from finewhisper.engines.base import Engine
from finewhisper.errors import UsageError
from finewhisper.manifest import Utterance
from finewhisper.scoring.rates import Comparison, ErrorRate, Interval, mean_interval, total
from finewhisper.scoring.sets import SpeechSet, compare_heard, short_names
from finewhisper.scoring.text import Normalizer
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.processes import dealt_out
from finewhisper.transcript import UNSPACED, DecodeOptions
from finewhisper.transcription.sets import transcripts
from finewhisper.transcription.transcriber import Plan

#: Percent: ``macro``, and the means of ``wer`` and ``cer`` over the sets; with several sets also ``name/wer`` and ``name/cer`` of each.
#: The bounds of a rate's 95 % interval follow its name: ``macro_low`` and ``macro_high``.
Scores = dict[str, float]

#: The score that chooses the checkpoint, and what Trainer's log puts before the name of a score.
MACRO, LOGGED = "macro", "eval_"


def dev_sets(config: FinetuneConfig, read: Callable[[Path], Sequence[Utterance]]) -> tuple[SpeechSet, ...]:
    """The development sets under short names.

    Args:
        read: a manifest's usable utterances.

    Raises:
        UsageError: a set has no error rate of the kind that is asked for.
    """
    sets = []
    for name, path in zip(short_names(config.dev), config.dev, strict=True):
        written = "en" if config.task == "translate" else config.language
        speech = SpeechSet(name, tuple(read(path)), config.language)
        unspaced = sorted(UNSPACED.intersection(filter(None, SpeechSet(name, speech.utterances, written).languages)))
        if config.metric == "wer" and unspaced:
            raise UsageError(f"--metric wer: {path} holds {', '.join(unspaced)}, written without spaces; use --metric auto or cer")
        require_speech("--dev", path, speech.utterances)
        sets.append(speech)
    return tuple(sets)


def require_speech(flag: str, path: Path, utterances: Sequence[Utterance]) -> None:
    """Refuse a set without a single word: its error rate would be 0 or infinite. Raises: UsageError."""
    if not any(Normalizer.for_language(utterance.language)(utterance.sentence) for utterance in utterances):
        raise UsageError(f"{flag} {path}: nothing is said in it, so it has no error rate; give a manifest with speech")


def scorer(engine: Engine, sets: Sequence[SpeechSet], config: FinetuneConfig) -> Callable[[], Scores]:
    """A function that decodes the sets with the model as it is."""
    # No second attempts at loops: the weights are judged, and a model that loops must not look better or slow the training down.
    options, plan = decoding(config)
    return lambda: scores({speech.name: hear_together(engine, speech, options, plan) for speech in sets}, config.metric)


def decoding(config: FinetuneConfig) -> tuple[DecodeOptions, Plan]:
    """How development sets are decoded: greedily, every window once."""
    return DecodeOptions(task=config.task, timestamps=False), Plan(config.batch_size, fallback=())


def hear_together(engine: Engine, speech: SpeechSet, options: DecodeOptions, plan: Plan) -> list[Comparison]:
    """As :func:`finewhisper.transcription.sets.hear`; several processes share the work, and all know the whole."""
    heard = dealt_out(speech.utterances, lambda share: transcripts(engine, replace(speech, utterances=tuple(share)), options, plan))
    return compare_heard(speech, heard, options.task)


def scores(heard: Mapping[str, Sequence[Comparison]], metric: str = "auto") -> Scores:
    """Percent of each set, by its name, and their means."""
    sets = [_rates(comparisons) for comparisons in heard.values()]
    found = _mean(MACRO, [rates[chosen(rates, metric)] for rates in sets])
    for unit in ("wer", "cer"):
        found |= _mean(unit, [rates[unit] for rates in sets if unit in rates])
    if len(sets) > 1:
        for name, rates in zip(heard, sets, strict=True):
            for unit, utterances in rates.items():
                found |= _mean(f"{name}/{unit}", [utterances])
    return found


def _rates(comparisons: Sequence[Comparison]) -> dict[str, list[ErrorRate]]:
    """Of a set's utterances; no ``wer`` where some of its languages have no words."""
    words = [pair.words for pair in comparisons if pair.words is not None]
    characters = {"cer": [pair.characters for pair in comparisons]}
    return {"wer": words} | characters if len(words) == len(comparisons) else characters


def _mean(name: str, sets: Sequence[Sequence[ErrorRate]]) -> Scores:
    """The mean rate over sets, percent, and the bounds of its interval; empty without any set."""
    if not sets:
        return {}
    found = mean_interval(sets)
    bounds = {f"{name}_low": found.low, f"{name}_high": found.high} if found else {}
    return {name: fmean(total(rates, rates[0].unit).percent for rates in sets)} | bounds


def chosen(rates: Container[str], metric: str = "auto") -> str:
    """The name of the rate that a set counts by."""
    return "wer" if "wer" in rates and metric != "cer" else "cer"


def by_set(found: Scores) -> dict[str, Scores]:
    """The rates of each set where there are several."""
    sets: dict[str, Scores] = {}
    for key, value in found.items():
        name, separator, unit = key.rpartition("/")
        if separator:
            sets.setdefault(name, {})[unit] = value
    return sets


def text(found: Scores) -> str:
    """``WER 63.6 % (57.9 … 69.0)``, the 95 % interval in brackets; of several sets ``macro average 43.9 % (…); bg: WER …; zh: CER …``."""
    sets = by_set(found)
    if not sets:
        return _listed(found)
    return "; ".join([f"macro average {_percent(found, MACRO)}", *(f"{name}: {_listed(rates)}" for name, rates in sets.items())])


def _listed(rates: Scores) -> str:
    return ", ".join(f"{unit.upper()} {_percent(rates, unit)}" for unit in ("wer", "cer") if unit in rates)


def _percent(rates: Scores, name: str) -> str:
    bounds = interval_of(rates, name)
    return f"{rates[name]:.1f} %" + (f" ({bounds.low:.1f} … {bounds.high:.1f})" if bounds else "")


def interval_of(found: Scores, name: str) -> Interval | None:
    """The 95 % interval of the rate of that name; None in a log written before there were any."""
    return Interval(found[f"{name}_low"], found[f"{name}_high"]) if f"{name}_low" in found else None


def card(found: Scores, names: Sequence[str]) -> dict[str, Any] | None:
    """As in ``finewhisper.json``: the macro average, and each set's rates by its name, both with their 95 % intervals."""
    if not found:
        return None
    sets = by_set(found) or {names[0]: found}
    rates = {name: {unit: round(rates[unit], 2) for unit in ("wer", "cer") if unit in rates} for name, rates in sets.items()}
    intervals = {name: {unit: _bounds(sets[name], unit) for unit in units} for name, units in rates.items()}
    return {MACRO: round(found[MACRO], 2), f"{MACRO}_interval": _bounds(found, MACRO), "sets": rates, "intervals": intervals}


def _bounds(found: Scores, name: str) -> list[float] | None:
    bounds = interval_of(found, name)
    return [round(bounds.low, 2), round(bounds.high, 2)] if bounds else None


def logged(entry: Mapping[str, float]) -> Scores:
    """The scores in an entry of Trainer's log; empty where it has none."""
    return {key.removeprefix(LOGGED): value for key, value in entry.items() if key.startswith(LOGGED)}


def since_best(log: Iterable[Mapping[str, float]]) -> int:
    """How many evaluations there have been since the best one."""
    measured = [entry[LOGGED + MACRO] for entry in log if LOGGED + MACRO in entry]
    return len(measured) - 1 - measured.index(min(measured))


def kept(log: Iterable[Mapping[str, float]], step: int | None) -> Scores:
    """The scores of the checkpoint of an optimizer step; empty without development sets."""
    return next((logged(entry) for entry in log if entry["step"] == step and LOGGED + MACRO in entry), {})
