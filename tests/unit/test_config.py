"""What a configuration class promises: four sources in order, every mistake named at once, and a saved file that reads back."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from finewhisper.config import Config, Flag, options, read_recipe, resolve, save
from finewhisper.errors import UsageError


class Inner(Config):
    rank: int = Field(32, gt=0)
    """Rank of the update."""
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    """Layers to change."""


class Example(Config):
    files: Annotated[tuple[Path, ...], Flag(positional=True)]
    """Audio ``files``
    of any kind."""
    model: Annotated[Path, Flag(alias="-m")]
    """A model folder."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """What to write."""
    language: str | None = "bg"
    """What is spoken."""
    rate: float = Field(1e-3, ge=0, lt=1)
    """Step size."""
    overwrite: bool = False
    """Replace what is there."""
    inner: Inner = Inner()


def example(flags: dict[tuple[str, ...], object] | None = None, environment: dict[str, str] | None = None, recipe: Path | None = None):
    given = {("files",): ["a.wav"], ("model",): "m"} | (flags or {})
    return resolve(Example, "example", flags=given, environment=environment or {}, recipe=recipe)


@pytest.fixture
def recipe(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_flag_wins_over_the_environment_over_the_recipe_over_the_default(recipe):
    path = recipe("inner: {rank: 1}\nrate: 5e-4\nlanguage: ro\n")
    variable = {"FINEWHISPER_EXAMPLE_INNER_RANK": "2"}
    assert example().inner.rank == 32
    assert example(recipe=path).inner.rank == 1
    assert example(environment=variable, recipe=path).inner.rank == 2
    config = example({("inner", "rank"): "3"}, variable, path)
    assert (config.inner.rank, config.rate, config.language) == (3, 5e-4, "ro")  # what nobody overrode stays


def test_required_options_may_come_from_a_recipe(recipe):
    path = recipe("files: [b.wav]\nmodel: n\n")
    assert resolve(Example, "example", flags={}, environment={}, recipe=path).files == (Path("b.wav"),)


def test_several_values_in_one_variable_are_separated_by_commas():
    assert example(environment={"FINEWHISPER_EXAMPLE_INNER_TARGETS": "k_proj, fc1"}).inner.targets == ("k_proj", "fc1")


def test_an_empty_variable_counts_as_absent():
    assert example(environment={"FINEWHISPER_EXAMPLE_RATE": ""}).rate == 1e-3


def test_a_misspelt_variable_is_not_ignored():
    with pytest.raises(UsageError, match=r"FINEWHISPER_EXAMPLE_RATES: .* did you mean FINEWHISPER_EXAMPLE_RATE"):
        example(environment={"FINEWHISPER_EXAMPLE_RATES": "1"})


def test_every_mistake_is_reported_at_once_under_the_name_the_user_gave_it(recipe):
    path = recipe("inner: {rank: 0, depth: 3}\nlanguage: no\ntusk: translate\n")
    with pytest.raises(UsageError) as error:
        example({("rate",): "-1", ("task",): "sing"}, {"FINEWHISPER_EXAMPLE_OVERWRITE": "perhaps"}, path)
    assert sorted(str(error.value).splitlines()) == sorted(
        [
            "--rate: must be 0 or more, not '-1'",
            "--task: must be 'transcribe' or 'translate', not 'sing'",
            "FINEWHISPER_EXAMPLE_OVERWRITE: must be true or false, not 'perhaps'",
            f"{path}: inner.rank: must be more than 0, not 0",
            f"{path}: inner.depth: there is no such option",
            f"{path}: language: must be text, not False (write it in quotes)",
            f"{path}: tusk: there is no such option; did you mean task?",
        ]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "must be lines of the form 'option: value', not a list"),
        ("rate: [\n  1", "recipe.yaml:2: is not YAML"),
        ("inner: 3\n", "inner: must be a group of options, not 3"),
        ("files: a.wav\n", "files: must be a list, not 'a.wav'"),
        ("model: [m]\n", r"model: must be a path, not \['m'\]"),
    ],
)
def test_a_recipe_of_the_wrong_form(recipe, text, message):
    with pytest.raises(UsageError, match=message):
        resolve(Example, "example", flags={}, environment={}, recipe=recipe(text))


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"{two}: &{two} [{f'*{one}, ' * 10}]\n" for one, two in pairwise("abcdefghi"))
MERGES = "a: &a {x: 1}\n" + "".join(f"{two}: &{two} {{<<: [{f'*{one}, ' * 10}]}}\n" for one, two in pairwise("abcdefghi"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, r"recipe\.yaml:\d+: is not YAML: stands for more than 100,000 values"),
        (MERGES, r"recipe\.yaml:\d+: is not YAML: stands for more than 100,000 values"),
        ("a: &a [*a]\n", r"recipe\.yaml:1: is not YAML: a value holds itself"),
        ("rate: 1\nmodel: m\nrate: 2\n", r"recipe\.yaml:3: is not YAML: the key 'rate' is there twice"),
        ("inner:\n  rank: 1\n  rank: 2\n", r"recipe\.yaml:3: is not YAML: the key 'rank' is there twice"),
        ("rate: " + "[" * 100_000, r"recipe\.yaml:1: is not YAML: nested more than 30 deep"),
        ("rate: " + "{a: " * 50_000, r"recipe\.yaml:1: is not YAML: nested more than 30 deep"),
        ("rate: " + "9" * 5000, r"recipe\.yaml: is not YAML: Exceeds the limit"),
        ("rate: 2020-13-45\n", r"recipe\.yaml: is not YAML: month must be in"),
        ("rate: !!python/object:os.system [x]\n", r"recipe\.yaml:1: is not YAML: could not determine a constructor"),
        ("rate: 1\0\n", r"recipe\.yaml: is not YAML: unacceptable character"),
        ("#" * (1 << 21), r"recipe\.yaml: has 2,097,152 bytes, more than options take"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_a_recipe_within_bounds(recipe, text, message):
    began = time.perf_counter()
    with pytest.raises(UsageError, match=message):
        example(recipe=recipe(text))
    assert time.perf_counter() - began < 10


def test_references_that_stay_small_are_fine(recipe):
    assert example(recipe=recipe("inner: &one {rank: 2}\nrate: &rate 0.25\n")).rate == 0.25
    assert read_recipe(recipe("a: &a {x: 1}\nb: {<<: *a, x: 2}\nc: *a\n")) == {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 1}}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX alone has named pipes")
def test_a_recipe_in_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe or a device; write its content into a file"):
        example(recipe=tmp_path / "pipe")


def test_a_recipe_that_is_not_utf8(tmp_path):
    (tmp_path / "recipe.yaml").write_bytes("language: бг".encode("cp1251"))
    with pytest.raises(UsageError, match="is not UTF-8"):
        example(recipe=tmp_path / "recipe.yaml")


def test_an_empty_recipe_and_one_with_a_byte_order_mark(recipe, tmp_path):
    assert example(recipe=recipe("# nothing yet\n")) == example()
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfrate: 0.5\n")
    assert example(recipe=tmp_path / "bom.yaml").rate == 0.5


@pytest.mark.parametrize("language", ["zh", None])
def test_a_saved_configuration_reads_back_as_it_was(tmp_path, language):
    config = example({("language",): language, ("inner", "targets"): ["fc1"], ("overwrite",): True})
    save(config, tmp_path / "config.yaml")
    assert resolve(Example, "example", flags={}, environment={}, recipe=tmp_path / "config.yaml") == config


def test_options_are_spelt_alike_everywhere():
    found = {option.key: option for option in options(Example)}
    rank = found["inner.rank"]
    assert (rank.name, rank.variable("example"), rank.type, rank.many) == ("--inner.rank", "FINEWHISPER_EXAMPLE_INNER_RANK", int, False)
    assert found["files"].type is Path
    assert found["files"].many
    assert found["files"].help == "Audio files of any kind."
    assert found["task"].help == "What to write. One of transcribe, translate."
    assert found["task"].choices == ("transcribe", "translate")
    assert found["language"].type is str
    assert [found[key].default for key in ("inner.targets", "overwrite", "model")] == ["q_proj v_proj", "false", ""]
