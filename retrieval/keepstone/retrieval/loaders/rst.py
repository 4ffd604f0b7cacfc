"""reStructuredText (.rst), read with docutils. Nothing that a file names is included, fetched or run."""

from __future__ import annotations

import re

import docutils
from docutils import nodes
from docutils.core import publish_doctree

from keepstone.retrieval.loaders.base import LoadLimits, clean, empty, parser_id
from keepstone.retrieval.loaders.detect import RST
from keepstone.retrieval.loaders.encoding import decode
from keepstone.retrieval.loaders.rst_names import forget_and_learn
from keepstone.retrieval.loaders.writer import MarkdownWriter, refuse_if_surely_too_long
from keepstone.retrieval.types import Document

_SETTINGS = {
    "_disable_config": True,
    "file_insertion_enabled": False,
    "raw_enabled": False,
    "halt_level": 5,
    "report_level": 5,
    "warning_stream": False,
    "traceback": True,  # else docutils prints errors and ends the process
    "doctitle_xform": False,
    "docinfo_xform": False,
    "syntax_highlight": "none",
    "line_length_limit": 100_000,
}
_SKIPPED = frozenset(
    {"comment", "substitution_definition", "target", "raw", "pending", "meta", "decoration", "generated", "transition"}
)
_WORD = re.compile(r"[\w+#.-]{1,30}")
_ALPHABETIC = {"loweralpha": 96, "upperalpha": 64}
_MOST_COLUMNS = 100


class RstLoader:
    """Reads reStructuredText."""

    name = "rst"
    version = f"1 docutils {docutils.__version__}"
    media_types = frozenset({RST})

    def load(self, data: bytes, name: str, limits: LoadLimits) -> Document:
        """See `Loader.load`."""
        refuse_if_surely_too_long(data, limits)
        text = clean(decode(data, name))
        if not text.strip():
            raise empty(name)
        forget_and_learn(text)
        tree = publish_doctree(text, settings_overrides=_SETTINGS)
        writer = MarkdownWriter(limits.max_text_chars)
        _Walk(writer).blocks(tree)
        return writer.document(name=name, media_type=RST, parser=parser_id(self), title=tree.get("title", ""))


