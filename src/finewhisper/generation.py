"""``generation_config.json``: what other tools do with a folder of ours when nobody tells them anything.

transformers' ``pipeline(…, model=folder)(wav)`` decodes with what stands there. Without a task it neither detects the language nor writes
its token, and the model loops. So the task is always written; a language only where the model was tuned on exactly one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from finewhisper.model_numbers import alignment_heads, require_token_ids
from finewhisper.small_files import non_speech_tokens, preprocessor_config, read_json, write_json, write_tokenizer
from finewhisper.transcript import Task
from finewhisper.vocabulary import MAX_TOKENS, VOCABULARY_SIZES, Vocabulary

#: Whisper writes its first time within the first second (Radford et al. 2022, section 4.5), in steps of 20 ms.
_MAX_INITIAL_TIMESTAMP_INDEX = 50
#: What generation configurations had before transformers 4.31 in place of a language and a task, and what moved here from config.json.
_OUTDATED = ("forced_decoder_ids",)


def generation_config(vocabulary: Vocabulary, config: dict[str, Any], decoding: dict[str, Any]) -> dict[str, Any]:
    """What transformers' ``generate`` needs for ``language=``, ``task=``, times and word times.

    Args:
        config: the ``config.json`` of the folder.
        decoding: CTranslate2's ``config.json``: tokens to suppress and alignment heads.
    """
    content: dict[str, Any] = {
        "alignment_heads": known_alignment_heads(decoding.get("alignment_heads"), config),
        "begin_suppress_tokens": decoding.get("suppress_ids_begin"),
        "bos_token_id": vocabulary.end_of_text,
        "decoder_start_token_id": vocabulary.start_of_transcript,
        "eos_token_id": vocabulary.end_of_text,
        "is_multilingual": vocabulary.multilingual,
        "max_initial_timestamp_index": _MAX_INITIAL_TIMESTAMP_INDEX,
        "max_length": MAX_TOKENS,
        "no_timestamps_token_id": vocabulary.no_timestamps,
        "pad_token_id": vocabulary.end_of_text,
        "prev_sot_token_id": vocabulary.previous_text,
        "return_timestamps": False,
        "suppress_tokens": decoding.get("suppress_ids"),
    }
    if vocabulary.multilingual:
        content["lang_to_id"] = {f"<|{code}|>": token for code, token in vocabulary.languages.items()}
        content["task_to_id"] = {task: vocabulary.id(f"<|{task}|>") for task in ("transcribe", "translate")}
    return content


def known_alignment_heads(stored: Any, config: dict[str, Any]) -> list[list[int]]:
    """The stored heads that the decoder has; without any those of OpenAI's model of this size, where there is only one.

    Else they are all heads of the upper half, as OpenAI has it where the best are not known.
    """
    layers, heads = config["decoder_layers"], config["decoder_attention_heads"]
    known = alignment_heads(stored, layers=layers, heads=heads) or _OFFICIAL_HEADS.get(_size(config), ())
    return [list(pair) for pair in known or product(range(layers // 2, layers), range(heads))]


def _size(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(config.get(name) for name in ("vocab_size", "d_model", "encoder_layers", "decoder_layers", "decoder_attention_heads"))


#: The heads that OpenAI names for its models, by what :func:`_size` says of them; large-v1 and large-v2 are of one size, so neither is
#: here. Source: ``_ALIGNMENT_HEADS`` in ``whisper/__init__.py`` of openai/whisper.
_OFFICIAL_HEADS: dict[tuple[Any, ...], tuple[tuple[int, int], ...]] = {
    (51864, 384, 4, 4, 6): ((1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)),
    (51865, 384, 4, 4, 6): ((2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)),
    (51864, 512, 6, 6, 8): ((3, 3), (4, 7), (5, 1), (5, 5), (5, 7)),
    (51865, 512, 6, 6, 8): ((3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)),
    (51864, 768, 12, 12, 12): (
        (6, 6), (7, 0), (7, 3), (7, 8), (8, 2), (8, 5), (8, 7), (9, 0), (9, 4), (9, 8), (9, 10), (10, 0), (10, 1), (10, 2), (10, 3),
        (10, 6), (10, 11), (11, 2), (11, 4),
    ),
    (51865, 768, 12, 12, 12): ((5, 3), (5, 9), (8, 0), (8, 4), (8, 7), (8, 8), (9, 0), (9, 7), (9, 9), (10, 5)),
    (51864, 1024, 24, 24, 16): (
        (11, 4), (14, 1), (14, 12), (14, 14), (15, 4), (16, 0), (16, 4), (16, 9), (17, 12), (17, 14), (18, 7), (18, 10), (18, 15),
        (20, 0), (20, 3), (20, 9), (20, 14), (21, 12),
    ),
    (51865, 1024, 24, 24, 16): ((13, 15), (15, 4), (15, 15), (16, 1), (20, 0), (23, 4)),
    (51866, 1280, 32, 32, 20): ((7, 0), (10, 17), (12, 18), (13, 12), (16, 1), (17, 14), (19, 11), (21, 4), (24, 1), (25, 6)),
    (51866, 1280, 32, 4, 20): ((2, 4), (2, 11), (3, 3), (3, 6), (3, 11), (3, 14)),
}  # fmt: skip


def is_current(stored: Mapping[str, Any], vocabulary_size: Any) -> bool:
    """Whether a ``generation_config.json`` has what today's tools look for; those of 2022 have not."""
    wanted = ["no_timestamps_token_id", "alignment_heads"]
    if vocabulary_size != min(VOCABULARY_SIZES):
        wanted += ["lang_to_id", "task_to_id"]
    return all(stored.get(key) is not None for key in wanted) and not any(key in stored for key in _OUTDATED)


