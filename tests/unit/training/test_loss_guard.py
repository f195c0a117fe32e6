"""A training that goes wrong stops while its weights are good, and names the lines of the manifest that it was fed."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import TrainerCallback

from finetuning import exhaust_memory, long_clips, quick_run
from finewhisper.conversion.verify import generated_clip
from finewhisper.errors import ManifestError, TrainingError
from finewhisper.training.dataset import Example, SpeechDataset
from finewhisper.training.loss_guard import Losses, is_out_of_memory
from finewhisper.training.run import run
from finewhisper.training.trainer import SpeechTrainer


class Weights(TrainerCallback):
    """Keeps whether all weights were numbers after each step, and may damage them before one."""

    def __init__(self, damage_at: int | None = None) -> None:
        self.finite, self.damage_at = list[bool](), damage_at

    def on_step_begin(self, args: Any, state: Any, control: Any, model: torch.nn.Module, **_: Any) -> None:
        self.finite.append(all(bool(torch.isfinite(weight).all()) for weight in model.parameters()))
        if state.global_step == self.damage_at:
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if name.endswith("decoder.layer_norm.weight"):
                        weight.mul_(-40)


def poison(monkeypatch: pytest.MonkeyPatch, row: int) -> None:
    """Make one utterance's samples no numbers; a file with such samples is refused when it is read."""
    whole = SpeechDataset.__getitem__

    def item(self: SpeechDataset, window: Any) -> Example:
        example = whole(self, window)
        return example._replace(waveform=example.waveform * float("nan")) if row in window.rows else example

    monkeypatch.setattr(SpeechDataset, "__getitem__", item)


def test_a_loss_that_is_no_number_names_its_one_utterance(random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, 5)
    with pytest.raises(TrainingError, match=r"step \d: the loss is nan\. Training stopped before") as caught:
        run(quick_run(speech_folder, random_model))
    (line,) = caught.value.problems
    assert line.startswith(f"{speech_folder / 'train.jsonl'}:6: {speech_folder / 'audio' / 'clip5.wav'} (1.9 s), 'the tone number 5'")
    assert "loss nan" in line
    assert "there was no checkpoint yet" in str(caught.value)
    assert not (speech_folder / "result").exists()