class _Walk:
    """Writes a tree's blocks in order."""

    def __init__(self, writer: MarkdownWriter) -> None:
        self._writer = writer
        self._level = 0
        self._depth = -1
        self._marker = ""

    def blocks(self, parent: nodes.Element) -> None:
        """Write what is in `parent`."""
        for node in parent.children:
            if isinstance(node, nodes.Element) and node.tagname not in _SKIPPED:
                self._block(node)

    def _block(self, node: nodes.Element) -> None:
        write = getattr(self, f"_{node.tagname}", None)
        if write is not None:
            write(node)
        elif isinstance(node, nodes.Admonition):
            self._text(f"{node.tagname.capitalize()}: {node[0].astext()}" if len(node) else "")
            for rest in node[1:]:
                self._block(rest)
        elif isinstance(node, nodes.FixedTextElement):
            classes = node["classes"]
            language = classes[1] if classes[:1] == ["code"] and _WORD.fullmatch("".join(classes[1:2])) else ""
            self._writer.code(node.astext(), language)
        elif isinstance(node, nodes.TextElement):
            self._text(_inline(node))
        else:
            self.blocks(node)

    def _text(self, text: str) -> None:
        """Write a paragraph, the first of a list item with its marker."""
        if self._depth < 0:
            self._writer.paragraph(text)
        elif self._marker:
            self._writer.item(text, depth=self._depth, marker=self._marker)
            self._marker = ""
        else:
            self._writer.item_paragraph(text, depth=self._depth)

    def _section(self, node: nodes.section) -> None:
        self._level += 1
        self.blocks(node)
        self._level -= 1

    def _title(self, node: nodes.title) -> None:
        if isinstance(node.parent, nodes.section):
            self._writer.heading(self._level, node.astext())
        else:
            self._text(node.astext())

    def _bullet_list(self, node: nodes.bullet_list) -> None:
        self._list(node, ["-"] * len(node))

    def _enumerated_list(self, node: nodes.enumerated_list) -> None:
        start = node.get("start", 1)
        letters = _ALPHABETIC.get(node.get("enumtype", "arabic"))
        self._list(
            node, [f"{chr(letters + n) if letters and n <= 26 else n}." for n in range(start, start + len(node))]
        )

    def _list(self, node: nodes.Element, markers: list[str]) -> None:
        self._depth += 1
        for item, self._marker in zip(node.children, markers, strict=True):
            self.blocks(item)
        self._marker = ""
        self._depth -= 1
        if self._depth < 0:
            self._writer.end_list()

    def _definition_list_item(self, node: nodes.definition_list_item) -> None:
        terms = [_inline(part) for part in node.children if not isinstance(part, nodes.definition)]
        self._named(" ".join(terms), [part for part in node.children if isinstance(part, nodes.definition)])

    def _field(self, node: nodes.field) -> None:
        self._named(node[0].astext(), node[1:])

    def _option_list_item(self, node: nodes.option_list_item) -> None:
        self._named(", ".join(option.astext() for option in node[0]), node[1:])

    def _footnote(self, node: nodes.footnote) -> None:
        self._named(f"[^{node[0].astext()}]", node[1:])

    def _citation(self, node: nodes.citation) -> None:
        self._named(f"[{node[0].astext()}]", node[1:])

    def _named(self, name: str, bodies: list[nodes.Element]) -> None:
        """Write a name and what is said of it, on one line where that begins with a paragraph."""
        blocks = [block for body in bodies for block in ([body] if isinstance(body, nodes.paragraph) else body)]
        if blocks and isinstance(blocks[0], nodes.paragraph):
            name = f"{name}: {_inline(blocks.pop(0))}"
        self._text(name)
        for block in blocks:
            self._block(block)

    def _line_block(self, node: nodes.line_block) -> None:
        self._text("\n".join(line.astext() for line in node.findall(nodes.line)))

    def _image(self, node: nodes.image) -> None:
        self._text(node.get("alt", ""))

    def _topic(self, node: nodes.topic) -> None:
        if "contents" not in node["classes"]:
            self.blocks(node)

    def _system_message(self, node: nodes.system_message) -> None:
        """Write the source that docutils did not understand."""
        for source in node.findall(nodes.literal_block):
            self._text(source.astext())

    def _table(self, node: nodes.table) -> None:
        for title in node.findall(nodes.title):
            self._text(title.astext())
        self._writer.table(_grid(node))


def _inline(node: nodes.Element) -> str:
    """Return the text of a paragraph, footnote marks as Markdown has them, pictures by what they show."""
    parts = []
    for child in node.children:
        if isinstance(child, nodes.footnote_reference):
            parts.append(f"[^{child.astext()}]")
        elif isinstance(child, nodes.image):
            parts.append(child.get("alt", ""))
        elif not isinstance(child, nodes.system_message | nodes.raw):
            parts.append(child.astext())
    return "".join(parts)


def _grid(table: nodes.table) -> list[list[str]]:
    """Return the texts of cells; what spans rows is repeated in each, so that every row can be understood alone."""
    grid: list[list[str]] = []
    hanging: dict[int, tuple[str, int]] = {}
    for row in table.findall(nodes.row):
        cells: list[str] = []
        entries = [entry for entry in row.children if isinstance(entry, nodes.entry)]
        while entries or len(cells) in hanging:
            column = len(cells)
            if column in hanging:
                text, left = hanging.pop(column)
                cells.append(text)
            else:
                entry = entries.pop(0)
                text, left = " ".join(entry.astext().split()), entry.get("morerows", 0)
                cells += [text] + [""] * min(entry.get("morecols", 0), _MOST_COLUMNS)
            if left:
                hanging[column] = (text, left - 1)
        grid.append(cells)
    return grid
