"""The command line: a table of verbs, and one function that turns a verb's configuration class into its flags.

``finewhisper --help`` is printed from the table alone; a verb's module is imported only when that verb is called.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from finewhisper import __version__
from finewhisper.errors import FinewhisperError, UsageError

if TYPE_CHECKING:
    import cyclopts

    from finewhisper.config import Config


@dataclass(frozen=True)
class Verb:
    """Where a verb's configuration and work live, as ``module:name``, and its line in ``--help``."""

    config: str
    run: str
    summary: str


#: In the order of the pipeline.
VERBS = {
    "download": Verb("finewhisper.download:DownloadConfig", "finewhisper.download:run", "Fetch a base model as a Hugging Face folder."),
    "prepare": Verb(
        "finewhisper.prepare.config:PrepareConfig", "finewhisper.prepare.run:run", "Turn a corpus into train, dev and test manifests."
    ),
    "finetune": Verb(
        "finewhisper.finetune.config:FinetuneConfig", "finewhisper.finetune.run:run", "Adapt a model to the speech of a manifest."
    ),
    "merge": Verb("finewhisper.merge:MergeConfig", "finewhisper.merge:run", "Fold an adapter into its base model."),
    "evaluate": Verb(
        "finewhisper.evaluate.config:EvaluateConfig", "finewhisper.evaluate.run:run", "Score a model on a manifest, utterance by utterance."
    ),
    "convert": Verb(
        "finewhisper.convert.config:ConvertConfig",
        "finewhisper.convert.run:run",
        "Rewrite a model for another engine and prove that it says the same.",
    ),
    "transcribe": Verb(
        "finewhisper.transcribe.config:TranscribeConfig",
        "finewhisper.transcribe.run:run",
        "Turn audio or video files into text or subtitles.",
    ),
}

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    if not tokens or tokens[0] in {"-h", "--help"}:
        print(usage())
        return 0 if tokens else EXIT_USER_ERROR
    if tokens[0] == "--version":
        print(f"finewhisper {__version__}")
        return 0
    name = tokens[0]
    try:
        verb = _verb(name)
        config = parse(name, verb, tokens[1:])
        if config is not None:
            value = _load(verb.run)(config)
            if value is not None:
                print(value)
    except FinewhisperError as error:
        print(f"finewhisper {name}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print(f"\nfinewhisper {name}: interrupted; no half-written output was left", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def usage() -> str:
    """The text of ``finewhisper --help``."""
    verbs = "\n".join(f"  {name:<12}{verb.summary}" for name, verb in VERBS.items())
    return (
        f"finewhisper {__version__}: adapt Whisper to your own speech and put it everywhere you need it.\n\n"
        f"Usage: finewhisper VERB [OPTIONS]\n\nThe pipeline, in order:\n{verbs}\n\n"
        "finewhisper VERB --help lists the options of one verb. Every option can also stand in a YAML file\n"
        "given with --config, or in the environment as FINEWHISPER_VERB_OPTION."
    )


def parse(name: str, verb: Verb, tokens: Sequence[str]) -> Config | None:
    """Read a verb's flags, environment and recipe into its configuration; None when help was asked for.

    Raises:
        UsageError: naming each flag that is unknown, missing or wrong.
    """
    import cyclopts
    from rich.console import Console

    from finewhisper.config import build

    config_type: type[Config] = _load(verb.config)
    remaining, recipe = _take_recipe(list(tokens))
    sources: list[Any] = [cyclopts.config.Env(f"FINEWHISPER_{name.upper()}_", command=False)]
    if recipe is not None:
        sources.append(cyclopts.config.Yaml(recipe, must_exist=True, use_commands_as_keys=False))
    app = _app(name, verb, config_type)
    app.config = tuple(sources)
    if {"-h", "--help"} & set(remaining):
        app.help_print([])
        return None
    try:
        _, bound, _ = app.parse_args(remaining, exit_on_error=False, print_error=False, error_console=Console(stderr=True))
    except cyclopts.CycloptsError as error:
        hint = f"\nfinewhisper {name} --help lists the options"
        raise UsageError(f"{_sentence(error)}{hint}") from None
    return build(config_type, bound.arguments)


def _verb(name: str) -> Verb:
    if name in VERBS:
        return VERBS[name]
    import difflib

    close = difflib.get_close_matches(name, VERBS, n=1)
    raise UsageError(f"there is no such verb; {f'did you mean {close[0]}? ' if close else ''}the verbs are {', '.join(VERBS)}")


def _app(name: str, verb: Verb, config_type: type[Config]) -> cyclopts.App:
    """A cyclopts application whose parameters are the configuration's fields."""
    import cyclopts

    app = cyclopts.App(
        name=f"finewhisper {name}", help=f"{verb.summary}\n\n{inspect.cleandoc(config_type.__doc__ or '')}", version_flags=[]
    )
    app.default(_signature(config_type))
    return app


def _signature(config_type: type[Config]) -> Callable[..., None]:
    """A function without a body whose signature is the configuration: what cyclopts reads flags from."""
    import cyclopts

    from finewhisper.config import Flag

    parameters = []
    for name, field in config_type.model_fields.items():
        flag = next((item for item in field.metadata if isinstance(item, Flag)), Flag())
        many = getattr(field.annotation, "__origin__", None) in {list, tuple}
        parameter = cyclopts.Parameter(alias=flag.alias, help=field.description, negative_iterable=(), consume_multiple=many or None)
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD if flag.positional else inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.is_required() else field.get_default(call_default_factory=True),
                annotation=Annotated[field.annotation, parameter],
            )
        )

    def command(*args: Any, **kwargs: Any) -> None: ...

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _take_recipe(tokens: list[str]) -> tuple[list[str], Path | None]:
    """Take ``--config FILE`` out of the tokens."""
    for index, token in enumerate(tokens):
        if token == "--config":
            if index + 1 == len(tokens):
                raise UsageError("--config needs a YAML file")
            recipe, rest = Path(tokens[index + 1]), tokens[:index] + tokens[index + 2 :]
        elif token.startswith("--config="):
            recipe, rest = Path(token.removeprefix("--config=")), tokens[:index] + tokens[index + 1 :]
        else:
            continue
        if not recipe.is_file():
            raise UsageError(f"--config: no such file: {recipe}")
        return rest, recipe
    return tokens, None


def _sentence(error: cyclopts.CycloptsError) -> str:
    return " ".join(str(error).split())


def _load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
