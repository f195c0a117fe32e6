"""The command line: a table of verbs, and one function that turns a verb's configuration class into its flags.

``finewhisper --help`` is printed from the table alone; a verb's module is imported only when that verb is called.
"""

from __future__ import annotations

import importlib
import inspect
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from finewhisper import __version__
from finewhisper.errors import FinewhisperError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import cyclopts

    from finewhisper.config import Config, Option


@dataclass(frozen=True)
class Verb:
    """Where a verb's configuration and work live, as ``module:name``, and its line in ``--help``."""

    config: str
    run: str
    summary: str
    instead: str = ""  #: of a verb that another one took over: what to type in its place, ``{}`` for its arguments; it is not listed


#: In the order of the pipeline.
VERBS = {
    "download": Verb("finewhisper.downloads:DownloadConfig", "finewhisper.downloads:run", "Fetch a base model as a Hugging Face folder."),
    "prepare": Verb(
        "finewhisper.corpora.config:PrepareConfig", "finewhisper.corpora.run:run", "Turn a corpus into train, dev and test manifests."
    ),
    "augment": Verb(
        "finewhisper.training.augment.examples:AugmentExamplesConfig",
        "finewhisper.training.augment.examples:run",
        "Listen to what augmentation makes of a few clips.",
    ),
    "finetune": Verb(
        "finewhisper.training.config:FinetuneConfig", "finewhisper.training.run:run", "Adapt a model to the speech of a manifest."
    ),
    "merge": Verb("finewhisper.merging:MergeConfig", "finewhisper.merging:run", "Fold an adapter into its base model."),
    "evaluate": Verb(
        "finewhisper.evaluation.config:EvaluateConfig",
        "finewhisper.evaluation.run:run",
        "Score models on manifests, utterance by utterance or side by side.",
    ),
    "compare": Verb(
        "finewhisper.evaluation.config:CompareConfig",
        "finewhisper.evaluation.several:compare",
        "Show several models on several manifests as one table.",
        instead="finewhisper evaluate {}",
    ),
    "align": Verb(
        "finewhisper.alignment.config:AlignConfig",
        "finewhisper.alignment.run:run",
        "Find the attention heads that tell when words are spoken.",
        instead="finewhisper convert MODEL COPY --to ctranslate2 --align MANIFEST, or finewhisper merge MODEL -o NEW --align MANIFEST",
    ),
    "convert": Verb(
        "finewhisper.conversion.config:ConvertConfig",
        "finewhisper.conversion.run:run",
        "Rewrite a model for another engine and prove that it says the same.",
    ),
    "parity": Verb(
        "finewhisper.parity.config:ParityConfig",
        "finewhisper.parity.run:run",
        "Prove on a manifest that every copy of a model says the same.",
    ),
    "transcribe": Verb(
        "finewhisper.transcription.config:TranscribeConfig",
        "finewhisper.transcription.run:run",
        "Turn audio or video files into text or subtitles.",
    ),
    "serve": Verb(
        "finewhisper.server.config:ServeConfig", "finewhisper.server.run:run", "Answer clients over the network, many at a time."
    ),
}


def listed() -> dict[str, Verb]:
    """The verbs that are meant to be typed."""
    return {name: verb for name, verb in VERBS.items() if not verb.instead}


EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    _speak_utf8()
    try:
        code = _run(tokens)
        sys.stdout.flush()
        return code
    except FinewhisperError as error:
        print(f"finewhisper {tokens[0]}: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt as interruption:
        print(f"\nfinewhisper {tokens[0]}: interrupted; {str(interruption) or 'no half-written output was left'}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough; Python flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _speak_utf8() -> None:
    """Write UTF-8 whatever the console or locale says, so that no transcript is lost to a letter that cp1252 lacks.

    File names that are no UTF-8 hold lone surrogates, which are written escaped.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _run(tokens: Sequence[str]) -> int:
    if not tokens or tokens[0] in {"-h", "--help"}:
        print(usage())
        return 0 if tokens else EXIT_USER_ERROR
    if tokens[0] == "--version":
        print(f"finewhisper {__version__}")
        return 0
    verb = _verb(tokens[0])
    if verb.instead:
        print(f"finewhisper {tokens[0]}: goes away with the next version; type: {verb.instead.format(_typed(tokens[1:]))}", file=sys.stderr)
    config = parse(tokens[0], verb, tokens[1:])
    if config is not None:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns that a library is missing which would fetch code from the hub
        try:
            value = load(verb.run)(config)
        except ModuleNotFoundError as error:
            library = (error.name or "").partition(".")[0]
            if library not in _EXTRAS:
                raise
            raise MissingExtraError(library, _EXTRAS[library]) from error
        if value is not None:
            print(value)
    return 0


#: The libraries that only an extra installs.
_EXTRAS = {
    **dict.fromkeys(("accelerate", "matplotlib", "peft", "tensorboard", "torch", "transformers"), "train"),
    "ctranslate2": "ct2",
    "_pywhispercpp": "cpp",
    "bitsandbytes": "quant",
    **dict.fromkeys(("fastapi", "fastapi_offline", "prometheus_client", "python_multipart", "starlette", "uvicorn", "websockets"), "serve"),
}


def _typed(tokens: Sequence[str]) -> str:
    """Arguments as one would type them; no more than a line."""
    import shlex

    return shlex.join("--model" if token == "--models" else token for token in tokens)


def usage() -> str:
    """The text of ``finewhisper --help``."""
    verbs = "\n".join(f"  {name:<12}{verb.summary}" for name, verb in listed().items())
    return (
        f"finewhisper {__version__}: adapt Whisper to your own speech and put it everywhere you need it.\n\n"
        f"Usage: finewhisper VERB [OPTIONS]\n\nThe pipeline, in order:\n{verbs}\n\n"
        "finewhisper VERB --help lists the options of one verb, --help-all those for experts too. Every option can\n"
        "also stand in a YAML file given with --config, or in the environment as FINEWHISPER_VERB_OPTION."
    )


def parse(name: str, verb: Verb, tokens: Sequence[str]) -> Config | None:
    """Read a verb's flags, environment and recipe into its configuration; None when help was asked for.

    Raises:
        UsageError: naming each flag, variable or key that is unknown, missing or wrong.
    """
    import cyclopts

    from finewhisper.config import resolve

    config_type: type[Config] = load(verb.config)
    before_separator = list(tokens)[: list(tokens).index("--")] if "--" in tokens else tokens
    if asked := {"-h", "--help", "--help-all"} & set(before_separator):
        _app(name, verb, config_type, helping="all" if "--help-all" in asked else "common").help_print([])
        return None
    remaining, recipe = _take_recipe(translated(name, config_type, tokens))
    app = _app(name, verb, config_type)
    try:
        shielded = [_STANDARD_INPUT if token == "-" else token for token in remaining]
        _, bound, _ = app.parse_args(shielded, exit_on_error=False, print_error=False)
        flags = {tuple(key.split("__")): _unshielded(value) for key, value in bound.arguments.items()}
        return resolve(config_type, name, flags=flags, environment=os.environ, recipe=recipe)
    except (cyclopts.CycloptsError, UsageError) as error:
        message = " ".join(str(error).split()) if isinstance(error, cyclopts.CycloptsError) else str(error)
        raise UsageError(f"{message}\nfinewhisper {name} --help lists the options") from None


def translated(verb: str, config_type: type[Config], tokens: Sequence[str]) -> list[str]:
    """The tokens with our options spelt as we spell them: ``--beam_size`` is ``--beam-size``.

    Raises:
        UsageError: an option is another program's; it says what does the same here.
    """
    from finewhisper.config import options
    from finewhisper.foreign_flags import answer

    known = {spelling for option in options(config_type) for spelling in (option.name, option.flag.alias)} | {"--config"}
    found: list[str] = []
    remaining = iter(tokens)
    for token in remaining:
        flag, separator, value = token.partition("=")
        if token == "--":
            return [*found, token, *remaining]
        ours = flag.replace("_", "-") if flag.startswith("--") else flag
        if flag not in known and ours not in known and (told := answer(verb, flag)):
            raise UsageError(told)
        found.append(f"{ours}{separator}{value}" if ours in known or ours.replace("--no-", "--", 1) in known else token)
    return found


#: What is to be shown of a verb's options: nothing, those that matter first, or all.
Helping = Literal["", "common", "all"]


def _verb(name: str) -> Verb:
    if name in VERBS:
        return VERBS[name]
    from finewhisper.config import did_you_mean

    raise UsageError(f"there is no such verb{did_you_mean(name, listed())}\nthe verbs are {', '.join(listed())}")


def _app(name: str, verb: Verb, config_type: type[Config], *, helping: Helping = "") -> cyclopts.App:
    """A cyclopts application whose parameters are the configuration's options.

    cyclopts tells flags from values and prints the help; the values stay text, for pydantic to check all of them at once.
    """
    import cyclopts

    from finewhisper.config import options, paragraphs

    grouped = [key for keys in config_type.groups.values() for key in keys]
    left = len(options(config_type)) - len(grouped) if grouped and helping == "common" else 0
    more = f"finewhisper {name} --help-all shows {left} more options, for experts.\n\n" if left else ""
    app = cyclopts.App(
        name=f"finewhisper {name}",
        usage=f"Usage: finewhisper {name} {_usage(config_type)}",
        help="\n\n".join([verb.summary, *paragraphs(config_type)]),
        help_format="plaintext",
        help_flags=[],
        help_epilogue=(
            f"{more}--config FILE reads options from a YAML file. In the environment, an option such as --some-option is "
            f"FINEWHISPER_{name.upper()}_SOME_OPTION. Flags win over the environment, which wins over the file."
        ),
        version_flags=[],
    )
    app.default(_signature(config_type, helping=helping))
    return app


def _signature(config_type: type[Config], *, helping: Helping) -> Callable[..., None]:
    """A function without a body whose signature is the configuration: what cyclopts reads flags from.

    Args:
        helping: say which options are required, and leave out those for experts unless all are wanted; when parsing, the environment or a
            recipe may hold them.
    """
    from finewhisper.config import options

    headings = {key: heading for heading, keys in config_type.groups.items() for key in keys}
    shown = [option for option in options(config_type) if helping != "common" or not headings or option.key in headings]
    order = {key: place for place, key in enumerate(headings)}
    shown.sort(key=lambda option: order.get(option.key, len(order)))

    parameters = [
        inspect.Parameter(
            "__".join(option.path),
            inspect.Parameter.POSITIONAL_OR_KEYWORD if option.flag.positional else inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if helping and option.field.is_required() else None,
            annotation=_annotation(option, headings.get(option.key, "Advanced" if headings else ""), helping=bool(helping)),
        )
        for option in shown
    ]
    parameters.sort(key=lambda parameter: parameter.kind)

    def command(*args: Any, **kwargs: Any) -> None: ...

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def _annotation(option: Option, heading: str, *, helping: bool) -> Any:
    """What cyclopts should know of an option: its names, how many values it takes, and its line in the help below a heading."""
    import cyclopts

    is_off = option.type is bool and option.default == "false"  # --no-overwrite is understood, but not worth a place in the help
    parameter = cyclopts.Parameter(
        name=option.name,
        alias=option.flag.alias,
        help=option.help,
        **_metavar(option),
        **_group(heading if helping else ""),
        show_default=(lambda _: option.default) if option.default and not is_off else False,
        negative=() if helping and is_off else None,
        negative_iterable=(),
        consume_multiple=option.many or None,
    )
    kind = bool if option.type is bool else list[str] if option.many else str
    return Annotated[kind | None, parameter]


@cache
def _group(heading: str) -> dict[str, Any]:
    """What puts an option below a heading in the help; headings keep the order of their making, and cyclopts wants one object for each."""
    import cyclopts

    return {"group": cyclopts.Group.create_ordered(heading)} if heading else {}


def _usage(config_type: type[Config]) -> str:
    """What follows the verb: positional values, then the flags that must be given."""
    from finewhisper.config import options

    places, flags = [], []
    for option in options(config_type):
        value, required = option.path[-1].upper() + "..." * option.many, option.field.is_required()
        if option.flag.positional:
            places.append(value if required else f"[{value}]")
        elif required:
            flags.append(f"{option.flag.alias or option.name} {value}")
    return " ".join([*places, *flags, "[OPTIONS]"])


_METAVARS = {int: "INTEGER", float: "NUMBER", Path: "PATH"}


def _metavar(option: Option) -> dict[str, Any]:
    """What stands for the value in the help, where cyclopts lets us say it (version 5, which needs Python 3.11)."""
    import cyclopts

    if "metavar" not in inspect.signature(cyclopts.Parameter).parameters:
        return {}
    return {"metavar": ("CHOICE" if option.choices else _METAVARS.get(option.type, "TEXT")) + "..." * option.many}


#: Stands for "-", which cyclopts takes for an option, while it reads a command line; no argument can hold a NUL.
_STANDARD_INPUT = "\0-"


def _unshielded(value: Any) -> Any:
    if isinstance(value, list):
        return [_unshielded(item) for item in value]
    return "-" if value == _STANDARD_INPUT else value


def _take_recipe(tokens: list[str]) -> tuple[list[str], Path | None]:
    """Take ``--config FILE`` out of the tokens."""
    recipes, rest = [], []
    remaining = iter(tokens)
    for token in remaining:
        if token == "--":
            rest += [token, *remaining]
        elif token == "--config":
            recipes.append(next(remaining, ""))
        elif token.startswith("--config="):
            recipes.append(token.removeprefix("--config="))
        else:
            rest.append(token)
    if len(recipes) > 1:
        raise UsageError(f"--config: takes one YAML file, but {len(recipes)} were given: {', '.join(recipes)}")
    if not recipes:
        return rest, None
    if not Path(recipes[0]).is_file():
        raise UsageError(f"--config: no such file: {recipes[0]}" if recipes[0] else "--config: needs a YAML file")
    return rest, Path(recipes[0])


def load(reference: str) -> Any:
    """Import what a verb's ``module:name`` refers to."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
