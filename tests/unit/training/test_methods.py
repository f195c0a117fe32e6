"""Every method by its effect: which weights change, how, and what comes out of the merge."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from finetuning import quick_run
from finewhisper import merging, whisper
from finewhisper.config import build
from finewhisper.errors import MissingExtraError, UnsupportedError, UsageError
from finewhisper.model import ModelFolder
from finewhisper.training import methods
from finewhisper.training.adalora import RankAllocation, add_orthogonality_gradient
from finewhisper.training.config import AdaloraOptions, FinetuneConfig
from finewhisper.training.run import run
from finewhisper.training.support import require_supported

pytestmark = pytest.mark.filterwarnings("ignore:The following rank_pattern keys")  # peft's own names, taken for wrong ones
CPU = torch.device("cpu")
#: How many linear layers the two-layer model has outside its projection: encoder 2 · 6, decoder 2 · 10.
MATRICES = 32


@pytest.fixture
def train(random_model: Path, speech_folder: Path) -> Callable[..., Path]:
    """A function that fine-tunes the random model on eight generated clips, in batches of two, and returns the result's folder."""

    def train(name: str = "result", **options: Any) -> Path:
        defaults = {"model": random_model, "train": speech_folder / "train.jsonl", "output": speech_folder / name}
        defaults |= {"batch_size": 2, "epochs": 3, "full_window_share": 0.0, "device": "cpu", "tracker": "none"}
        defaults |= {"lora": {"rank": 4, "alpha": 8}, "learning_rate": 1e-2, "precision": "float32"}
        return run(build(FinetuneConfig, defaults | options)).output

    return train


def fallen(output: Path) -> bool:
    """Whether the loss ended well below its beginning."""
    measured = losses(output)
    return measured[-1] < measured[0] - 0.3


def losses(output: Path) -> list[float]:
    return [entry["loss"] for entry in json.loads((output / "training.json").read_text()) if "loss" in entry]


@torch.inference_mode()
def logits(model: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 80, 200, generator=generator)
    tokens = torch.randint(0, 50_000, (2, 6), generator=generator)
    result: torch.Tensor = model.eval()(input_features=features, decoder_input_ids=tokens).logits
    return result


def adapted(base: Path, adapter: Path) -> PeftModel:
    return PeftModel.from_pretrained(whisper.load(ModelFolder.open(base)), str(adapter))


def merged(adapter: Path) -> tuple[whisper.LengthAwareWhisper, int]:
    result = merging.run(merging.MergeConfig(models=(adapter,), output=adapter.with_name("merged")))
    return whisper.load(ModelFolder.open(result.output)), result.matrices


