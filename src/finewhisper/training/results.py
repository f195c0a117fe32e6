"""What a fine-tuning leaves behind: the weights, the resolved configuration, the training log, a plot and a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finewhisper import json_values, outputs
from finewhisper.config import read_recipe
from finewhisper.config import save as save_config
from finewhisper.errors import UsageError
from finewhisper.files import sha256, storage_errors
from finewhisper.generation import complete
from finewhisper.manifest import Utterance
from finewhisper.model import Context, ModelCard, ModelFolder, versions
from finewhisper.progress import note
from finewhisper.scoring.sets import short_names
from finewhisper.training import inputs, methods, scoring
from finewhisper.training.advice import markdown
from finewhisper.training.config import FinetuneConfig
from finewhisper.training.plot import plot_training
from finewhisper.training.processes import first_alone, is_first

if TYPE_CHECKING:
    from finewhisper.training.sweep import Choice
    from finewhisper.training.trainer import SpeechTrainer

#: Options that may differ when a run is resumed; any other difference would make it another run.
RESUMABLE = {
    *("output", "resume", "overwrite", "workers", "threads", "device", "tracker", "skip_bad"),
    *("keep", "keep_checkpoints", "keep_tolerance", "sweep"),
}
#: What a run writes into its folder before the result is there.
_ON_THE_WAY = ("checkpoints", "checkpoints/checkpoint-*", "tensorboard", "tensorboard/*", ".result.tmp", ".result.tmp/*")
#: The file of a checkpoint that Trainer writes last.
_LAST_FILE = "trainer_state.json"
#: The files that make a folder a model, written last so that an interrupted copy is not taken for one.
_MARKERS = ("adapter_config.json", "config.json")


@contextmanager
def workspace(config: FinetuneConfig, base: ModelFolder, train: Sequence[Utterance]) -> Iterator[Path]:
    """The output folder, ready for checkpoints; cleared again when the run ends before there is anything to keep.

    Raises:
        UsageError: ``--resume`` where there is no run to go on with, or another one than ``config``, ``base`` and ``train`` make.
    """
    output = config.output
    with storage_errors(output):
        earlier = first_alone(lambda: _open(config, inputs.describe(config, base, train)))
        try:
            yield output
            if earlier is not None and is_first():
                outputs.remove(earlier)
        except BaseException as error:
            if not is_first():
                raise
            _drop_incomplete(output)
            if not (_complete_checkpoints(output) or _is_finished(output)):
                outputs.remove(output)
                if earlier is not None and not output.exists():
                    earlier.rename(output)
            elif isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt("the last checkpoint is kept; repeat the command with --resume to go on from it") from None
            raise


def _open(config: FinetuneConfig, found: dict[str, Any]) -> Path | None:
    """Make the output folder appear together with what the run is, or check that the one there holds the run to go on with.

    Returns:
        Where a model that is to be replaced stands until the new one is there; None: there was none.
    """
    if config.resume:
        _require_same_run(config)
        inputs.require_unchanged(found, config.output)
        _drop_incomplete(config.output)
        return None
    outputs.require_absent(config.output, replace=config.overwrite)
    earlier = outputs.set_aside(config.output) if _is_finished(config.output) else None
    if earlier is not None:
        note(f"{config.output}: the earlier model stands in {earlier} until this run has ended")
    with outputs.atomic_folder(config.output, replace=config.overwrite, later=_ON_THE_WAY) as fresh:
        save_config(config, fresh / "config.yaml")
        inputs.write(found, fresh)
    return earlier


def require_ready(config: FinetuneConfig) -> None:
    """Refuse, before clips are read, an output that cannot be written.

    Raises:
        UsageError: it holds a run that was broken off, with which ``--resume`` goes on.
        StorageError: something else is there, or writing is denied.
    """
    outputs.recover(config.output)
    if config.resume:
        return
    if not config.overwrite and _is_broken_off(config.output):
        raise UsageError(
            f"--output {config.output}: holds a run that has not come to its end; repeat the command with --resume to go on from its last "
            f"checkpoint, or with --overwrite to begin again"
        )
    outputs.require_absent(config.output, replace=config.overwrite)


def as_begun(config: FinetuneConfig) -> FinetuneConfig:
    """With ``--resume``, what the run that goes on has found where ``--precision`` or ``--batch-seconds`` is auto."""
    path = config.output / "config.yaml"
    left = [name for name in ("precision", "batch_seconds") if getattr(config, name) == "auto"]
    if not (config.resume and left and path.is_file()):
        return config
    before = first_alone(lambda: read_recipe(path))
    return config.model_copy(update={name: before.get(name, "auto") for name in left})


def record(config: FinetuneConfig) -> None:
    """Write down what was found after the folder was made, so that ``--resume`` and ``--config`` repeat it."""
    first_alone(lambda: save_config(config, config.output / "config.yaml"))


def last_checkpoint(config: FinetuneConfig) -> str | None:
    """The newest complete checkpoint when resuming, as Trainer wants it; None to begin at the first step."""
    return first_alone(lambda: _last_checkpoint(config))


def _last_checkpoint(config: FinetuneConfig) -> str | None:
    complete = _complete_checkpoints(config.output) if config.resume else []
    if config.resume and not complete:
        note(f"{config.output}: the run ended before its first checkpoint, so it begins again")
    return str(max(complete, key=lambda path: int(path.name.rpartition("-")[2])).absolute()) if complete else None


def _complete_checkpoints(output: Path) -> list[Path]:
    return [path for path in (output / "checkpoints").glob("checkpoint-*") if _is_complete(path)]


def _is_finished(output: Path) -> bool:
    """Whether the folder holds a result, which nothing but ``--overwrite`` may delete."""
    return any((output / name).is_file() for name in _MARKERS)


def _is_broken_off(output: Path) -> bool:
    """Whether the folder holds a run of ours without a result."""
    return outputs.written(output) is not None and (output / "config.yaml").is_file() and not _is_finished(output)


def _is_complete(checkpoint: Path) -> bool:
    """Whether Trainer wrote all of it: the state comes last, and is no JSON before its last brace."""
    try:
        json_values.read(checkpoint / _LAST_FILE)
    except (OSError, ValueError):
        return False
    return True


def publish(
    trainer: SpeechTrainer, base: ModelFolder, config: FinetuneConfig, card: ModelCard, best: dict[str, float], choice: Choice | None
) -> None:
    """Write the result into the output folder: everything to a temporary folder first, then file by file, the marker last.

    Several processes must call it together; the first one writes.
    """
    weights = trainer.whole_weights()

    def save(target: Path) -> None:
        methods.save(trainer.accelerator.unwrap_model(trainer.model), base, target, weights)

    log = [entry for entry in trainer.state.log_history if "loss" in entry or scoring.logged(entry)]
    first_alone(lambda: _write(save, log, base, config, card, best, choice))


def _write(
    save: Callable[[Path], None],
    log: Sequence[dict[str, float]],
    base: ModelFolder,
    config: FinetuneConfig,
    card: ModelCard,
    best: dict[str, float],
    choice: Choice | None,
) -> None:
    output = config.output
    temporary = output / ".result.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    save(temporary)
    (temporary / "training.json").write_text(json.dumps(log, indent=1) + "\n", encoding="utf-8")
    plot_training(log, temporary / "training.png", config.metric)
    card.write(temporary)
    if not config.trains_adapter:
        complete(temporary, card.languages, card.task)
    readme = _readme(card, config, base, scoring.text(best))
    if choice is not None:
        choice.write(temporary)
        readme += choice.markdown()
    readme += markdown((card.training or {}).get("advice", ()))
    (temporary / "README.md").write_text(readme, encoding="utf-8")
    outputs.announce(output, (path.relative_to(temporary).as_posix() for path in temporary.rglob("*")))
    outputs.allow(temporary)
    for path in sorted(temporary.iterdir(), key=lambda path: path.name in _MARKERS):
        path.replace(output / path.name)
    temporary.rmdir()


def model_card(
    trainer: SpeechTrainer,
    base: ModelFolder,
    config: FinetuneConfig,
    context: Context,
    train: Sequence[Utterance],
    told: Sequence[str],
    *,
    hours: float,
    best: dict[str, float],
    choice: Choice | None,
) -> ModelCard:
    """What the model has learnt, from what and how well: the content of ``finewhisper.json``."""
    spoken = {config.language} if config.language else {utterance.language for utterance in train}
    return ModelCard(
        context=context,
        languages=tuple(sorted(language for language in spoken if language)),
        timestamps=config.timestamps > 0 and (any(utterance.sentences for utterance in train) or trainer.batches.stitches()),
        base={"path": str(base.path.absolute()), "fingerprint": base.fingerprint(), "source": base.card.source},
        training={
            "method": config.method,
            "task": config.task,
            "manifest": config.train.name,
            "manifest_sha256": sha256(config.train),
            **({"augment": config.augment.name, "augment_sha256": sha256(config.augment)} if config.augment else {}),
            "utterances": len(train),
            "hours": round(hours, 4),
            "precision": config.precision,
            "batch_seconds": config.batch_seconds,
            "steps": trainer.state.global_step,
            "kept_step": trainer.state.best_global_step or trainer.state.global_step,
            "dev": scoring.card(best, short_names(config.dev)),
            **(choice.card() if choice else {}),
            "advice": [str(advice) for advice in told],
        },
        versions=versions("torch", "transformers", "peft"),
    )


def _readme(card: ModelCard, config: FinetuneConfig, base: ModelFolder, scores: str) -> str:
    """The model card: what this is, what it was made from, how good it is and how to use it."""
    training: dict[str, Any] = dict(card.training or {})
    name = str((base.card.source or {}).get("name", base.path.name))
    languages = "".join(f"\n- {language}" for language in card.languages)
    use = (
        "finewhisper merge THIS_FOLDER -o MERGED\nfinewhisper transcribe recording.mp3 -m MERGED"
        if config.trains_adapter
        else "finewhisper transcribe recording.mp3 -m THIS_FOLDER"
    )
    kind = "LoRA adapter" if config.trains_adapter else "fully fine-tuned model"
    trimmed = (
        "It has learnt contexts shorter than 30 s as well as full windows, so engines that can may trim them to the audio."
        if card.context.trimmed
        else "It has learnt full 30 s windows only."
    )
    return f"""---
