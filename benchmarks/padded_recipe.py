"""The peer: the usual fine-tuning of Whisper with transformers and peft, every clip padded to 30 s.

It is what tutorials and the popular script collections do, with their known mistakes put right so that the comparison is fair: one start
token, a base that is not cast up, LoRA on all linear layers. What is left is the padding, and logits for every label position.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resident
import torch
from peft import LoraConfig, get_peft_model
from step_clock import StepClock
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, WhisperForConditionalGeneration, WhisperProcessor, set_seed

from finewhisper import manifest, whisper
from finewhisper.audio import SAMPLE_RATE
from finewhisper.language import LANGUAGES
from finewhisper.manifest import Utterance

IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """What both sides of the comparison share."""

    base: Path
    train: Path
    output: Path
    steps: int
    batch_size: int = 8
    rank: int = 32
    alpha: float = 64.0
    learning_rate: float = 5e-4
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    precision: str = "float32"
    seed: int = 0


class PaddedClips(torch.utils.data.Dataset[dict[str, Any]]):
    """Clips as (n_mels, 3000) features and label ids, made when asked for."""

    def __init__(self, utterances: Sequence[Utterance], processor: WhisperProcessor) -> None:
        self.utterances, self.processor = utterances, processor

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> dict[str, Any]:
        utterance = self.utterances[index]
        features = self.processor.feature_extractor(utterance.waveform(), sampling_rate=SAMPLE_RATE).input_features[0]
        self.processor.tokenizer.set_prefix_tokens(language=LANGUAGES[utterance.language or "en"].lower(), task="transcribe")
        return {"input_features": features, "labels": self.processor.tokenizer(utterance.sentence).input_ids}


@dataclass(frozen=True)
class Collator:
    """Pads labels, and strips the start token that the model itself puts before them."""

    processor: WhisperProcessor
    start: int

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self.processor.feature_extractor.pad(
            [{"input_features": example["input_features"]} for example in examples], return_tensors="pt"
        )
        padded = self.processor.tokenizer.pad([{"input_ids": example["labels"]} for example in examples], return_tensors="pt")
        labels = padded["input_ids"].masked_fill(padded.attention_mask.ne(1), IGNORED)
        if bool((labels[:, 0] == self.start).all()):
            labels = labels[:, 1:]
        return {"input_features": batch["input_features"], "labels": labels}


def train(recipe: Recipe) -> dict[str, float]:
    """Fine-tune, write the merged model to ``recipe.output`` and return seconds per utterance and the peak of memory."""
    set_seed(recipe.seed)
    processor = WhisperProcessor.from_pretrained(recipe.base)
    model = WhisperForConditionalGeneration.from_pretrained(recipe.base, attn_implementation="sdpa")
    model.config.use_cache = False
    targets = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    adapted = get_peft_model(model, LoraConfig(r=recipe.rank, lora_alpha=recipe.alpha, target_modules=targets))
    clock = StepClock(lambda: recipe.batch_size, recipe.output.with_suffix(".progress"))
    trainer = Seq2SeqTrainer(
        model=adapted,
        args=Seq2SeqTrainingArguments(
            output_dir=str(recipe.output) + "-trainer",
            max_steps=recipe.steps,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=recipe.warmup_share,
            weight_decay=recipe.weight_decay,
            bf16=recipe.precision == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            seed=recipe.seed,
            remove_unused_columns=False,
            label_names=["labels"],
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            log_level="error",
        ),
        train_dataset=PaddedClips(manifest.read(recipe.train), processor),
        data_collator=Collator(processor, model.config.decoder_start_token_id),
        callbacks=[clock],
    )
    trainer.train()
    merged = adapted.merge_and_unload(safe_merge=True)
    recipe.output.mkdir(parents=True)
    whisper.save(merged, recipe.base, recipe.output)
    measured = clock.measured() | {"peak_memory_bytes": resident.peak_bytes()}
    (recipe.output / "measured.json").write_text(json.dumps(measured, indent=1) + "\n")
    return measured
