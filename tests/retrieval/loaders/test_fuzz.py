"""Damaged files of every format give a Document or an error a person can act on, never anything else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from structlog.testing import capture_logs

from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval.loaders import LoadLimits, LoadPool
from tests.retrieval.loaders import office_samples as samples
from tests.retrieval.loaders.samples import HTML, MARKDOWN, lines, pdf_file, ruled_table, word_file, zip_of

_FILES = 700
_TOKENS = [
    b"\x00",
    b"\xff",
    b"<",
    b">",
    b"/",
    b"PK\x03\x04",
    b"obj",
    b"stream",
    b"99999999999",
    b"-1",
    b"&#0;",
    b"%%EOF",
]


_XML = b"""<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>
<w:p><w:pPr><w:pStyle w:val="A"/><w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr></w:pPr>
<w:r><w:t>text</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="2"/><w:vMerge/></w:tcPr><w:p><w:r><w:t>cell</w:t></w:r></w:p></w:tc>
<w:tc><w:p/></w:tc></w:tr></w:tbl></w:body></w:document>"""


def _as_it_is(data: bytes) -> bytes:
    return data


def _zipped(data: bytes) -> bytes:
    return zip_of({"word/document.xml": data, "word/numbering.xml": data, "word/styles.xml": data})


_BASES: list[tuple[str, bytes, Callable[[bytes], bytes]]] = [
    ("a.pdf", pdf_file([lines(["A page of text.", "• item"]), lines(["Another."])], header="Head"), _as_it_is),
    ("b.pdf", ruled_table(), _as_it_is),
    ("c.docx", word_file(), _as_it_is),
    # Damage inside the zip, or its checksums would hide it from the reader.
    ("d.docx", _XML, _zipped),
    ("e.html", HTML.encode(), _as_it_is),
    ("f.md", MARKDOWN.encode(), _as_it_is),
    ("h.csv", samples.CSV.encode() * 9, _as_it_is),
    ("i.json", samples.JSON.encode(), _as_it_is),
    ("j.ipynb", samples.notebook([{"cell_type": "code", "source": ["x"], "outputs": [{"text": "1"}]}]), _as_it_is),
    ("k.rst", samples.RST.encode(), _as_it_is),
    ("l.xlsx", samples.workbook(), _as_it_is),
    ("m.pptx", samples.presentation(), _as_it_is),
    ("n.epub", samples.book(), _as_it_is),
    ("g.txt", "第一章 总则\n\n1. NOTES\n\nText über Ärger.\f".encode(), _as_it_is),
]


def _mutated(data: bytes, choice: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(choice.randint(1, 12)):
        at = choice.randrange(len(changed) + 1)
        kind = choice.randrange(5)
        if kind == 0:
            changed[at : at + 1] = bytes([choice.randrange(256)])
        elif kind == 1:
            changed[at:at] = choice.choice(_TOKENS)
        elif kind == 2:
            del changed[at : at + choice.randint(1, 40)]
        elif kind == 3:
            changed[at:at] = changed[max(0, at - 30) : at] * choice.randint(1, 5)
        elif at > len(changed) // 2:
            del changed[at:]
    return bytes(changed)


def test_damaged_files_end_cleanly(tmp_path: Path) -> None:
    choice = random.Random(20)
    path = tmp_path / "file"
    loaded = refused = 0
    with LoadPool(LoadLimits(timeout_s=20, memory_mb=1024), processes=1) as pool, capture_logs() as logs:
        for number in range(_FILES):
            name, data, wrap = _BASES[number % len(_BASES)]
            path.write_bytes(wrap(_mutated(data, choice)))
            try:
                assert pool.load(path, name).text.strip()
                loaded += 1
            except KeepstoneError as error:
                assert error.fix, error  # noqa: PT017 - either outcome is right
                refused += 1
    assert [entry for entry in logs if entry["event"].startswith("loader_")] == [], (
        "a loader met what it did not expect"
    )
    assert loaded + refused == _FILES
    assert min(loaded, refused) > 50, "the damage is too small or too great to test anything"