VARIANTS = {
    "lora": {},
    "rslora": {"lora": {"rank": 4, "alpha": 8, "rslora": True}},
    "dora": {"lora": {"rank": 4, "alpha": 8, "dora": True}},
    "adalora": {"method": "adalora", "lora": {"rank": 3, "alpha": 8}, "epochs": 5},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_merged_model_says_what_the_adapter_says(variant: str, train: Callable[..., Path], random_model: Path) -> None:
    adapter = train(**VARIANTS[variant])
    model, matrices = merged(adapter)
    said = logits(adapted(random_model, adapter))
    torch.testing.assert_close(logits(model), said, atol=1e-5, rtol=1e-5)
    assert (said - logits(whisper.load(ModelFolder.open(random_model)))).abs().max() > 1e-2, "it has learnt something"
    before, after = load_file(random_model / "model.safetensors"), load_file(adapter.with_name("merged") / "model.safetensors")
    assert matrices == sum(not torch.equal(before[name], after[name]) for name in before)


def test_rslora_scales_by_the_root_of_the_rank(train: Callable[..., Path], random_model: Path) -> None:
    layer = adapted(random_model, train(**VARIANTS["rslora"], max_steps=1)).base_model.model.model.encoder.layers[0].fc1
    assert layer.scaling["default"] == pytest.approx(8 / 4**0.5)


def test_dora_learns_the_length_of_each_row(train: Callable[..., Path], random_model: Path) -> None:
    weights = load_file(train(**VARIANTS["dora"]) / "adapter_model.safetensors")
    base = load_file(random_model / "model.safetensors")
    lengths = {name: weight for name, weight in weights.items() if "lora_magnitude_vector" in name}
    assert len(lengths) == MATRICES
    for name, length in lengths.items():
        matrix = base[name.removeprefix("base_model.model.").replace("lora_magnitude_vector", "weight")]
        assert not torch.allclose(length, matrix.norm(dim=1), atol=1e-4)


def test_only_the_named_layers_get_an_adapter(train: Callable[..., Path]) -> None:
    adapter = train(lora={"rank": 4, "alpha": 8, "targets": ["encoder_attn.q_proj", "fc2"]}, max_steps=1)
    layers = {name.partition(".lora_")[0].rpartition("layers.")[2] for name in load_file(adapter / "adapter_model.safetensors")}
    assert layers == {f"{layer}.{name}" for layer in (0, 1) for name in ("encoder_attn.q_proj", "fc2")}


def test_one_wrong_layer_among_right_ones_is_refused(train: Callable[..., Path]) -> None:
    """peft passes over a name that fits nothing as long as another one does."""
    with pytest.raises(UsageError, match=r"--lora\.targets gate_proj: .* fc1, fc2, k_proj"):
        train(lora={"targets": ["q_proj", "gate_proj"]})


def ranks(adapter: Path) -> list[int]:
    return [sum(kept) for kept in json.loads((adapter / "adapter_config.json").read_text())["rank_pattern"].values()]


def test_adalora_ends_with_unequal_ranks_that_add_up_to_the_budget(train: Callable[..., Path]) -> None:
    """Upstream never called the allocator and counted samples instead of steps, so that every matrix kept its first rank."""
    adapter = train(**VARIANTS["adalora"])
    found = ranks(adapter)
    assert len(found) == MATRICES
    assert sum(found) == 3 * MATRICES
    assert len(set(found)) > 1
    weights = load_file(adapter / "adapter_model.safetensors")
    stored = [len(weight) for name, weight in weights.items() if name.endswith("lora_A")]
    assert sorted(stored) == sorted(found), "the file holds nothing but the ranks that are left"


def test_adalora_counts_optimizer_steps(train: Callable[..., Path]) -> None:
    """The budget is reached at the last step even if nothing is held back for the end and batches are accumulated."""
    options = VARIANTS["adalora"] | {"adalora": {"final_share": 0.0, "initial_rank": 6}, "accumulate": 2}
    assert sum(ranks(train(**options))) == 3 * MATRICES


class PowerCut(TrainerCallback):
    """Ends the training in the middle of a step and of an epoch."""

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == 11:
            raise ConnectionAbortedError


@pytest.mark.parametrize(
    "options", [VARIANTS["adalora"], {"quantize": "8bit", "optimizer": "adamw-8bit", "epochs": 5}], ids=["adalora", "8bit"]
)
def test_a_run_resumes_as_if_nothing_had_happened(train: Callable[..., Path], options: dict[str, Any]) -> None:
    """AdaLoRA's importance of each direction is a mean over all steps, and 8-bit Adam's moments are quantised: both must be kept."""
    if "quantize" in options:
        pytest.importorskip("bitsandbytes", reason="8-bit weights and 8-bit Adam are bitsandbytes'")
    whole = train("whole", **options)
    callbacks = methods.callbacks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods, "callbacks", lambda *arguments: [*callbacks(*arguments), PowerCut()])
        with pytest.raises(ConnectionAbortedError):
            train("stopped", **options)
    stopped = train("stopped", **options, resume=True)
    one, two = load_file(whole / "adapter_model.safetensors"), load_file(stopped / "adapter_model.safetensors")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_step_that_float16_skipped_spoils_no_importance(random_model: Path) -> None:
    model = get_peft_model(whisper.load(ModelFolder.open(random_model)), AdaLoraConfig(total_step=1, target_modules=["fc1"]))
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad])
    allocation = RankAllocation(model, AdaloraOptions())
    arguments = TrainingArguments(use_cpu=True, report_to="none")
    state = TrainerState(max_steps=10)
    allocation.on_train_begin(arguments, state, TrainerControl(), optimizer=optimizer)
    for skipped in (True, False):
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, torch.inf if skipped else 1.0)
        optimizer.step_was_skipped = skipped  # as accelerate says it
        allocation.on_optimizer_step(arguments, state, TrainerControl(), optimizer=optimizer)
    kept = [statistics["sensitivity"] for statistics in optimizer.state.values()]
    assert kept
    assert all(torch.isfinite(sensitivity).all() for sensitivity in kept)
    assert any(sensitivity.any() for sensitivity in kept)