library_name: {"peft" if config.trains_adapter else "transformers"}
pipeline_tag: automatic-speech-recognition
language:{languages}
tags:
- whisper
- finewhisper
---

# {config.output.name}

A {kind} of Whisper {name}, made with finewhisper {card.versions["finewhisper"]}.

| | |
|---|---|
| training data | {training["utterances"]} utterances, {training["hours"] * 60:.1f} min |
| manifest | {training["manifest"]}, SHA-256 {training["manifest_sha256"]} |
| steps | {training["steps"]}, kept: {training["kept_step"]} |
| computed in | {config.precision} |
| development set | {f"{scores}, with 95 % intervals" if scores else "not measured"} |
| windows with times, of those whose times are known | {config.timestamps:.0%} |

{trimmed} `config.yaml` repeats the run, `training.json` and `training.png` show how it went.

```
{use}
```
"""


def _drop_incomplete(output: Path) -> None:
    shutil.rmtree(output / ".result.tmp", ignore_errors=True)
    for checkpoint in (output / "checkpoints").glob("checkpoint-*"):
        if not _is_complete(checkpoint):
            shutil.rmtree(checkpoint, ignore_errors=True)


def _require_same_run(config: FinetuneConfig) -> None:
    """Refuse to resume with other options than the run began with, or without anything to go on from."""
    path = config.output / "config.yaml"
    if not path.is_file():
        raise UsageError(f"--resume: {config.output} holds no earlier run; start without --resume")
    before = read_recipe(path)
    now = config.model_dump(mode="json")
    changed = sorted(key for key in before.keys() | now.keys() if key not in RESUMABLE and before.get(key) != now.get(key))
    if changed:
        listed = "; ".join(f"--{key.replace('_', '-')} was {before.get(key)}, now {now.get(key)}" for key in changed)
        raise UsageError(f"--resume: {listed}. Repeat the run's own options, or start a new run in another -o")
    if _is_finished(config.output) and not _complete_checkpoints(config.output):
        raise UsageError(f"--resume: {config.output} is finished and has no checkpoints left to go on from; start a new run in another -o")
