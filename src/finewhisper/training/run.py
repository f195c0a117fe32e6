"""``finewhisper finetune``: from manifest to model, top to bottom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments, WhisperConfig, set_seed

from finewhisper.engines.transformers import TransformersEngine, choose_device
from finewhisper.model import Context, ModelFolder
from finewhisper.training import advice, fitting, methods, processes, results, scoring, support
from finewhisper.training.augment import Augmentation
from finewhisper.training.batches import BatchPlan, LengthBatches
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.consistency import require_consistent
from finewhisper.training.corpus import Unusable, clips_of, kept_sets, look, usable
from finewhisper.training.dataset import SpeechDataset
from finewhisper.training.interpolation import Line
from finewhisper.training.labels import Labeller
from finewhisper.training.loss_guard import Guard
from finewhisper.training.scoring import Scores
from finewhisper.training.sweep import Sweep
from finewhisper.training.trainer import Checkpoints, EpochOrder, FreeMemory, Patience, ProgressBar, SpeechTrainer, tensorboard
from finewhisper.vocabulary import Vocabulary


@dataclass(frozen=True)
class FinetuneResult:
    """What came of a run."""

    output: Path
    method: str
    steps: int
    hours: float  #: audio in the training manifest
    seconds: float  #: wall-clock time of the training loop
    best: Scores  #: error rates of the kept checkpoint on the development set, percent; empty without one

    def __str__(self) -> str:
        following = (
            f"finewhisper merge {self.output} -o MERGED"
            if self.method != "full"
            else f"finewhisper evaluate {self.output} --manifest TEST.jsonl"
        )
        return (
            f"{self.output}: {self.steps} steps on {self.hours * 60:.1f} min of speech in {self.seconds:.0f} s"
            f"{f'; development set {scoring.text(self.best)}' if self.best else ''}\nNext: {following}"
        )


def run(config: FinetuneConfig, watchers: Sequence[TrainerCallback] = ()) -> FinetuneResult:
    """Fine-tune a model.

    Args:
        watchers: further callbacks of transformers' Trainer, for programs that call this function.

    Raises:
        ModelError: the base is missing, incomplete, put together from several models, or not a transformers folder.
        ManifestError: lines cannot be used, each named (unless ``skip_bad``).
        UsageError: options contradict each other or the model.
        UnsupportedError: this device cannot do what was asked for.
        CorpusError: recordings that the augmentation needs cannot be used.
        MissingExtraError: quantisation was asked for, and bitsandbytes is not installed.
        TrainingError: the loss is not a number, or jumps, or memory runs out; checkpoints written so far stay.
        StorageError: the output is there already, or the disk is full; checkpoints written so far stay.
    """
    folder = ModelFolder.open(config.model, "transformers")
    vocabulary = Vocabulary.load(folder.files)
    require_consistent(folder, vocabulary)
    device = choose_device(config.device)
    labeller = Labeller(vocabulary, config.task, config.language, config.timestamps, config.previous_text)
    processes.join(cpu=device.type == "cpu")
    processes.first_alone(lambda: results.require_ready(config))
    config = support.settled(results.as_begun(config), device)
    support.require_supported(config, device)
    support.use_threads(config, device)
    fit = fitting.Fit.of(config, WhisperConfig.from_dict(folder.config), device, folder)
    train = processes.first_alone(lambda: usable(config.train, config, labeller))
    dev = processes.first_alone(lambda: scoring.dev_sets(config, lambda path: usable(path, config, labeller)))
    kept = processes.first_alone(lambda: kept_sets(config, vocabulary))
    processes.first_alone(lambda: look(config, train, dev, kept))
    told = advice.advise(config, train, dev)
    advice.tell(told)
    augmentation = Augmentation.load(config.augment, train) if config.augment else None
    clips = clips_of(train, labeller, augmentation)

    with results.workspace(config, folder, train) as workspace:
        set_seed(config.seed)
        base = methods.load_base(folder, config, device)
        model = methods.adapt(base, config)
        if config.batch_seconds == "auto":
            config = fitting.settled(config, fit, clips, model)
            results.record(config)
        engine = TransformersEngine(base, vocabulary, _learnt_context(config))
        score = scoring.scorer(engine, dev, config) if dev else None
        sweep = Sweep(Line(model, folder), engine, dev, kept, config)
        batches = LengthBatches(clips, BatchPlan.of(config))
        fit.tell(fit.largest(batches))
        guard = Guard(config, train, recomputes=fit.footprint.recomputes)
        trainer = SpeechTrainer(
            model=model,
            args=_arguments(config, workspace, len(batches), base.config.d_model, cpu=device.type == "cpu"),
            train_dataset=SpeechDataset(train, labeller.for_languages(train), augmentation),
            eval_dataset=dev or None,  # Trainer wants to see one; SpeechTrainer.evaluate decodes it
            batches=batches,
            score=score,
            masking=augmentation.masking(train, config.seed) if augmentation else None,
            guard=guard,
            unusable=Unusable(config.train, train, skip_bad=config.skip_bad),
            n_mels=base.config.num_mel_bins,
            callbacks=[
                EpochOrder(batches),
                Checkpoints(config.save_steps),
                Patience(config.patience),
                FreeMemory(),
                ProgressBar(),
                *tensorboard(config.tracker, workspace),
                *methods.callbacks(model, config),
                *watchers,
            ],
        )
        processes.first_alone(lambda: processes.require_whole_weights(trainer, config))
        for noisy in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(noisy)
        with guard.memory_errors():
            outcome = trainer.train(resume_from_checkpoint=results.last_checkpoint(config))
            choice = sweep.choose(trainer)
        context = engine.context.at(choice.chosen.scale) if choice else engine.context
        best = choice.chosen.scores if choice else scoring.kept(trainer.state.log_history, trainer.state.best_global_step)
        hours = sum(utterance.length_s() for utterance in train) / 3600
        card = results.model_card(trainer, folder, config, context, train, told, hours=hours, best=best, choice=choice)
        results.publish(trainer, folder, config, card, best, choice)
    processes.leave()
    return FinetuneResult(config.output, config.method, trainer.state.global_step, hours, outcome.metrics["train_runtime"], best)


def _learnt_context(config: FinetuneConfig) -> Context:
    """What the model will have learnt about lengths: trimming is safe unless it only ever saw full windows."""
    low, high = config.margin_s
    return Context(
        trimmed=config.full_window_share < 1,
        margin_s=min(max(1.0, low), high),
        trained_margin_s=config.margin_s,
        full_window_share=config.full_window_share,
    )


def _arguments(config: FinetuneConfig, workspace: Path, steps_per_epoch: int, d_model: int, *, cpu: bool) -> TrainingArguments:
    updates = math.ceil(config.epochs * math.ceil(steps_per_epoch / config.accumulate))
    turn = "steps" if config.eval_steps else "epoch"
    return TrainingArguments(
        output_dir=str(workspace.absolute() / "checkpoints"),
        num_train_epochs=config.epochs,
        max_steps=min(config.max_steps or updates, updates),
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulate,
        learning_rate=config.learning_rate or methods.default_learning_rate(config.method, d_model),
        lr_scheduler_type="cosine",
        warmup_steps=config.warmup_share,
        weight_decay=config.weight_decay,
        bf16=config.precision == "bfloat16",
        fp16=config.precision == "float16",
        optim=methods.OPTIMIZERS[config.optimizer],
        use_cpu=cpu,
        seed=config.seed,
        dataloader_num_workers=config.workers,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # all that can learn takes part in every step
        eval_strategy=turn if config.dev else "no",
        eval_steps=config.eval_steps,
        save_strategy=turn,
        save_steps=config.eval_steps or 1,  # of the strategy "steps"
        save_total_limit=config.keep_checkpoints,
        load_best_model_at_end=bool(config.dev),
        metric_for_best_model=scoring.MACRO if config.dev else None,
        greater_is_better=False if config.dev else None,
        logging_steps=5,
        logging_nan_inf_filter=False,  # Guard lets none through
        report_to="none" if config.tracker == "tensorboard" else config.tracker,  # TensorBoard's files are to lie in the output
        disable_tqdm=True,
        log_level="error",
    )
