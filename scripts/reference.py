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

<!-- Written by `make docs` from platform/keepstone/platform/settings.py. Edit the docstrings there. -->

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
    rows = ["| setting | default | values | meaning |", "| --- | --- | --- | --- |"]
    for name, info in fields.items():
        meaning = " ".join((info.description or "").split()).replace("|", "\\|")
        rows.append(f"| `{prefix}{name}` | {_default(info)} | {_values(info)} | {meaning} |")
    return "\n".join(rows) + "\n"


def _default(info: FieldInfo) -> str:
    if info.default_factory is not None or info.default is None:
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
    names = {str: "text", SecretStr: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
    return names.get(annotation, str(annotation))


def _limits(info: FieldInfo) -> Iterator[str]:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    for limit in info.metadata:
        for name, sign in signs.items():
            if isinstance(limit, annotated_types.BaseMetadata) and hasattr(limit, name):
                yield f"{sign} {getattr(limit, name):,}".replace(",", " ")


PAGES = {"configuration.md": configuration}


def main() -> None:
    """Write the pages."""
    for name, make in PAGES.items():
        (DOCS / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
