"""Configuration is declared once, as a frozen pydantic model with a docstring under each field.

Flags, recipe files, environment variables, ``--help``, the reference page of the docs and the ``config.yaml`` saved beside weights
are all made from it. What wins: flags, then environment, then the recipe, then the defaults.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from finewhisper import yaml_values
from finewhisper.errors import StorageError, UsageError
from finewhisper.files import atomic_file, given_bytes
from finewhisper.outputs import require_apart

if TYPE_CHECKING:
    from typing_extensions import Self

Model = TypeVar("Model", bound=BaseModel)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]+)?", name):
        raise ValueError(f"must be auto, cpu, cuda, a certain GPU such as cuda:1, or mps, not {name!r}")
    return name


#: Where to compute. Engines refuse what this machine or they themselves have not.
Device = Annotated[str, AfterValidator(_device)]


def _one_or_several(paths: Any) -> Any:
    """A recipe or a program may name one path without making a list of it."""
    return (paths,) if isinstance(paths, (str, Path)) else paths


#: Some paths, in the order in which they are given.
Paths = Annotated[tuple[Path, ...], BeforeValidator(_one_or_several)]
FieldPath = tuple[str, ...]  # ("lora", "rank"): the field ``rank`` of the field ``lora``


class Config(BaseModel):
    """Base of every verb's configuration: immutable, no unknown keys, help text from the docstrings below the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)

    #: The options that ``--help`` shows, by the heading of their group, as they stand in a recipe; the others are for experts, and shown by
    #: ``--help-all``. Empty: ``--help`` shows all of them.
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @model_validator(mode="after")
    def _outputs_are_no_inputs(self) -> Self:
        """Whoever makes a configuration, the command line or a program, cannot ask for an output that would harm an input."""
        outputs = [(*output, role == "place") for role in ("output", "place") for output in _paths(self, role)]
        for name, output, adds in outputs:
            try:
                require_apart(output, _paths(self, "input"), name, adds=adds)
            except StorageError as error:
                raise ValueError(str(error)) from None
        return self


@dataclass(frozen=True)
class Flag:
    """How a field appears on the command line; put it into the field's ``Annotated``."""

    alias: str | None = None  #: a short form such as "-m"
    positional: bool = False  #: may be given without its name, in the order of the fields
    role: Literal["input", "output", "place"] = "input"  #: of a path: read, written as a whole, or a folder that files are added to


@dataclass(frozen=True)
class Option:
    """One value of a configuration: a flag, an environment variable and a key of a recipe at once."""

    path: FieldPath
    field: FieldInfo

    @property
    def key(self) -> str:
        """As in a recipe, groups joined by dots: ``lora.rank``."""
        return ".".join(self.path)

    @property
    def name(self) -> str:
        """As on the command line: ``--lora.rank``."""
        return f"--{self.key.replace('_', '-')}"

    def variable(self, verb: str) -> str:
        """As in the environment: ``FINEWHISPER_FINETUNE_LORA_RANK``."""
        return "_".join(("finewhisper", verb, *self.path)).upper()

    @property
    def flag(self) -> Flag:
        return next((item for item in self.field.metadata if isinstance(item, Flag)), Flag())

    @property
    def help(self) -> str:
        choices = f" One of {', '.join(self.choices)}." if self.choices else ""
        return " ".join((self.field.description or "").replace("``", "").split()) + choices

    @property
    def type(self) -> Any:
        """The type of the value, or of one of them where there may be many; None aside."""
        kinds = [kind for kind in _alternatives(self.field.annotation) if kind is not NoneType]
        return get_args(kinds[0])[0] if self.many else kinds[0] if len(kinds) == 1 else str

    @property
    def many(self) -> bool:
        """Whether several values may be given."""
        return any(get_origin(kind) in {list, tuple} for kind in _alternatives(self.field.annotation))

    @property
    def choices(self) -> tuple[str, ...]:
        """The words to choose from; empty where anything goes."""
        return tuple(str(choice) for choice in get_args(self.type)) if get_origin(self.type) is Literal else ()

    @property
    def default(self) -> str:
        """The default as one would type it; empty where there is none."""
        value = None if self.field.is_required() else self.field.get_default(call_default_factory=True)
        if isinstance(value, (list, tuple)):
            return " ".join(str(item) for item in value)
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def options(model: type[BaseModel], above: FieldPath = ()) -> list[Option]:
    """Every value of a configuration, those of nested groups too, in the order of declaration."""
    found = []
    inherited = {name for base in model.__bases__ if issubclass(base, BaseModel) for name in base.model_fields}
    for name, field in sorted(model.model_fields.items(), key=lambda item: item[0] in inherited):  # a verb's own before those it shares
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found += options(kind, (*above, name))
        else:
            found.append(Option((*above, name), field))
    return found


