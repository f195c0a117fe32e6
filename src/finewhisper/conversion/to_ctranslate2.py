"""A Hugging Face folder as a CTranslate2 one: CTranslate2's own converter writes the weights, this module everything around them.

What that converter leaves out or guesses is written here from the folder's own files: ``tokenizer.json`` and
``preprocessor_config.json`` (without which faster-whisper goes to the network, or takes 80 mel bins for 128), and the languages,
suppressed tokens and alignment heads of ``config.json``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from finewhisper import progress
from finewhisper.conversion import auxiliary_files
from finewhisper.errors import MissingExtraError, ModelError
from finewhisper.formats import Quantization
from finewhisper.generation import known_alignment_heads
from finewhisper.model import ModelFolder
from finewhisper.vocabulary import Vocabulary


def write(source: ModelFolder, target: Path, quantization: Quantization) -> None:
    """Write ``model.bin`` and every small file beside it into the existing folder ``target``.

    Raises:
        ModelError: the source cannot be loaded, or its tokenizer does not fit its weights.
        MissingExtraError: CTranslate2, torch or transformers is not installed.
    """
    vocabulary = auxiliary_files.checked_vocabulary(source)
    _write_weights(source, target, quantization)
    generation = source.generation
    auxiliary_files.write_json(target / "config.json", decoding_config(generation, source.config, vocabulary))
    tokens = [vocabulary.tokenizer.id_to_token(index) for index in range(vocabulary.size)]
    auxiliary_files.write_json(target / "vocabulary.json", tokens)
    auxiliary_files.write_json(target / "preprocessor_config.json", auxiliary_files.preprocessor_config(source.config["num_mel_bins"]))
    vocabulary.tokenizer.save(str(target / "tokenizer.json"))


def decoding_config(generation: dict[str, Any], config: dict[str, Any], vocabulary: Vocabulary) -> dict[str, Any]:
    """CTranslate2's ``config.json`` from ``generation_config.json``; the languages from the tokenizer, since others leave them out."""
    return {
        "alignment_heads": known_alignment_heads(generation.get("alignment_heads"), config),
        "lang_ids": sorted(vocabulary.languages.values()),
        "suppress_ids": generation.get("suppress_tokens") or [],
        "suppress_ids_begin": generation.get("begin_suppress_tokens") or [],
    }


def _write_weights(source: ModelFolder, target: Path, quantization: Quantization) -> None:
    """Let CTranslate2's converter fill ``target``."""
    converter = _converter(source)
    with progress.bar(f"convert to {quantization}", 1, "model") as done:
        try:
            converter.convert(str(target), quantization=quantization, force=True)
        except (ValueError, KeyError, RuntimeError, TypeError, AttributeError, IndexError) as error:
            raise ModelError(f"{source.path}: CTranslate2 cannot convert it ({error})") from error
        done.update()


def _converter(source: ModelFolder) -> Any:
    """CTranslate2's converter, held to safetensors and to this machine: it would take a pickle, and ask the hub."""
    try:
        import torch  # noqa: F401 - without it CTranslate2 fails later, with a NameError
        import transformers
        from ctranslate2.converters import TransformersConverter

        from finewhisper import whisper
    except ImportError as error:
        missing = ("ctranslate2", "ct2") if error.name == "ctranslate2" else ("transformers with torch", "train")
        raise MissingExtraError(*missing) from error
    transformers.utils.logging.disable_progress_bar()  # the bar here is ours

    class Converter(TransformersConverter):  # type: ignore[misc]
        def load_model(self, model_class: Any, path: str, **options: Any) -> Any:
            try:
                model, report = super().load_model(
                    model_class, path, use_safetensors=True, local_files_only=True, output_loading_info=True, **options
                )
            except (OSError, SafetensorError) as error:  # caught here, because an OSError of writing is about the disk
                raise ModelError(f"{source.path}: cannot be loaded ({error}); download the model again") from error
            whisper.require_fitting(report, source.path, tied=model.config.tie_word_embeddings)
            return model

        def load_tokenizer(self, tokenizer_class: Any, path: str, **options: Any) -> Any:
            return super().load_tokenizer(tokenizer_class, path, local_files_only=True, **options)

    return Converter(str(source.files))
