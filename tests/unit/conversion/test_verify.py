"""A comparison that lets nothing through: spoilt weights, a spoilt tokenizer, a NaN."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from finewhisper.conversion import to_ctranslate2, verify
from finewhisper.conversion.verify import Agreement, Comparison
from finewhisper.conversion.weights import largest_error
from finewhisper.engines import Engine, load_engine
from finewhisper.engines.base import Features
from finewhisper.engines.ct2 import CTranslate2Engine
from finewhisper.errors import ModelError, UnsupportedError
from finewhisper.formats import FORMATS
from finewhisper.model import ModelFolder
from finewhisper.scoring.rates import ErrorRate

SAME = Comparison("a", full_error=1e-6, cut_error=1e-6, tokens=10, token_errors=0, judged=True)


#: Through an engine that shows no encoder.
UNSEEN = replace(SAME, full_error=None, cut_error=None)


def wrong(words: int, of: int = 100) -> ErrorRate:
    """So many wrong words."""
    return ErrorRate("word", substitutions=words, reference_units=of)


def agreement(*clips: Comparison, weight_error: float | None = 0.0, quantization: str = "float32") -> Agreement:
    return Agreement(weight_error, clips, verify.bound(quantization))


@pytest.mark.parametrize(
    ("found", "good"),
    [
        (agreement(SAME), True),
        (agreement(SAME, weight_error=1e-9), False),
        (agreement(SAME, weight_error=1e-3, quantization="int8_float16"), True),
        (agreement(SAME, replace(SAME, full_error=1e-3)), False),
        (agreement(SAME, replace(SAME, cut_error=1e-3)), False),
        (agreement(SAME, replace(SAME, cut_error=1e-3), quantization="float16"), True),
        (agreement(replace(SAME, full_error=float("nan"))), False),
        (agreement(SAME, weight_error=float("inf")), False),
        (agreement(SAME, replace(SAME, token_errors=1)), False),
        (agreement(SAME, replace(SAME, token_errors=10), quantization="int8"), True),
        (agreement(SAME, replace(SAME, token_errors=10, tokens=11), quantization="int8"), True),
        (agreement(SAME, replace(SAME, token_errors=12, tokens=12), quantization="int8"), False),
        (agreement(replace(SAME, token_errors=10, judged=False)), True),
        (agreement(replace(SAME, tokens=0)), True),
        (agreement(UNSEEN, weight_error=None), True),
        (agreement(replace(UNSEEN, token_errors=6), weight_error=None, quantization="q8_0"), False),
        (agreement(replace(UNSEEN, token_errors=5), weight_error=None, quantization="q8_0"), True),
        (agreement(replace(SAME, source_rate=wrong(10), copy_rate=wrong(10))), True),
        (agreement(replace(SAME, source_rate=wrong(10), copy_rate=wrong(14))), True),
        (agreement(replace(SAME, source_rate=wrong(10), copy_rate=wrong(15))), False),
        (agreement(replace(SAME, source_rate=wrong(10), copy_rate=wrong(14)), quantization="int8"), True),
        (agreement(replace(SAME, source_rate=wrong(10), copy_rate=wrong(16)), quantization="int8"), False),
        (agreement(SAME, replace(SAME, source_rate=wrong(50), copy_rate=wrong(0))), True),
        (agreement(replace(SAME, source_rate=wrong(12, of=15), copy_rate=wrong(15, of=15)), quantization="int8"), True),
        (agreement(replace(SAME, source_rate=wrong(8, of=15), copy_rate=wrong(13, of=15)), quantization="int8"), False),
    ],
)
def test_what_is_good_enough(found: Agreement, good: bool) -> None:
    assert found.good == good


def test_the_table_says_all() -> None:
    text = str(agreement(SAME, replace(SAME, name="second", token_errors=5, judged=False)))
    assert [line.split()[0] for line in text.splitlines()] == ["clip", "a", "second", "largest", "largest", "equal"]
    assert "10 of 10" in text
    assert "5 of 10 (no speech, not judged)" in text
    assert "equal tokens 100.0% (wanted 99%)" in text
    heard = agreement(replace(UNSEEN, source_rate=wrong(10), copy_rate=wrong(12)), UNSEEN, weight_error=None, quantization="int8")
    headings, first, second, tokens, rate = str(heard).splitlines()
    assert headings.split("  ") == ["clip", "equal tokens", "errors of source", "of copy"]
    assert first.split()[-2:] == ["10", "12"]
    assert second.split()[-2:] == ["–", "–"]
    assert tokens.startswith("equal tokens 100.0%")
    assert rate == "WER 12.00 % (source 10.00 %, allowed 15.00 %)"
    assert {name: heard.record()[name] for name in ("weight_error", "encoder_error", "error", "source_error", "score")} == {
        "weight_error": None, "encoder_error": None, "error": 12.0, "source_error": 10.0, "score": "WER",
    }  # fmt: skip
    assert heard.record()["clips"][0] == {"name": "a", "tokens": 10, "equal_tokens": 10, "source_errors": 10, "errors": 12, "of": 100}


@pytest.mark.parametrize("name", sorted({name for found in FORMATS.values() for name in found.quantizations}))
def test_every_type_of_weights_has_a_bound(name: str) -> None:
    assert 0 < verify.bound(name).token_agreement <= 1


def test_the_generated_clip_is_the_same_everywhere() -> None:
    first, second = verify.generated_clip(), verify.generated_clip()
    np.testing.assert_array_equal(first.waveform, second.waveform)
    assert first.waveform.dtype == np.float32
    assert len(first.waveform) == 64_000
    assert 0.2 < np.abs(first.waveform).max() <= 1


@pytest.fixture(scope="module")
def copies(tiny_en_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelFolder]:
    """tiny.en in CTranslate2, in float32 and int8."""
    found = {}
    for quantization in ("float32", "int8"):
        folder = tmp_path_factory.mktemp("copies") / quantization
        folder.mkdir()
        to_ctranslate2.write(ModelFolder.open(tiny_en_model), folder, quantization)
        found[quantization] = ModelFolder.open(folder, "ctranslate2")
    return found


@pytest.mark.real
def test_true_copies_of_real_weights_are_good(copies: dict[str, ModelFolder], tiny_en_model: Path, data: Path) -> None:
    from finewhisper import audio

    speech = verify.Clip("speech", audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus"), "en")
    for quantization, copy in copies.items():
        found = verify.compare(ModelFolder.open(tiny_en_model), copy, [speech, verify.generated_clip()], quantization)
        assert found.good, found
        assert [clip.judged for clip in found.clips] == [True, quantization == "float32"]
        assert (found.encoder_error > 1e-3) == (quantization == "int8"), found


@pytest.mark.real
def test_an_engine_without_an_encoder_to_look_at_is_judged_by_what_it_says(
    copies: dict[str, ModelFolder], tiny_en_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As whisper.cpp is; the stored matrices have another order there too, so only words are left."""
    from finewhisper import audio

    class Hidden(CTranslate2Engine):
        def encode(self, features: Features) -> npt.NDArray[np.float32]:
            raise UnsupportedError("the encoder's output is not shown")

        def _context(self, features: Features) -> Any:
            import ctranslate2

            return ctranslate2.StorageView.from_array(np.concatenate([np.asarray(part) for part in self._encode_parts(features)]))

    def load(folder: ModelFolder, **options: Any) -> Engine:
        return Hidden.load(folder, device="cpu") if folder.kind == "ctranslate2" else load_engine(folder, **options)

    monkeypatch.setattr(verify, "load_engine", load)
    clip = audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus")
    speech = verify.Clip("speech", clip, "en", sentence="in being comparatively modern.")
    for quantization, copy in copies.items():
        found = verify.compare(ModelFolder.open(tiny_en_model), copy, [speech], quantization)
        assert found.encoder_error is None
        assert found.good, found
        assert found.rates is not None
        assert [rate.reference_units for rate in found.rates] == [4, 4]
        assert found.rates[0].errors < 4