def paragraphs(model: type[BaseModel]) -> list[str]:
    """The docstring of a configuration, a paragraph each: unwrapped, but for tables, which have columns two spaces apart."""
    text = inspect.cleandoc(model.__doc__ or "").replace("``", "")
    return [paragraph if is_table(paragraph) else " ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def is_table(paragraph: str) -> bool:
    """Whether the line breaks of a paragraph mean something."""
    return all("  " in line for line in paragraph.splitlines())


def resolve(
    model: type[Model], verb: str, *, flags: Mapping[FieldPath, Any], environment: Mapping[str, str], recipe: Path | None = None
) -> Model:
    """Lay flags over environment over recipe over defaults.

    Args:
        flags: raw values (text, lists of text, booleans) by the field they are for.
        environment: all of it; in a variable, several values are separated by commas. An empty variable counts as absent.

    Raises:
        UsageError: one line for each wrong value, naming the flag, the variable, or the recipe and its key.
    """
    known = options(model)
    _refuse_unknown_variables(verb, known, environment)
    values = read_recipe(recipe) if recipe is not None else {}
    sources = {option.path: f"{recipe}: {option.key}" for option in known if _present(values, option.path)}
    for option in known:
        text = environment.get(option.variable(verb))
        if text:
            _put(values, option.path, [part.strip() for part in text.split(",")] if option.many else text)
            sources[option.path] = option.variable(verb)
        if option.path in flags:
            _put(values, option.path, flags[option.path])
            sources[option.path] = option.name
    names = {option.path: option.name for option in known}
    config = build(model, values, name=lambda path: sources.get(path) or names.get(path) or f"{recipe}: {'.'.join(path)}")
    if recipe is not None and not getattr(config, "resume", False):  # a run is gone on with from its own file
        for name, output in _paths(config, "output"):
            require_apart(output, [("--config", recipe)], name)
    return config


def build(model: type[Model], values: Mapping[str, Any], *, name: Callable[[FieldPath], str] | None = None) -> Model:
    """Validate ``values``, reporting every mistake at once.

    Args:
        name: what the user calls a field; by default its flag.

    Raises:
        UsageError: one line for each wrong value.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        name = name or (lambda path: "--" + ".".join(path).replace("_", "-"))
        sentences: dict[tuple[FieldPath, str], str] = {}
        for problem in error.errors():
            path = _field_path(model, problem["loc"])
            key, sentence = (path, repr(problem["input"])), _sentence(model, path, problem)
            before = sentences.get(key, sentence)  # of another type that the value may have
            sentences[key] = sentence if before == sentence else f"{before.removesuffix(f', not {key[1]}')} or {sentence}"
        lines = [f"{name(path)}: {sentence}" if path else sentence for (path, _), sentence in sentences.items()]
        raise UsageError("\n".join(dict.fromkeys(lines))) from None


def _paths(config: BaseModel, role: str) -> list[tuple[str, Path]]:
    """What a configuration reads or writes, each with what the user calls it."""
    found = []
    for option in options(type(config)):
        if option.flag.role == role:
            value: Any = functools.reduce(getattr, option.path, config)
            name = option.path[-1].upper() if option.flag.positional else option.name
            found += [(name, path) for path in (value if isinstance(value, tuple) else (value,)) if isinstance(path, Path)]
    return found


def read_recipe(path: Path) -> dict[str, Any]:
    """A recipe file as nested dictionaries. Raises: UsageError."""
    try:
        content = yaml_values.parse(given_bytes(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        line = getattr(error, "line", None)
        raise UsageError(f"{path}{'' if line is None else f':{line}'}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must be lines of the form 'option: value', not a {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def save(config: Config, path: Path) -> None:
    """Write the resolved configuration as YAML; ``--config`` reads it back."""
    with atomic_file(path) as temporary:
        temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), encoding="utf-8")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A question to append to an error, empty where nothing is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; the annotation itself where it is none."""
    return get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)


def _refuse_unknown_variables(verb: str, known: list[Option], environment: Mapping[str, str]) -> None:
    """A misspelt variable must not be ignored in silence."""
    names = [option.variable(verb) for option in known]
    prefix = f"FINEWHISPER_{verb.upper()}_"
    unknown = [name for name in environment if name.startswith(prefix) and name not in names]
    if unknown:
        raise UsageError(
            "\n".join(f"{name}: the environment sets an unknown option{did_you_mean(name, names)}" for name in sorted(unknown))
        )


def _present(values: Any, path: FieldPath) -> bool:
    for part in path:
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def _put(values: dict[str, Any], path: FieldPath, value: Any) -> None:
    for part in path[:-1]:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    values[path[-1]] = value


def _field_path(model: type[BaseModel], location: tuple[int | str, ...]) -> FieldPath:
    """The part of an error's location that names fields: without list positions and members of a union."""
    path: FieldPath = ()
    fields: Mapping[str, FieldInfo] | None = model.model_fields
    for part in map(str, location):
        if fields is None:
            break
        path = (*path, part)
        kind = fields[part].annotation if part in fields else None
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else None
    return path


#: pydantic's error types in the words of someone who has not read the code; the others keep pydantic's words.
_WORDS = {
    "missing": "is required",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "path_type": "must be a path",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "model_type": "must be a group of options",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "literal_error": "must be {expected}",
}


def _sentence(model: type[BaseModel], path: FieldPath, problem: Mapping[str, Any]) -> str:
    """What is wrong with one value, and what was found."""
    if problem["type"] == "extra_forbidden":
        known = {option.key for option in options(model)} | {".".join(option.path[: len(path)]) for option in options(model)}
        return f"there is no such option{did_you_mean('.'.join(path), sorted(known))}"
    text = str(_WORDS.get(problem["type"], problem["msg"])).format_map(problem.get("ctx", {})).removeprefix("Value error, ")
    if problem["type"] in {"missing", "value_error"}:
        return text
    unquoted = problem["type"] == "string_type" and isinstance(problem["input"], bool)  # YAML reads "no" as a boolean
    return f"{text}, not {problem['input']!r}{' (write it in quotes)' if unquoted else ''}"
