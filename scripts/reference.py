"""Write the pages of docs/ that are made from the code: `make docs`. A test compares them with what stands there.

docs/configuration.md comes from the settings tree, docs/cli.md from the command line's own help.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from keepstone.platform.settings import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"

CONFIGURATION = """\
# Configuration

<!-- Written by `make docs` from the settings in platform/. Edit the docstrings there. -->

Keepstone runs without any configuration. What you do set, set in `keepstone.toml` in the home folder
(`keepstone status` names it), or in environment variables, which win over the file:

```toml
[engine]
mode = "external"
url = "http://127.0.0.1:8000/v1"
```

```sh
KEEPSTONE_ENGINE__MODE=external KEEPSTONE_ENGINE__URL=http://127.0.0.1:8000/v1 keepstone up
```

Two underscores step down the tree. A key or variable that does not exist is refused, with the nearest one that does.

Read outside this tree: `KEEPSTONE_HOME`, the one folder that holds all state (unset: `keepstone` in the XDG data
folder, `~/.local/share/keepstone`); `KEEPSTONE_CONFIG`, the path of another `keepstone.toml`; `KEEPSTONE_API_KEY`, the
key that the command line sends; `KEEPSTONE_BENCH_DATA`, the collections that benchmarks read.
"""


def configuration() -> str:
    """Return docs/configuration.md: every setting with its default, the values it takes, and its meaning."""
    parts = [CONFIGURATION]
    plain: dict[str, FieldInfo] = {}
    for name, info in Settings.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            parts.append(
                f"## {name}\n\n{(section.__doc__ or '').strip()}\n\n{_table(section.model_fields, f'{name}.')}"
            )
        else:
            plain[name] = info
    parts.insert(1, f"## Top level\n\n{_table(plain, '')}")
    return "\n".join(parts)


def _table(fields: dict[str, FieldInfo], prefix: str) -> str:
    head = ["| setting | default | values | meaning |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *_rows(fields, prefix)]) + "\n"


def _rows(fields: dict[str, FieldInfo], prefix: str) -> Iterator[str]:
    for name, info in fields.items():
        meaning = " ".join((info.description or "").split()).replace("|", "\\|")
        yield f"| `{prefix}{name}` | {_default(info)} | {_values(info)} | {meaning} |"
        for inner in typing.get_args(info.annotation):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _rows(inner.model_fields, f"{prefix}{name}.NAME.")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if info.default_factory is not None or info.default in (None, {}):
        return "unset"
    value = info.default
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(info: FieldInfo) -> str:
    parts = [_type(info.annotation), *_limits(info)]
    return ", ".join(parts)


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is types.UnionType:
        return " or ".join(_type(argument) for argument in arguments if argument is not type(None))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "table of texts" if arguments[1] in (str, SecretStr) else "tables"
    names = {str: "text", SecretStr: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, str(annotation))


def _limits(info: FieldInfo) -> Iterator[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for limit in info.metadata:
        for name, sign in signs.items():
            if isinstance(limit, annotated_types.BaseMetadata) and hasattr(limit, name):
                yield f"{sign} {getattr(limit, name):,}".replace(",", " ")


CLI = """\
# Command line

<!-- Written by `make docs` from the help of the commands in ui/keepstone/ui/cli/. Edit it there. -->

`keepstone` stands in `.venv/bin`. Every command takes `--json`, before or after its name, and then prints JSON. Results
go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 an error that names its fix, 2 a wrong command line,
130 stopped by Ctrl-C. Commands talk to the running app (with `KEEPSTONE_API_KEY`, if set); while none runs, those that
need no language model do their work themselves.
"""


def command_line() -> str:
    """Return docs/cli.md: every command with its arguments and options."""
    from typer.main import get_command

    from keepstone.ui.cli.main import app

    return "\n".join([CLI, *_commands(get_command(app), "keepstone")])


def _commands(command: Any, path: str) -> Iterator[str]:
    """Yield the section of each command below a group, in the order of `--help`."""
    for name, inner in getattr(command, "commands", {}).items():
        if inner.hidden:
            continue
        if getattr(inner, "commands", None):
            yield from _commands(inner, f"{path} {name}")
        else:
            yield _section(inner, f"{path} {name}")


def _section(command: Any, path: str) -> str:
    shown = [each for each in command.params if not each.hidden and each.name != "help"]
    arguments = [each for each in shown if each.param_type_name == "argument"]
    options = [each for each in shown if each.param_type_name == "option"]
    usage = " ".join([path, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])])
    text = "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n"))
    section = f"## {path}\n\n```\n{usage}\n```\n\n{text}\n"
    rows = [f"| `{_argument(each)}` | {_meaning(each)} |" for each in arguments]
    rows += [f"| {', '.join(f'`{name}`' for name in _spellings(each))} | {_meaning(each)} |" for each in options]
    body = "\n".join(rows)
    return f"{section}\n| | |\n| --- | --- |\n{body}\n" if rows else section


def _argument(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper().strip("[].") + ("..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _spellings(option: Any) -> list[str]:
    names = [*option.opts, *option.secondary_opts]
    return names if option.is_flag else [f"{name} {(option.metavar or option.name).upper()}" for name in names]


def _meaning(parameter: Any) -> str:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    default = parameter.default
    if parameter.required:
        return f"{text} Required." if parameter.param_type_name == "option" else text
    if default in (None, False, "", (), []) or callable(default):
        return text
    return f"{text} Default: `{parameter.opts[0] if default is True else default}`."


PAGES = {"configuration.md": configuration, "cli.md": command_line}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