def test_the_best_checkpoint_of_adalora_may_have_other_ranks_than_the_last(train: Callable[..., Path], speech_folder: Path) -> None:
    """peft's checkpoints are cut to their ranks, and one from the middle would not fit the model at the end."""
    dev = speech_folder / "dev.jsonl"
    dev.write_text(dev.read_text().splitlines()[0])
    output = train(**VARIANTS["adalora"] | {"adalora": {"final_share": 0.0, "hold_share": 0.0}, "dev": dev, "epochs": 2})
    card = json.loads((output / "finewhisper.json").read_text())["training"]
    assert card["kept_step"] < card["steps"], "random weights are no worse after the first epoch than after the last"
    assert sum(ranks(output)) > 3 * MATRICES
    merged(output)


def test_the_pull_towards_orthogonal_directions_is_the_gradient_of_pefts(random_model: Path) -> None:
    model = get_peft_model(whisper.load(ModelFolder.open(random_model)), AdaLoraConfig(total_step=1, target_modules=["fc1", "q_proj"]))
    penalty, count = torch.zeros(()), 0
    for name, weight in model.named_parameters():
        if ".lora_A." in name or ".lora_B." in name:
            product = weight @ weight.T if ".lora_A." in name else weight.T @ weight
            penalty, count = penalty + torch.norm(product - torch.eye(len(product)), p="fro"), count + 1
    (0.5 * penalty / count).backward()
    expected = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    add_orthogonality_gradient(model, 0.5)
    for name, gradient in expected.items():
        torch.testing.assert_close(model.get_parameter(name).grad, gradient)


