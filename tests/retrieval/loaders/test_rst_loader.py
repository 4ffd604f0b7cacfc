"""reStructuredText: structure comes out, whoever's roles and directives it uses; nothing is included or remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepstone.platform.errors import UnreadableDocument
from keepstone.retrieval.loaders import load
from tests.retrieval.loaders.office_samples import RST


def _text(source: str) -> str:
    return load(source.encode(), "a.rst").text


def test_structure_as_markdown() -> None:
    document = load(RST.encode(), "a.rst")
    assert document.text == (
        "# Pump manual\n\nClean the filter daily.\n\n## Parts\n\n- First\n  - Inner\n- Second\n\n"
        "```sh\nrun --now\n```\n\n| Part | Count |\n| --- | --- |\n| Screw | 4 |"
    )
    assert [(heading.level, heading.title) for heading in document.headings] == [(1, "Pump manual"), (2, "Parts")]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (":Author: Ada", "Author: Ada"),
        ("term\n   Meaning.", "term: Meaning."),
        (".. note:: Take care.", "Note: Take care."),
        (".. versionadded:: 3.2\n   New.", "New in version 3.2\nNew."),
        (".. py:function:: run(fast)\n\n   Runs.", "run(fast)\n\nRuns."),
        (".. anything:: here\n   :odd: option\n\n   Inside.", "here\n\nInside."),
        ("See :func:`~os.path`, `x <http://e.org>`_, :std:doc:`a guide </guide>`.", "See os.path, x, a guide."),
        (".. |p| replace:: the *pump*\n\nClean |p|.", "Clean the *pump*."),
        ("3. c\n4. d", "3. c\n4. d"),
        ("a. x\nb. y", "a. x\nb. y"),
        ("A [1]_.\n\n.. [1] Note.", "A [^1].\n\n[^1]: Note."),
        ("| one\n| two", "one\ntwo"),
        (".. image:: http://example.org/x.png\n   :alt: A pump", "A pump"),
        ("* item\n\n  more", "- item\n  more"),
        ("Code::\n\n   x = 1", "Code:\n\n```\nx = 1\n```"),
        (".. csv-table::\n   :header: a, b\n\n   1, 2", "| a | b |\n| --- | --- |\n| 1 | 2 |"),
    ],
)  # fmt: skip
def test_elements(source: str, text: str) -> None:
    assert _text(source) == text


def test_nothing_is_read_from_the_disk_or_inserted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hidden words")
    for source in (
        f".. include:: {secret}",
        f".. literalinclude:: {secret}",
        f".. csv-table::\n   :file: {secret}",
        f".. raw:: html\n   :file: {secret}",
        f".. raw:: html\n   :url: file://{secret}",
        f".. code::\n   :file: {secret}",
        f".. role:: r(raw)\n   :format: html\n\n:r:`x` .. include:: {secret}",
    ):
        assert "hidden words" not in _text(f"Start.\n\n{source}\n\nEnd.")
    assert "<script>" not in _text("A\n\n.. raw:: html\n\n   <script>x</script>\n\nB")


def test_one_file_leaves_nothing_for_the_next() -> None:
    plain = "*a* :strong:`b` :mine:`c` `d`"
    before = _text(plain)
    _text(".. role:: strong(raw)\n   :format: html\n\n.. role:: mine\n\n.. default-role:: math\n\n`x`")
    assert _text(plain) == before == "a b c d"


def test_each_reading_gives_the_same() -> None:
    assert _text(".. |d| date:: %Y %H:%M:%S\n\nToday |d|.") == "Today ."


@pytest.mark.parametrize(
    "source",
    [
        "=\n==\n===",
        ".. |a| replace:: |b|\n.. |b| replace:: |a|\n\nText |a|",
        "+--+\n|a\n+-", ":a:`", ".. x::\n.. y::\n\nt", "`" * 5000,
    ],
)  # fmt: skip
def test_mistakes_lose_nothing_but_themselves(source: str) -> None:
    assert "End." in _text(f"Start.\n\n{source}\n\nEnd.")


def test_substitutions_cannot_grow_without_bound() -> None:
    levels = "".join(f".. |s{n}| replace:: " + f"|s{n + 1}| " * 10 + "\n" for n in range(8))
    assert len(_text(f"{levels}.. |s8| replace:: {'x' * 100}\n\nText |s0|")) < 200


def test_depth_is_bounded() -> None:
    with pytest.raises(UnreadableDocument, match="nested too deeply"):
        _text("".join("  " * depth + "* a\n\n" for depth in range(200)))