def current(stored: Mapping[str, Any], config: dict[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """A ``generation_config.json`` of any age, with what an old one lacks; made anew from nothing, it is as OpenAI's decoder has it.

    Args:
        config: the ``config.json`` of the folder, which held some of it before transformers 4.31.
    """
    found: dict[str, Any] = {
        "alignment_heads": stored.get("alignment_heads"),
        "suppress_ids": config.get("suppress_tokens"),
        "suppress_ids_begin": config.get("begin_suppress_tokens"),
    }
    if not stored and found["suppress_ids"] is None:
        found["suppress_ids"] = non_speech_tokens(vocabulary)
    if not stored and found["suppress_ids_begin"] is None:
        found["suppress_ids_begin"] = first_suppressed(vocabulary)
    content = generation_config(vocabulary, config, found) | {
        key: value for key, value in stored.items() if value is not None and key not in {*_OUTDATED, "alignment_heads"}
    }
    return {key: value for key, value in content.items() if value is not None}


def first_suppressed(vocabulary: Vocabulary) -> list[int]:
    """What OpenAI's decoder does not let a text begin with: a space, or its end."""
    return [*vocabulary.encode(" "), vocabulary.end_of_text]


def unasked_language(stored: Mapping[str, Any], languages: Sequence[str]) -> str | None:
    """What a multilingual model decodes that nobody tells a language: the one that it was tuned on, else what its author wrote.

    A code, not its token: Transformers.js takes tokens of two letters only, and Hawaiian has three.
    """
    if languages:
        return languages[0] if len(languages) == 1 else None
    language = stored.get("language")
    return language.removeprefix("<|").removesuffix("|>") if isinstance(language, str) else None


def complete(folder: Path, languages: Sequence[str] = (), task: Task = "transcribe") -> None:
    """Give a Hugging Face folder of ours every small file, and a ``generation_config.json`` of today.

    The task and the one language of the model are written, so that tools decode rightly unasked; what is missing beside is made.

    Args:
        languages: codes of the languages that the model was tuned on; of others' models they are not known, and what stands there is kept.
        task: what it was tuned to do.

    Raises:
        ModelError: a file of the folder is missing or damaged.
    """
    vocabulary, config = Vocabulary.load(folder), read_json(folder / "config.json")
    path = folder / "generation_config.json"
    stored = read_json(path) if path.is_file() else {}
    require_token_ids(stored, path)
    content = current(stored, config, vocabulary)
    theirs = {key: content.pop(key, None) for key in ("language", "task")}
    if vocabulary.multilingual:
        content["task"] = theirs["task"] if not languages and theirs["task"] in ("transcribe", "translate") else task
        language = unasked_language(theirs, languages)
        if language is not None:
            content["language"] = language
    write_json(path, dict(sorted(content.items())))
    write_tokenizer(folder, vocabulary, only_missing=True)
    if not (folder / "preprocessor_config.json").is_file():
        write_json(folder / "preprocessor_config.json", preprocessor_config(config["num_mel_bins"]))
