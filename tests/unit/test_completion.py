"""Model folders as others leave them: what can be derived is derived, nothing is written into them, nothing unsafe is read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from finewhisper import whisper
from finewhisper.conversion.config import ConvertConfig
from finewhisper.conversion.run import run as convert
from finewhisper.engines import load_engine
from finewhisper.errors import ModelError
from finewhisper.generation import known_alignment_heads
from finewhisper.model import ModelFolder
from finewhisper.transcript import DecodeOptions
from finewhisper.vocabulary import Vocabulary

OLD_TUTORIAL = ("vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "tokenizer_config.json", "normalizer.json")


@pytest.fixture
def copy(random_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    shutil.copytree(random_model, folder)
    (folder / "finewhisper.json").unlink()
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def of_transformers_5(folder: Path) -> None:
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({"feature_extractor": extractor, "processor_class": "WhisperProcessor"}))
    for name in ("preprocessor_config.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json", "normalizer.json"):
        (folder / name).unlink()


def of_the_old_tutorial(folder: Path) -> None:
    pickled(folder)
    (folder / "tokenizer.json").unlink()
    edit(folder / "tokenizer_config.json", lambda content: content.pop("added_tokens_decoder"))
    old_configuration(folder)


def newer_slow_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "added_tokens.json"):
        (folder / name).unlink()


def vocabulary_alone(folder: Path) -> None:
    for name in (*OLD_TUTORIAL[1:], "tokenizer.json"):
        (folder / name).unlink()


def old_configuration(folder: Path) -> None:
    """As transformers 4.25 wrote it: no generation configuration, and forced tokens in the other."""
    (folder / "generation_config.json").unlink()
    edit(folder / "config.json", lambda content: content.update(forced_decoder_ids=[[1, 50259], [2, 50359]], suppress_tokens=[1, 2]))


def outdated_generation(folder: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        for key in ("lang_to_id", "task_to_id", "no_timestamps_token_id", "alignment_heads"):
            del content[key]
        content["forced_decoder_ids"] = [[1, None], [2, 50359]]

    edit(folder / "generation_config.json", change)


def pickled(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def pickled_in_parts(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {f"pytorch_model-0000{part + 1}-of-00002.bin": names[part::2] for part in range(2)}
    for file, members in parts.items():
        torch.save({name: weights[name] for name in members}, folder / file)
    index = {"weight_map": {name: file for file, members in parts.items() for name in members}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    (folder / "model.safetensors").unlink()


def renamed(new: Callable[[str], str]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        save_file({new(name): weight for name, weight in weights.items()}, folder / "model.safetensors", {"format": "pt"})

    return change


FORMS = {
    "transformers 5": of_transformers_5,
    "the old tutorial": of_the_old_tutorial,
    "a newer slow tokenizer": newer_slow_tokenizer,
    "vocab.json alone": vocabulary_alone,
    "no generation configuration": old_configuration,
    "an outdated generation configuration": outdated_generation,
    "a pickle": pickled,
    "a pickle in parts": pickled_in_parts,
    "DistributedDataParallel": renamed(lambda name: f"module.{name}"),
    "torch.compile": renamed(lambda name: f"_orig_mod.{name}"),
    "both": renamed(lambda name: f"module._orig_mod.{name}"),
    "compiled layers": renamed(lambda name: name.replace(".fc1.", "._orig_mod.fc1.")),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_folder_of_others_is_read_like_a_whole_one_and_stays_as_it_is(form: str, copy: Path, random_model: Path) -> None:
    FORMS[form](copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    folder, original = ModelFolder.open(copy, "transformers"), ModelFolder.open(random_model)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
    assert folder.path == copy
    theirs, ours = whisper.load(folder).state_dict(), whisper.load(original).state_dict()
    assert all(torch.equal(theirs[name], ours[name]) for name in ours)
    assert Vocabulary.load(folder.files).encode(" Здравей, world!") == Vocabulary.load(random_model).encode(" Здравей, world!")
    assert folder.generation["lang_to_id"] == original.generation["lang_to_id"]
    assert folder.generation["no_timestamps_token_id"] == original.generation["no_timestamps_token_id"]
    assert "forced_decoder_ids" not in folder.generation
    assert json.loads((folder.files / "preprocessor_config.json").read_text())["feature_size"] == 80
    assert ModelFolder.open(copy).files == folder.files, "is not made twice"
    assert ModelFolder.open(copy).fingerprint() == folder.fingerprint()


def test_a_changed_folder_is_completed_anew(copy: Path) -> None:
    of_transformers_5(copy)
    edit(copy / "processor_config.json", lambda content: content["feature_extractor"].update(feature_size=80, n_fft=400))
    before = ModelFolder.open(copy).files
    edit(copy / "processor_config.json", lambda content: content["feature_extractor"].update(dither=0.5))
    after = ModelFolder.open(copy).files
    assert after != before
    assert json.loads((after / "preprocessor_config.json").read_text())["dither"] == 0.5


@pytest.mark.parametrize("kind", ["ctranslate2", "ggml", "onnx"])
def test_what_is_converted_from_a_folder_of_others_is_whole(kind: Any, copy: Path, tmp_path: Path) -> None:
    of_the_old_tutorial(copy)
    target = tmp_path / kind
    convert(ConvertConfig(source=copy, target=target, to=kind, verify=False))
    assert ModelFolder.open(target).files == target


@pytest.mark.parametrize("kept", ["vocabulary.json", "vocabulary.txt"])
def test_a_plain_ctranslate2_folder_is_run_without_a_tokenizer(kept: str, random_model: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    convert(ConvertConfig(source=random_model, target=whole, to="ctranslate2", verify=False))
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in ("model.bin", "config.json", "vocabulary.json"):
        shutil.copyfile(whole / name, plain / name)
    if kept.endswith(".txt"):
        (plain / kept).write_text("\n".join(json.loads((plain / "vocabulary.json").read_text())) + "\n", encoding="utf-8")
        (plain / "vocabulary.json").unlink()
    sound, options = torch.sin(torch.arange(32_000) / 10).numpy(), DecodeOptions(language="bg")
    found, expected = (load_engine(ModelFolder.open(folder)).transcribe([sound], options) for folder in (plain, whole))
    assert found == expected
    assert sorted(path.name for path in plain.iterdir()) == sorted(["model.bin", "config.json", kept])


def test_a_checkpoint_of_trainer_takes_the_tokenizer_of_its_run(copy: Path, tmp_path: Path) -> None:
    checkpoint = copy / "checkpoint-100"
    checkpoint.mkdir()
    for name in ("config.json", "generation_config.json", "preprocessor_config.json", "model.safetensors"):
        shutil.copyfile(copy / name, checkpoint / name)
    assert Vocabulary.load(ModelFolder.open(checkpoint).files).size == 51865


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("was-run"),)


@pytest.mark.parametrize("content", [Evil(), {"model.proj": Evil()}, [1, 2], {"model.proj": "text"}, {}])
def test_a_pickle_that_is_more_than_weights_is_refused_and_not_run(
    content: Any, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (copy / "model.safetensors").unlink()
    torch.save(content, copy / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: .*save it again"):
        ModelFolder.open(copy)
    assert not (tmp_path / "was-run").exists()


def test_a_missing_part_of_a_pickle_is_named(copy: Path) -> None:
    pickled_in_parts(copy)
    (copy / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(ModelError, match=r"pytorch_model-00002-of-00002\.bin named by pytorch_model\.bin\.index\.json is missing"):
        ModelFolder.open(copy)


def test_a_tokenizer_that_cannot_be_derived_is_asked_for(copy: Path) -> None:
    for name in (*OLD_TUTORIAL, "tokenizer.json"):
        (copy / name).unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        ModelFolder.open(copy)


@pytest.mark.parametrize("kind", ["ctranslate2", "ggml", "onnx"])
def test_weights_that_are_not_there_are_never_made_up(kind: Any, copy: Path, tmp_path: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["model.decoder.layers.1.fc1.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"model\.decoder\.layers\.1\.fc1\.weight"):
        convert(ConvertConfig(source=copy, target=tmp_path / "copy", to=kind, verify=False))
    assert not (tmp_path / "copy").exists()


@pytest.mark.real
def test_heads_that_tell_times_are_those_of_openai_s_model_of_the_same_size(base_ct2_model: Path, tiny_en_ct2_model: Path) -> None:
    names = ("vocab_size", "d_model", "encoder_layers", "decoder_layers", "decoder_attention_heads")
    for folder, sizes in ((base_ct2_model, (51865, 512, 6, 6, 8)), (tiny_en_ct2_model, (51864, 384, 4, 4, 6))):
        stored = json.loads((folder / "config.json").read_text())["alignment_heads"]
        assert known_alignment_heads(None, dict(zip(names, sizes, strict=True))) == stored
    large = {"vocab_size": 51865, "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "decoder_attention_heads": 20}
    assert len(known_alignment_heads(None, large)) == 16 * 20, "large-v1 and large-v2 cannot be told apart"