@pytest.mark.real
def test_one_wrong_weight_is_found(copies: dict[str, ModelFolder], tiny_en_model: Path, tmp_path: Path) -> None:
    """A single row of the decoder's last layer, which no encoder output shows and hardly a token."""
    spoilt = tmp_path / "spoilt"
    shutil.copytree(tiny_en_model, spoilt)
    weights = load_file(spoilt / "model.safetensors")
    name = "model.decoder.layers.3.fc2.weight"
    weights[name][7] *= 1.5
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    for quantization, copy in copies.items():
        assert largest_error(ModelFolder.open(tiny_en_model), copy) <= verify.bound(quantization).weight_error
        assert largest_error(ModelFolder.open(spoilt), copy) > verify.bound(quantization).weight_error
    weights[name][7] = np.nan
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    assert largest_error(ModelFolder.open(spoilt), copies["int8"]) == float("inf")
    del weights[name]
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"have no {name}"):
        largest_error(ModelFolder.open(spoilt), copies["int8"])


def swap_prompt(folder: Path) -> None:
    """The copy's tokenizer calls the token for 'previous text' the one for 'no times'."""
    path = folder / "tokenizer.json"
    content = path.read_text(encoding="utf-8")
    content = (
        content.replace("<|notimestamps|>", "<|x|>").replace("<|startofprev|>", "<|notimestamps|>").replace("<|x|>", "<|startofprev|>")
    )
    path.write_text(content, encoding="utf-8")


def suppress_letters(folder: Path) -> None:
    """The copy may not write the tokens that begin with a space and a letter."""
    path = folder / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"suppress_ids": list(range(220, 20_000))}), encoding="utf-8")


@pytest.mark.real
@pytest.mark.parametrize("spoil", [swap_prompt, suppress_letters])
def test_right_weights_with_wrong_companions_are_found(
    copies: dict[str, ModelFolder], tiny_en_model: Path, data: Path, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    from finewhisper import audio

    shutil.copytree(copies["float32"].path, tmp_path / "spoilt")
    spoil(tmp_path / "spoilt")
    speech = verify.Clip("speech", audio.read(data / "en_misc" / "audio" / "LJ001-0002.opus"), "en")
    found = verify.compare(ModelFolder.open(tiny_en_model), ModelFolder.open(tmp_path / "spoilt"), [speech], "float32")
    assert found.weight_error == 0
    assert found.encoder_error <= found.bound.encoder_error
    assert not found.good, found
