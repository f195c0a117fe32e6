"""Whether the files of a model folder speak of the same model.

large-v3's ids after the language tokens are one higher than those of earlier models, and its spectrogram has 128 bins. A folder put
together from both kinds trains without an error and writes nonsense ever after; nothing is therefore trained before all files agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from finewhisper.audio import WINDOW_FRAMES
from finewhisper.errors import ModelError
from finewhisper.model import ModelFolder
from finewhisper.small_files import read_json
from finewhisper.vocabulary import MAX_TOKENS, Vocabulary


class Fact(NamedTuple):
    """One value in one file, and what it must be."""

    file: str
    key: str
    found: Any
    expected: Any
    because: str


def require_consistent(folder: ModelFolder, vocabulary: Vocabulary) -> None:
    """Compare the ids, sizes and mel bins of a transformers folder; a value that a file does not have is not missed.

    Raises:
        ModelError: naming every file and key that disagrees.
    """
    facts = [*_sizes(folder, vocabulary), *_ids("config.json", folder.config, vocabulary)]
    facts += _ids("generation_config.json", _read(folder, "generation_config.json"), vocabulary)
    wrong = [
        f"{fact.file}: {fact.key} is {fact.found}, but {fact.because} {fact.expected}"
        for fact in facts
        if fact.found is not None and fact.found not in (fact.expected, [fact.expected])
    ]
    if wrong:
        raise ModelError(
            f"{folder.path}: its files do not belong to one model; copy all of them from the same one:\n  " + "\n  ".join(wrong)
        )


def _sizes(folder: ModelFolder, vocabulary: Vocabulary) -> Iterator[Fact]:
    config, preprocessor = folder.config, _read(folder, "preprocessor_config.json")
    yield Fact("config.json", "vocab_size", config.get("vocab_size"), vocabulary.size, "tokenizer.json has a number of tokens of")
    yield Fact("config.json", "max_source_positions", config.get("max_source_positions"), WINDOW_FRAMES // 2, "30 s of audio are")
    yield Fact("config.json", "max_target_positions", config.get("max_target_positions"), MAX_TOKENS, "Whisper's longest text is")
    bins = config.get("num_mel_bins")
    yield Fact("preprocessor_config.json", "feature_size", preprocessor.get("feature_size"), bins, "num_mel_bins in config.json is")


def _ids(file: str, content: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[Fact]:
    """The special tokens that a configuration names by number."""
    named = {
        "decoder_start_token_id": vocabulary.start_of_transcript,
        "eos_token_id": vocabulary.end_of_text,
        "no_timestamps_token_id": vocabulary.no_timestamps,
        "prev_sot_token_id": vocabulary.previous_text,
    }
    for key, expected in named.items():
        yield Fact(file, key, content.get(key), expected, "tokenizer.json says")
    spelt = dict(content.get("lang_to_id") or {})
    spelt |= {f"<|{task}|>": token for task, token in (content.get("task_to_id") or {}).items()}
    for token, found in spelt.items():
        yield Fact(file, token, found, vocabulary.tokenizer.token_to_id(token), "tokenizer.json says")


def _read(folder: ModelFolder, name: str) -> dict[str, Any]:
    return read_json(folder.files / name)
