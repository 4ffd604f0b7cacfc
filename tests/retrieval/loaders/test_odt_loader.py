"""OpenDocument texts: headings, lists, tables and notes come out; bombs and passwords are told."""

from __future__ import annotations

import pytest

from keepstone.platform.errors import KeepstoneError, LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import load, office_zip
from tests.retrieval.loaders.office_samples import stored, text_parts

_BODY = """
<text:tracked-changes><text:p>gone</text:p></text:tracked-changes>
<text:p text:style-name="Title">Pump manual</text:p>
<text:h text:outline-level="2">Care</text:h>
<text:p>Clean<text:s text:c="2"/>it<text:note><text:note-citation>1</text:note-citation>
<text:note-body><text:p>Daily.</text:p></text:note-body></text:note>.<text:line-break/>Now.</text:p>
<text:list text:style-name="L1">
<text:list-item><text:p>First</text:p><text:list><text:list-item><text:p>Inner</text:p></text:list-item></text:list>
</text:list-item><text:list-item><text:p>Second</text:p></text:list-item>
</text:list>
"""


def _table(*rows: str) -> str:
    return f"<table:table>{''.join(f'<table:table-row>{row}</table:table-row>' for row in rows)}</table:table>"


def _cell(text: str, attributes: str = "") -> str:
    return f"<table:table-cell {attributes}><text:p>{text}</text:p></table:table-cell>"


def test_structure_as_markdown() -> None:
    table = _table(
        _cell("Part") + _cell("Size"),
        _cell("Screw", 'table:number-rows-spanned="2"') + _cell("M4"),
        "<table:covered-table-cell/>" + _cell("M5"),
    )
    document = load(stored(text_parts(_BODY + table)), "a.odt")
    assert document.text == (
        "# Pump manual\n\n## Care\n\nClean  it.\nNow.\n\n[^1]: Daily.\n\n1. First\n  - Inner\n2. Second\n\n"
        "| Part | Size |\n| --- | --- |\n| Screw | M4 |\n| Screw | M5 |"
    )
    assert [heading.title for heading in document.headings] == ["Pump manual", "Care"]


def test_passwords_bombs_and_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(office_zip, "_LARGEST_PART", 200_000)
    parts = text_parts("<text:p>x</text:p>")
    with pytest.raises(UnreadableDocument, match="encrypted"):
        load(
            stored(
                parts | {"META-INF/manifest.xml": b"<manifest><file-entry><encryption-data/></file-entry></manifest>"}
            ),
            "a",
        )
    with pytest.raises(LimitExceeded, match="zip bomb"):
        load(stored(parts | {"content.xml": b" " * 300_000}), "a")
    with pytest.raises(UnreadableDocument, match="document type"):
        load(stored(parts | {"content.xml": b'<!DOCTYPE a [<!ENTITY b "c">]>' + parts["content.xml"]}), "a")
    with pytest.raises(UnreadableDocument, match="damaged OpenDocument text"):
        load(stored(parts)[:-30], "a.odt")
    with pytest.raises(UnreadableDocument, match="nested too deeply"):
        load(stored(text_parts("<text:section>" * 5000)), "a.odt")
    for data in (b"", b"<a/>", b"\xff"):
        with pytest.raises(KeepstoneError) as caught:
            load(stored(parts | {"content.xml": data}), "a.odt")
        assert caught.value.fix


def test_drawings_of_this_family_are_named() -> None:
    with pytest.raises(UnreadableDocument, match="OpenDocument file"):
        load(stored({"mimetype": b"application/vnd.oasis.opendocument.graphics", "content.xml": b"<a/>"}), "a.odg")
