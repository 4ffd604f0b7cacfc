"""Small files of every format, made on the spot."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import docx
from docx.document import Document as Word
from reportlab.lib.pagesizes import A4
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

HTML = """<!DOCTYPE html><html><head><title>Pump manual</title><style>p {color: red}</style>
<script>var tracking = "secret";</script></head><body>
<header><a href="/">Home</a><form><input name="q"><button>Search</button></form></header>
<nav><ul><li><a href="/a">Products</a></li><li><a href="/b">Contact</a></li></ul></nav>
<main><h1>Pump <em>P-40</em></h1><p>Clean the <a href="http://example.org/x">filter</a> daily.</p>
<h2>Parts</h2><table><tr><th>Part</th><th>Count</th></tr><tr><td rowspan="2">Screw</td><td>4 | 5</td></tr>
<tr><td>6</td></tr></table>
<ul><li>First<ul><li>Inner</li></ul></li><li>Second</li></ul><ol start="3"><li>Third step</li></ol>
<pre><code class="language-sh">run   --now
# not a heading</code></pre></main>
<aside>Related articles</aside><footer>Imprint</footer></body></html>"""

MARKDOWN = """---
title: "Pump manual"
tags: [a, b]
---
# Pump *P-40*

Clean the filter daily.

```sh
# not a heading
```

Parts
-----

| Part | Count |
| --- | --- |
| Screw | 4 |
"""


def word_file(fill: object = None) -> bytes:
    """Return a Word document with a title, two levels of headings, a list, a merged table and Chinese text."""
    word: Word = docx.Document()
    word.add_heading("Pump manual", 0)
    word.add_heading("Care", 1)
    word.add_paragraph("Clean the filter daily.")
    word.add_heading("清洗", 2)
    word.add_paragraph("每天清洗过滤器。")
    word.add_paragraph("First", style="List Bullet")
    word.add_paragraph("Second", style="List Bullet")
    table = word.add_table(rows=3, cols=2)
    for row, texts in enumerate((("Part", "Count"), ("Screw", "4"), ("", "6"))):
        for column, text in enumerate(texts):
            table.cell(row, column).text = text
    table.cell(1, 0).merge(table.cell(2, 0))
    return saved(word)


def saved(word: Word) -> bytes:
    """Return the bytes of a python-docx document."""
    stream = io.BytesIO()
    word.save(stream)
    return stream.getvalue()


def zip_of(parts: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of the given parts."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return stream.getvalue()


def raw_word(body: str, **others: bytes) -> bytes:
    """Return a Word document whose `w:body` holds the given XML; further parts by file name without ending."""
    document = (
        '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
        ' xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
        ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f"<w:body>{body}</w:body></w:document>"
    )
    parts = {"[Content_Types].xml": b"<Types/>", "word/document.xml": document.encode()}
    return zip_of(parts | {f"word/{name}.xml": data for name, data in others.items()})


def pdf_file(
    pages: Sequence[Sequence[tuple[str, float, float, int]]], *, password: str | None = None, header: str = ""
) -> bytes:
    """Return a PDF; each page is a list of (text, x, y, size), a size below zero for bold."""
    stream = io.BytesIO()
    encryption = StandardEncryption(password, ownerPassword="owner") if password is not None else None
    canvas = Canvas(stream, pagesize=A4, encrypt=encryption, invariant=True)
    for number, page in enumerate(pages, start=1):
        for text, x, y, size in page:
            canvas.setFont("Helvetica-Bold" if size < 0 else "Helvetica", abs(size))
            canvas.drawString(x, y, text)
        if header:
            canvas.setFont("Helvetica", 8)
            canvas.drawString(70, 815, header)
            canvas.drawString(300, 20, f"Page {number} of {len(pages)}")
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


def lines(
    texts: Sequence[str], *, top: float = 760, size: int = 10, x: float = 70
) -> list[tuple[str, float, float, int]]:
    """Return texts set under each other, as `pdf_file` takes them."""
    return [(text, x, top - index * 1.2 * abs(size), size) for index, text in enumerate(texts)]


def ruled_table() -> bytes:
    """Return a PDF with a paragraph and a table with lines."""
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=A4, invariant=True)
    canvas.setFont("Helvetica", 10)
    canvas.drawString(70, 760, "The parts of the pump are listed here.")
    cells = [["Part", "Count"], ["Screw", "4"], ["Nut", "6"]]
    canvas.grid([70, 170, 270], [700 - 20 * row for row in range(4)])
    for row, texts in enumerate(cells):
        for column, text in enumerate(texts):
            canvas.drawString(75 + 100 * column, 686 - 20 * row, text)
    canvas.drawString(70, 600, "After the table.")
    canvas.save()
    return stream.getvalue()