@pytest.mark.parametrize(
    ("freeze", "frozen"),
    [
        (["encoder"], ["model.encoder."]),
        (["encoder.layers.0-0", "model.encoder.conv1"], ["model.encoder.layers.0.", "model.encoder.conv1."]),
        (["decoder.embed_tokens", "decoder.layers.1.fc1"], ["model.decoder.embed_tokens.", "model.decoder.layers.1.fc1."]),
    ],
)
def test_frozen_parts_are_the_same_to_the_bit_and_all_others_learn(
    train: Callable[..., Path], random_model: Path, freeze: list[str], frozen: list[str]
) -> None:
    after = load_file(train(method="full", freeze=freeze, max_steps=4) / "model.safetensors")
    before = load_file(random_model / "model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    expected = {name for name in before if name.startswith(tuple(frozen)) or name == "model.encoder.embed_positions.weight"}
    assert same == expected


def test_a_frozen_encoder_costs_no_backward_pass(random_model: Path, train: Callable[..., Path]) -> None:
    for options in ({"method": "full"}, {"method": "lora"}, {"method": "lora", "gradient_checkpointing": True}):
        values = {"model": random_model, "train": "t", "output": "o", "freeze": ("encoder",)} | options
        base = whisper.load(ModelFolder.open(random_model)).train()
        methods.adapt(base, build(FinetuneConfig, values))
        assert not base.model.encoder(torch.randn(1, 80, 100)).last_hidden_state.requires_grad


def test_no_adapter_grows_in_a_frozen_part(train: Callable[..., Path]) -> None:
    names = set(load_file(train(freeze=["encoder", "decoder.layers.0"], max_steps=1) / "adapter_model.safetensors"))
    assert names
    assert all(".decoder.layers.1." in name for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"freeze": ["encodr"]}, "--freeze encodr: .* did you mean encoder"),
        ({"freeze": ["encoder.layers.2-5"]}, r"--freeze encoder\.layers\.2-5: the model has no such part"),
        ({"method": "full", "freeze": ["encoder", "decoder", "proj_out"]}, "--freeze: nothing is left"),
        ({"freeze": ["encoder", "decoder"]}, "--lora.targets .* outside --freeze encoder decoder"),
        ({"method": "full", "quantize": "4bit"}, "--quantize 4bit"),
        ({"method": "adalora", "lora": {"dora": True}}, r"--lora\.dora"),
        ({"method": "adalora", "adalora": {"initial_rank": 4}}, r"--adalora\.initial-rank 4"),
        ({"method": "adalora", "adalora": {"hold_share": 0.6, "final_share": 0.4}}, r"--adalora\.hold-share"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_written(
    train: Callable[..., Path], speech_folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train(**options)
    assert not (speech_folder / "result").exists()


@pytest.mark.parametrize("options", [{}, {"method": "full", "learning_rate": 3e-3}], ids=["lora", "full"])
def test_bfloat16_learns_and_keeps_what_learns_in_float32(train: Callable[..., Path], random_model: Path, options: dict[str, Any]) -> None:
    output = train(precision="bfloat16", **options)
    assert fallen(output)
    weights = load_file(output / ("model.safetensors" if options.get("method") == "full" else "adapter_model.safetensors"))
    assert {weight.dtype for weight in weights.values()} == {torch.float32}


def test_the_base_below_an_adapter_is_held_in_the_compute_precision(random_model: Path) -> None:
    """peft's preparation for quantised bases, used on others, made the base float32: LoRA then needed more memory than full training."""
    values = {"model": random_model, "train": "t", "output": "o", "precision": "bfloat16"}
    for method, held, learning in (("lora", torch.bfloat16, torch.float32), ("full", torch.float32, torch.float32)):
        config = build(FinetuneConfig, values | {"method": method})
        model = methods.adapt(methods.load_base(ModelFolder.open(random_model), config, CPU), config)
        assert {weight.dtype for weight in model.parameters() if weight.requires_grad} == {learning}
        assert model.get_parameter(next(name for name, _ in model.named_parameters() if "fc1" in name)).dtype == held


def test_float16_needs_a_gpu(train: Callable[..., Path], speech_folder: Path) -> None:
    with pytest.raises(UnsupportedError, match="--precision float16: needs a GPU"):
        train(precision="float16")
    assert not (speech_folder / "result").exists()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_gradient_checkpointing_changes_no_loss(train: Callable[..., Path], method: str) -> None:
    plain, saving = (train(str(on), method=method, gradient_checkpointing=on, max_steps=6) for on in (False, True))
    assert losses(saving) == pytest.approx(losses(plain), abs=1e-6)


def test_gradient_checkpointing_computes_every_layer_again(random_model: Path) -> None:
    def calls(checkpointing: bool) -> list[int]:
        values = {"model": random_model, "train": "t", "output": "o", "gradient_checkpointing": checkpointing}
        base = whisper.load(ModelFolder.open(random_model)).train()
        model = methods.adapt(base, build(FinetuneConfig, values))
        layers = [*base.model.encoder.layers, *base.model.decoder.layers]
        counts = [0] * len(layers)
        for index, layer in enumerate(layers):
            layer.final_layer_norm.register_forward_hook(lambda *_, index=index: counts.__setitem__(index, counts[index] + 1))
        tokens = torch.zeros(1, 4, dtype=torch.long)
        model(input_features=torch.randn(1, 80, 100), decoder_input_ids=tokens, labels=tokens).loss.backward()
        return counts

    assert calls(checkpointing=False) == [1, 1, 1, 1]
    assert calls(checkpointing=True) == [2, 2, 2, 2]


def test_compiled_layers_say_the_same_and_serve_every_length(random_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "COMPILER", "aot_eager")  # all of it but the C++, which takes a minute
    torch._dynamo.reset()

    def losses(compiled: bool) -> list[float]:
        torch.manual_seed(0)
        values = {"model": random_model, "train": "t", "output": "o", "compile": compiled, "lora": {"targets": ["q_proj"]}}
        model = methods.adapt(whisper.load(ModelFolder.open(random_model)).train(), build(FinetuneConfig, values))
        found = []
        for clips, frames in ((2, 100), (3, 150), (5, 300), (4, 200)):
            tokens = torch.randint(0, 50_000, (clips, frames // 20))
            loss = model(input_features=torch.randn(clips, 80, frames), decoder_input_ids=tokens, labels=tokens).loss
            loss.backward()
            found += [loss.item(), *(weight.grad.norm().item() for weight in model.parameters() if weight.grad is not None)]
        return found

    plain = losses(False)
    torch._dynamo.utils.counters.clear()
    assert losses(True) == pytest.approx(plain, rel=1e-4, abs=1e-6)
    assert 0 < torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 6, "two kinds of layers, not four layers of four lengths"


def test_without_a_compiler_compiling_is_refused(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config

    torch._dynamo.reset()
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", (None, "no-such-compiler"))
    with pytest.raises(UnsupportedError, match=r"--compile: needs a C[+][+] compiler .*no-such-compiler"):
        train(compile=True)


@pytest.mark.parametrize("optimizer", ["adamw-8bit", "adafactor"])
def test_other_optimizers_learn(train: Callable[..., Path], optimizer: str) -> None:
    if optimizer == "adamw-8bit":
        pytest.importorskip("bitsandbytes", reason="8-bit Adam is bitsandbytes'")
    output = train(method="full", optimizer=optimizer, learning_rate=3e-3)
    assert fallen(output)
    if optimizer == "adamw-8bit":
        checkpoint = max((output / "checkpoints").iterdir(), key=lambda path: path.stat().st_mtime)
        states = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"].values()
        moments = [state["__bnb_optimizer_quant_state__"]["state1"] for state in states if "__bnb_optimizer_quant_state__" in state]
        large = [moment for moment in moments if moment.numel() >= 4096]
        assert len(large) >= MATRICES
        assert sum(moment.dtype == torch.uint8 for moment in large) >= MATRICES, "all but the embeddings, which need more precision"


@pytest.mark.parametrize(
    ("bits", "options"), [("8bit", {}), ("4bit", {"method": "adalora", "learning_rate": 5e-2})], ids=["8bit-lora", "4bit-adalora"]
)
def test_a_quantised_base_is_learnt_on_and_the_adapter_merges_into_the_whole_one(
    train: Callable[..., Path], random_model: Path, bits: str, options: dict[str, Any]
) -> None:
    pytest.importorskip("bitsandbytes", reason="quantisation is bitsandbytes'")
    adapter = train(quantize=bits, **options)
    assert fallen(adapter)
    model, matrices = merged(adapter)
    assert matrices == sum(rank > 0 for rank in ranks(adapter)) if options else MATRICES
    torch.testing.assert_close(logits(model), logits(adapted(random_model, adapter)), atol=1e-5, rtol=1e-5)


def test_a_quantised_base_is_small(base_model: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="quantisation is bitsandbytes'")
    folder = ModelFolder.open(base_model)

    def megabytes(bits: str) -> float:
        config = build(FinetuneConfig, {"model": base_model, "train": "t", "output": "o", "quantize": bits, "precision": "bfloat16"})
        layers = methods.load_base(folder, config, CPU).model.encoder.layers
        return sum(weight.numel() * weight.element_size() for weight in layers.parameters()) / 1e6

    whole = megabytes("none")
    assert megabytes("8bit") < 0.55 * whole
    assert megabytes("4bit") < 0.30 * whole


def test_what_bitsandbytes_cannot_do_here_is_said_at_once(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="there must be a bitsandbytes to fail")

    def broken(*_: Any, **__: Any) -> None:
        raise NotImplementedError("no kernel")

    monkeypatch.setattr(bitsandbytes.nn, "Linear4bit", broken)
    with pytest.raises(UnsupportedError, match="--quantize 4bit: does not work on cpu"):
        train(quantize="4bit")


@pytest.mark.parametrize("options", [{"quantize": "8bit"}, {"optimizer": "adamw-8bit"}])
def test_without_bitsandbytes_the_extra_is_named(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[quant\]"):
        require_supported(build(FinetuneConfig, {"model": "m", "train": "t", "output": "o"} | options), CPU)


def test_larger_models_get_smaller_learning_rates() -> None:
    rates = [methods.default_learning_rate("lora", width) for width in (384, 512, 768, 1024, 1280)]
    assert rates == sorted(rates, reverse=True)
    assert methods.default_learning_rate("lora", 512) == pytest.approx(5e-4)
    assert methods.default_learning_rate("full", 512) == pytest.approx(2.5e-5)


def test_adalora_needs_more_than_one_step(random_model: Path, speech_folder: Path) -> None:
    """peft ended with a KeyError: ranks were to be taken away by an importance that no step had told."""
    options = quick_run(speech_folder, random_model, method="adalora", max_steps=1)
    with pytest.raises(UsageError, match=r"--method adalora: of 1 steps none is left .* --max-steps"):
        run(options)
    assert run(options.model_copy(update={"max_steps": 2, "overwrite": True})).output.is_dir()
