"""What to type here in place of other programs' options: those of Whisper-Finetune, openai-whisper, faster-whisper and whisper.cpp.

Options of ours that others spell with underscores are understood and need no line here.
"""

from __future__ import annotations

from types import MappingProxyType

_MODEL_FIRST = "the model is the first argument: finewhisper {verb} MODEL …"
_LOCAL = "leave it out: models are always read from their folder, and only finewhisper download uses the network"
_NO_DRAFTS = "leave it out: text drafted by a smaller model and checked by this one came slower"
_EVERYWHERE = {"--local_files_only": _LOCAL, "--use_gpu": "use --device cuda or --device cpu"}
_DECODING = {
    **_EVERYWHERE,
    "--num_beams": "use --beam-size",
    "--num_workers": "use --threads",
    "--use_compile": "leave it out; finewhisper convert MODEL TARGET --to ctranslate2 makes a model faster",
    "--use_flash_attention_2": "leave it out",
    "--use_bettertransformer": "leave it out",
    "--use_int8": "use --precision int8",
    "--compute_type": "use --precision",
    "--fp16": "use --precision float16",
    "--assistant_model_path": _NO_DRAFTS,
    "--assistant": _NO_DRAFTS,
}

#: By verb and option: what is said, in which every option named is one of the verb's.
ANSWERS: MappingProxyType[str, dict[str, str]] = MappingProxyType(
    {
        "finetune": {
            **_EVERYWHERE,
            "--base_model": "the base is the first argument: finewhisper finetune MODEL …",
            "--train_data": "use --train",
            "--test_data": "use --dev",
            "--output_dir": "use --output",
            "--use_adalora": "use --method adalora, or --method lora for false",
            "--fp16": "use --precision float16 on a GPU, or --precision bfloat16",
            "--use_8bit": "use --quantize",
            "--use_compile": "use --compile",
            "--num_train_epochs": "use --epochs",
            "--per_device_train_batch_size": "use --batch-size, or --batch-seconds for seconds of speech",
            "--per_device_eval_batch_size": "use --batch-size",
            "--gradient_accumulation_steps": "use --accumulate",
            "--resume_from_checkpoint": "use --resume",
            "--augment_config_path": "use --augment",
            "--save_total_limit": "use --keep-checkpoints",
            "--num_workers": "use --workers",
            "--warmup_steps": "use --warmup-share",
            "--logging_steps": "leave it out: every step is logged",
            "--min_audio_len": "leave it out: finewhisper prepare names clips that are too short",
            "--max_audio_len": "leave it out: clips of up to 30 s are learnt from, and longer ones are named",
            "--on_spike": "leave it out: a run whose loss jumps and stays up is stopped, and its checkpoints stay",
            "--push_to_hub": "leave it out: nothing is uploaded",
            "--hub_model_id": "leave it out: nothing is uploaded",
        },
        "merge": {
            "--local_files_only": _LOCAL,
            "--lora_model": "the adapter is the first argument: finewhisper merge ADAPTER …",
            "--output_dir": "use --output",
        },
        "evaluate": {
            **_DECODING,
            "--model_path": _MODEL_FIRST.format(verb="evaluate"),
            "--test_data": "use --manifest",
            "--metric": "leave it out: both error rates are computed; --unit chooses what the report aligns",
            "--remove_pun": "use --normalize, whose default leaves punctuation out",
            "--to_simple": "use --normalize, whose default simplifies Chinese",
        },
        "transcribe": {
            **_DECODING,
            "--audio_path": "the recordings are the first arguments: finewhisper transcribe FILES …",
            "--model_path": "use --model",
            "--model_dir": "use --model with the folder of one model",
            "--output_dir": "use --output",
            "--output_format": "use --format",
            "--vad_filter": "use --vad",
            "--initial_prompt": "use --prompt",
            "--word_timestamps": "use --word-timestamps",
            "-l": "use --language",
            "-t": "use --threads",
        },
        "parity": {
            **_DECODING,
            "--model_path": _MODEL_FIRST.format(verb="parity"),
            "--test_data": "use --manifest",
            "--output_dir": "use --figures for the figures, and --keep for the copies",
            "--compute_type": "use --to with the precision, such as --to ctranslate2:int8",
            "--fp16": "use --to with the precision, such as --to ctranslate2:float16",
            "--use_int8": "use --to with the precision, such as --to ctranslate2:int8",
        },
        "convert": {
            "--local_files_only": _LOCAL,
            "--model": "the model is the first argument: finewhisper convert MODEL TARGET …",
            "--output_dir": "the copy's folder is the second argument: finewhisper convert MODEL TARGET …",
            "--compute_type": "use --quantization",
            "--force": "use --overwrite",
        },
        "serve": {
            **_DECODING,
            "--model_path": "use --model",
            "--num_beams": "leave it out: a client asks for it",
        },
        "prepare": {
            "--local_files_only": _LOCAL,
            "--filepath": "the archive is the second argument: finewhisper prepare aishell FILE …",
            "--target_dir": "use --output",
            "--annotation_text": "use --output",
        },
    }
)


def answer(verb: str, flag: str) -> str:
    """What to type in place of another program's option; empty where it is not known."""
    told = ANSWERS.get(verb, {})
    spelt = flag.replace("-", "_").replace("__", "--", 1) if flag.startswith("--") else flag
    known = told.get(flag) or told.get(spelt)
    return f"there is no option {flag} in finewhisper {verb}; {known}" if known else ""
