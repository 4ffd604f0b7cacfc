"""Notebooks: text with its headings, code with its language, bounded results, no pictures."""

from __future__ import annotations

import json

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders import load
from tests.retrieval.loaders.office_samples import notebook

_CELLS = [
    {"cell_type": "markdown", "source": ["# Pumps\n", "\n", "How they *run*. ![x](attachment:x.png)\n", "\n## Data"]},
    {
        "cell_type": "code",
        "source": "print(1)\n\n# not a heading",
        "outputs": [
            {"output_type": "stream", "text": ["1\n"]},
            {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"}},
            {"output_type": "error", "ename": "ValueError", "evalue": "bad", "traceback": ["\x1b[31mlong\x1b[0m"]},
        ],
    },
    {"cell_type": "raw", "source": "raw words"},
]


def test_cells_become_markdown() -> None:
    document = load(notebook(_CELLS), "a.ipynb")
    assert document.text == (
        "# Pumps\n\nHow they *run*. \n\n## Data\n\n```python\nprint(1)\n\n# not a heading\n```\n\n```\n1\n```\n\n"
        "```\n<Figure>\n```\n\n```\nValueError: bad\n```\n\nraw words"
    )
    assert [(heading.title, heading.level) for heading in document.headings] == [("Pumps", 1), ("Data", 2)]
    assert document.title == "Pumps"


@pytest.mark.parametrize("name", ["a.json", "a", "a.zip"])
def test_notebooks_are_told_by_their_content(name: str) -> None:
    assert load(notebook(_CELLS), name).media_type == "application/x-ipynb+json"


def test_long_results_are_cut() -> None:
    cell = {"cell_type": "code", "source": "x", "outputs": [{"output_type": "stream", "text": "9" * 10_000_000}]}
    assert len(load(notebook([cell]), "a.ipynb").text) < 2100


def test_the_format_before_2015() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Old"},
        {"cell_type": "code", "input": "x = 1", "outputs": []},
    ]
    data = json.dumps({"worksheets": [{"cells": cells}], "nbformat": 3, "metadata": {"name": ""}}).encode()
    assert load(data, "a.ipynb").text == "## Old\n\n```\nx = 1\n```"


@pytest.mark.parametrize(
    "cells", [[], [{"cell_type": "code", "source": "", "outputs": 3}], ["x"], [{"cell_type": None, "source": {"a": 1}}]]
)
def test_notebooks_without_text_are_refused(cells: list[dict[str, object]]) -> None:
    with pytest.raises(UnreadableDocument):
        load(notebook(cells), "a.ipynb")
