"""Write docs/cli.md from the verbs' configurations; with --check only say whether it is as they would have it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from finewhisper.cli import Verb, listed, load
from finewhisper.config import Option, is_table, options, paragraphs

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"

INTRODUCTION = """\
# Command line

<!-- Made by scripts/cli_reference.py from the configuration classes; change those, then run: make format -->

`finewhisper VERB [OPTIONS]`. The verbs, in the order of the pipeline:

{verbs}

Every option is a flag, a key of the YAML file given with `--config FILE`, and an environment variable at once. `--lora.rank 16`,
`lora: {{rank: 16}}` and `FINEWHISPER_FINETUNE_LORA_RANK=16` say the same. Flags win over the environment, which wins over the file,
which wins over the default. Several values follow one another after a flag, form a list in YAML, and are separated by commas in a
variable. An option that is switched off where it is on by default is written `--no-option`.

Exit codes: 0 for success, 2 for something the user can put right (one message on standard error), 130 for Ctrl-C.
"""


def page() -> str:
    verbs = "\n".join(f"- [`{name}`](#{name}): {verb.summary}" for name, verb in listed().items())
    return INTRODUCTION.format(verbs=verbs) + "".join(section(name, verb) for name, verb in listed().items())


def section(name: str, verb: Verb) -> str:
    config_type = load(verb.config)
    description = "\n\n".join(f"```text\n{text}\n```" if is_table(text) else text for text in paragraphs(config_type))
    rows = "\n".join(row(option, name) for option in options(config_type))
    return f"\n## {name}\n\n{verb.summary}\n\n{description}\n\n| Option | Default | Meaning | Variable |\n|---|---|---|---|\n{rows}\n"


def row(option: Option, verb: str) -> str:
    names = ", ".join(f"`{name}`" for name in (option.flag.alias, option.name) if name)
    if option.flag.positional:
        names = f"`{option.path[-1].upper()}`, {names}"
    default = "required" if option.field.is_required() else f"`{option.default}`" if option.default else ""
    cells = (names, default, option.help.replace("|", "\\|"), f"`{option.variable(verb)}`")
    return f"| {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 where the page is stale, and leave it")
    fresh = page()
    if parser.parse_args().check:
        if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == fresh:
            return 0
        print(f"{PAGE} is stale; run: make format", file=sys.stderr)
        return 1
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
