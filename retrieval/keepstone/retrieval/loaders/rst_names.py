"""Makes docutils read the roles and directives of Sphinx and of others, which it would answer with errors.

The parser looks names up in one table for the whole process; `forget_and_learn` sets that table before each file, so
that what one file defines is unknown to the next.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive, directives, roles
from docutils.parsers.rst.languages import en

_DIRECTIVE = re.compile(r"\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([A-Za-z][\w:.+-]*)[ \t]*::")
_ROLE = re.compile(r":([A-Za-z][\w:.+-]*):`|`:([A-Za-z][\w:.+-]*):")
_TARGET = re.compile(r"^(.+?)\s*<[^<>]*>$", re.DOTALL)
_CODE = frozenset({"code", "code-block", "sourcecode"})
_OUTPUT = frozenset({"doctest", "testcode", "testoutput", "ipython", "prompt", "productionlist", "mermaid", "graphviz"})
_FOR_TOOLS = frozenset({"toctree", "index", "highlight", "currentmodule", "default-domain", "tabularcolumns"})
# What would read files, insert foreign markup, or make each reading another by today's date.
_FORBIDDEN = frozenset({"include", "literalinclude", "raw", "date"})
_VERSIONS = {
    "versionadded": "New in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
}


class _Foreign(Directive):  # type: ignore[misc] # docutils has no types
    """A directive of another tool: its argument and what it holds become text."""

    optional_arguments = 1
    final_argument_whitespace = True
    has_content = True
    # Takes any option.
    option_spec: ClassVar[dict[str, Callable[[str], str]]] = defaultdict(lambda: str, {"class": str})

    def run(self) -> list[nodes.Node]:
        """Return the nodes of the text."""
        kind = self.name.lower().rpartition(":")[2]
        argument = " ".join(self.arguments)
        if kind in _FOR_TOOLS | _FORBIDDEN:
            return [nodes.Text("")]
        if kind == "replace":  # as plain text: replacements within replacements could grow without bound
            return [nodes.Text(" ".join([*self.arguments, *self.content]))]
        if kind in _CODE | _OUTPUT:
            language = argument if kind in _CODE else ""
            return [nodes.literal_block("", "\n".join(self.content), classes=["code", language])]
        inside = nodes.container()
        self.state.nested_parse(self.content, self.content_offset, inside)
        if kind in _VERSIONS:
            argument = f"{_VERSIONS[kind]} {argument}"
        return [*([nodes.paragraph("", argument)] if argument else []), *inside.children]


def forget_and_learn(text: str) -> None:
    """Forget the names of earlier files, and learn those that stand in `text` and that docutils does not know."""
    roles._roles.clear()  # noqa: SLF001 - there is no public way to forget one
    directives._directives.clear()  # noqa: SLF001
    found = {match[1].lower() for match in _DIRECTIVE.finditer(text)} - en.directives.keys()
    for name in found | _CODE | _FORBIDDEN | {"replace"}:
        directives.register_directive(name, _Foreign)
    for name in {(match[1] or match[2]).lower() for match in _ROLE.finditer(text)} - en.roles.keys():
        roles.register_local_role(name, _foreign_role)


def _foreign_role(
    _name: str, _raw: str, text: str, *_: object, **__: object
) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """Read "text <target>" as its text, and "~package.name" as the name."""
    titled = _TARGET.match(text)
    return [nodes.Text(titled[1] if titled else text.lstrip("~!"))], []