def test_it_stops_before_the_step_that_would_spoil_the_weights_and_keeps_the_checkpoint(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = Weights()
    step = SpeechTrainer.training_step

    def third_gradient_is_endless(self: SpeechTrainer, *arguments: Any) -> torch.Tensor:
        loss = step(self, *arguments)
        if self.state.global_step == 2:
            next(weight for weight in self.model.parameters() if weight.grad is not None).grad.fill_(float("inf"))
        return loss

    monkeypatch.setattr(SpeechTrainer, "training_step", third_gradient_is_endless)
    with pytest.raises(TrainingError, match=r"step 3: the loss is \d+\.\d+, but its gradient (inf|nan)") as caught:
        run(quick_run(speech_folder, random_model, method="full"), [weights])
    assert all(weights.finite)
    assert "the checkpoint of step 2 is kept" in str(caught.value)
    assert (speech_folder / "result" / "checkpoints" / "checkpoint-2" / "model.safetensors").is_file()


def test_an_absurd_learning_rate_is_what_the_message_names(random_model: Path, speech_folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"Lower --learning-rate \(now 1e\+30\)") as caught:
        run(quick_run(speech_folder, random_model, method="full", learning_rate=1e30, warmup_share=0))
    assert len(caught.value.problems) == 4, "all utterances of the step, for it is none of them"
    assert all(re.match(rf"{re.escape(str(speech_folder))}/train\.jsonl:\d+: ", line) for line in caught.value.problems)


def test_a_loss_that_jumps_and_stays_up_stops_the_run(random_model: Path, speech_folder: Path) -> None:
    options = quick_run(speech_folder, random_model, method="full", epochs=12, learning_rate=3e-3)
    with pytest.raises(TrainingError, match=r"step 17: .* above .* for 5 steps in a row") as caught:
        run(options, [Weights(damage_at=12)])
    assert len(caught.value.problems) == 4
    losses = [float(line.rpartition("loss ")[2]) for line in caught.value.problems]
    assert losses == sorted(losses, reverse=True), "the worst first"


def noisy(level: float, steps: int, rng: random.Random) -> list[float]:
    """Losses as unsteady as those of batches of few, unlike utterances."""
    return [level * rng.lognormvariate(0, 0.4) for _ in range(steps)]


def test_unsteady_losses_are_no_divergence() -> None:
    for seed in range(20):
        losses = Losses()
        falling = [loss for level in (3.0, 1.5, 0.7, 0.3, 0.1) for loss in noisy(level, 200, random.Random(seed))]
        assert max(map(losses.add, falling)) < Losses.IN_A_ROW


def test_a_single_bad_batch_is_no_divergence_but_five_are() -> None:
    losses = Losses()
    assert [losses.add(loss) for loss in [1.0] * 20 + [9.0] + [1.0] * 5 + [9.0] * 5][-5:] == [1, 2, 3, 4, 5]


def test_memory_that_runs_out_names_the_batch_and_the_flag(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exhaust_memory(monkeypatch)
    with pytest.raises(
        TrainingError, match=r"step 1: memory ran out on a batch of 4 windows of \d\.\d s; lower --batch-size to 2 \(now 4\)"
    ) as caught:
        run(quick_run(speech_folder, random_model))
    assert len(caught.value.problems) == 4


def test_where_a_shorter_batch_helps_its_seconds_are_named(
    random_model: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exhaust_memory(monkeypatch, at_frames=6000)
    with pytest.raises(TrainingError, match=r"4 windows of 25\.5 s; lower --batch-seconds to 51 \(now 120\.0\)") as caught:
        run(quick_run(long_clips(speech_folder, 4, 25.0), random_model, gradient_checkpointing=True))
    assert "--gradient-checkpointing" not in str(caught.value), "it is on"


def test_only_errors_of_memory_are_taken_for_such() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"))


def test_no_speech_lines_of_the_users_file_are_counted_by_the_loss(random_model: Path, speech_folder: Path) -> None:
    """Upstream dropped every line whose sentence is empty, so its advertised no-speech training trained on none."""
    rows = [json.loads(line) for line in (speech_folder / "train.jsonl").read_text().splitlines()]
    rows[3] |= {"sentence": ""}
    (speech_folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    batches = list[dict[str, Any]]()

    class Watch(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **_: Any) -> None:
            batches.extend(train_dataloader if state.global_step == 0 else [])

    run(quick_run(speech_folder, random_model, max_steps=1, full_window_share=0.5), [Watch()])
    silent = [
        labels[labels != -100].tolist()
        for batch in batches
        for labels, members in zip(batch["labels"], batch["rows"], strict=True)
        if members == (3,)
    ]
    assert silent == [[50362, 50257]], "it is taught <|nospeech|> and <|endoftext|>, and both reach the loss"


@pytest.mark.parametrize("words", [440, 443])
def test_overlong_labels_are_counted_with_their_times_and_listed(random_model: Path, speech_folder: Path, words: int) -> None:
    """444 words are as many tokens, which fit with the prompt alone; the times of two sentences add four."""
    rows = [json.loads(line) for line in (speech_folder / "train.jsonl").read_text().splitlines()]
    half = " ".join(["word"] * (words // 2))
    rest = " ".join(["word"] * (words - words // 2))
    timed = [{"start": 0.0, "end": 14.0, "text": half}, {"start": 14.0, "end": 28.0, "text": rest}]
    soundfile.write(speech_folder / "long.wav", np.resize(generated_clip().waveform, 28 * 16_000), 16_000)
    rows[0] |= {"audio": "long.wav", "duration": 28.0, "sentence": f"{half} {rest}", "sentences": timed}
    (speech_folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ManifestError, match=r"train\.jsonl:1: .* \d+ tokens"):
        run(quick_run(speech_folder, random_model, timestamps=1.0, max_steps=1))
    if words == 440:
        assert run(quick_run(speech_folder, random_model, timestamps=0.0, previous_text=1.0, max_steps=1)).steps == 1
