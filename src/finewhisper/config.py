"""Configuration is declared once, as a frozen pydantic model with a docstring under each field.

Flags, recipe files, environment variables, ``--help``, the reference page of the docs and the ``config.yaml`` saved beside weights
are all made from it. What wins: flags, then environment, then the recipe, then the defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from finewhisper.errors import UsageError
from finewhisper.files import atomic_file

Model = TypeVar("Model", bound=BaseModel)


class Config(BaseModel):
    """Base of every verb's configuration: immutable, no unknown keys, help text from the docstrings below the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


@dataclass(frozen=True)
class Flag:
    """How a field appears on the command line; put it into the field's ``Annotated``."""

    alias: str | None = None  #: a short form such as "-m"
    positional: bool = False  #: may be given without its name, in the order of the fields


def build(model: type[Model], values: Mapping[str, Any]) -> Model:
    """Validate ``values``, reporting every mistake at once in terms of flags.

    Raises:
        UsageError: one line for each wrong value.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            flag = "--" + ".".join(str(part).replace("_", "-") for part in problem["loc"]) if problem["loc"] else ""
            found = "" if problem["type"] in {"missing", "value_error"} else f" (found {problem['input']!r})"
            lines.append(f"{flag}: {problem['msg'].removeprefix('Value error, ')}{found}".removeprefix(": "))
        raise UsageError("\n".join(lines)) from None


def save(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML; ``--config`` reads it back."""
    with atomic_file(path) as temporary:
        temporary.write_text(
            yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True), encoding="utf-8"
        )
