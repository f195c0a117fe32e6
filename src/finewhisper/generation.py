"""``generation_config.json``: what other tools do with a folder of ours when nobody tells them anything.

transformers' ``pipeline(…, model=folder)(wav)`` decodes with what stands there. Without a task it neither detects the language nor writes
its token, and the model loops. So the task is always written; a language only where the model was tuned on exactly one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from finewhisper.model import ModelFolder
from finewhisper.model_numbers import alignment_heads
from finewhisper.transcript import Task
from finewhisper.vocabulary import MAX_TOKENS, Vocabulary

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
    """The stored heads that the decoder has; without any all of its upper half, as OpenAI does where the best are not known."""
    layers, heads = config["decoder_layers"], config["decoder_attention_heads"]
    known = alignment_heads(stored, layers=layers, heads=heads)
    return [list(pair) for pair in known or product(range(layers // 2, layers), range(heads))]


def complete(folder: Path, languages: Sequence[str] = (), task: Task = "transcribe") -> None:
    """Bring the ``generation_config.json`` of a Hugging Face folder of ours up to date.

    What an old one lacks is added, and the task and the one language of the model are written, so that tools decode rightly unasked.

    Args:
        languages: codes of the languages that the model was tuned on.
        task: what it was tuned to do.

    Raises:
        ModelError: a file of the folder is missing or damaged.
    """
    model = ModelFolder(folder, "transformers")
    vocabulary, stored = Vocabulary.load(folder), model.generation
    moved = {"suppress_ids": model.config.get("suppress_tokens"), "suppress_ids_begin": model.config.get("begin_suppress_tokens")}
    heads = {"alignment_heads": stored.get("alignment_heads")}
    content = generation_config(vocabulary, model.config, moved | heads) | {
        key: value for key, value in stored.items() if value is not None and key not in {*_OUTDATED, "alignment_heads", "language", "task"}
    }
    if vocabulary.multilingual:
        content["task"] = task
        if len(languages) == 1:
            content["language"] = f"<|{languages[0]}|>"
    text = json.dumps({key: value for key, value in content.items() if value is not None}, ensure_ascii=False, indent=2, sort_keys=True)
    (folder / "generation_config.json").write_text(text + "\n", encoding="utf-8")
