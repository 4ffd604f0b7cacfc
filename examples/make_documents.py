"""Regenerate the DOCX and PDF files of the example document set.

Run from the root of the repository, with python-docx installed, and on the machine
Chromium with the fonts Liberation Sans and Droid Sans Fallback (Debian: chromium,
fonts-liberation, fonts-droid-fallback; with another Chinese font the Chinese PDF file
becomes several times as large):

    python examples/make_documents.py

Every ``*.md`` file in ``examples/sources`` becomes a DOCX file and every ``*.html``
file there becomes a PDF file in ``examples/documents``. The Markdown, HTML and text
files in ``examples/documents`` are edited by hand and are not touched. Dates inside
the files are pinned, so that a second run on the same machine changes nothing.
"""

import argparse
import datetime
import io
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import docx
from docx.document import Document
from docx.enum.text import WD_TAB_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor
from docx.text.paragraph import Paragraph

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "sources"
DOCUMENTS = HERE / "documents"

PINNED = datetime.datetime(2026, 3, 16, 9, 0, 0)
DARK = RGBColor(0x0D, 0x4F, 0x5C)
WEST_FONT = "Liberation Sans"
EAST_FONT = "Noto Sans CJK SC"

BOLD = re.compile(r"\*\*(.+?)\*\*")
HEADING = re.compile(r"(#{1,3}) (.+)")
RULE = re.compile(r"\|[\s:|-]+\|")
PDF_DATE = re.compile(rb"/(CreationDate|ModDate) \(D:\d{14}")


def read_source(path: Path) -> tuple[dict[str, str], list[str]]:
    """Split a source into its ``% key: value`` header and its lines."""
    header: dict[str, str] = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("% "):
            key, _, value = line[2:].partition(":")
            header[key.strip()] = value.strip()
        else:
            lines.append(line.rstrip())
    return header, lines


def blocks(lines: list[str]) -> list[list[str]]:
    """Group lines into blocks separated by blank lines."""
    result: list[list[str]] = [[]]
    for line in lines:
        if line:
            result[-1].append(line)
        elif result[-1]:
            result.append([])
    return [block for block in result if block]


def add_runs(paragraph: Paragraph, text: str) -> None:
    """Add text to a paragraph, with ``**bold**`` stretches as bold runs."""
    for index, part in enumerate(BOLD.split(text)):
        if part:
            paragraph.add_run(part).bold = True if index % 2 else None


def add_field(paragraph: Paragraph, instruction: str) -> None:
    """Add a field such as PAGE, which the word processor fills in."""
    element = OxmlElement("w:fldSimple")
    element.set(qn("w:instr"), instruction)
    run = OxmlElement("w:r")
    text = OxmlElement("w:t")
    text.text = "1"
    run.append(text)
    element.append(run)
    paragraph.paragraph_format.element.append(element)


def set_fonts(document: Document) -> None:
    """Give all styles in use the fonts, sizes and colours of the company."""
    sizes = {"Normal": 10.5, "Title": 26, "Subtitle": 11, "Heading 1": 16, "Heading 2": 12.5}
    for name, size in {**sizes, "Heading 3": 11}.items():
        style = document.styles[name]
        style.font.name = WEST_FONT
        style.font.size = Pt(size)
        if name != "Normal":
            style.font.color.rgb = DARK
            style.font.italic = False
        fonts = style.element.get_or_add_rPr().get_or_add_rFonts()
        for attribute in list(fonts.attrib):
            if attribute.endswith("Theme"):
                del fonts.attrib[attribute]
        fonts.set(qn("w:hAnsi"), WEST_FONT)
        fonts.set(qn("w:eastAsia"), EAST_FONT)
    document.styles["Normal"].paragraph_format.space_after = Pt(6)
    document.styles["List Bullet"].paragraph_format.space_after = Pt(2)


def add_table(document: Document, block: list[str]) -> None:
    """Add a Markdown table as a real table with a repeated, shaded header row."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block if not RULE.fullmatch(line)]
    table = document.add_table(rows=len(rows), cols=len(rows[0]), style="Table Grid")
    for row_index, (row, cells) in enumerate(zip(table.rows, rows, strict=True)):
        cell_element = row.cells[0].paragraphs[0].paragraph_format.element.getparent()
        properties = cell_element.getparent().get_or_add_trPr()
        properties.append(OxmlElement("w:cantSplit"))
        if row_index == 0:
            properties.append(OxmlElement("w:tblHeader"))
        for cell, text in zip(row.cells, cells, strict=True):
            paragraph = cell.paragraphs[0]
            paragraph.paragraph_format.space_after = Pt(2)
            add_runs(paragraph, f"**{text}**" if row_index == 0 and text else text)
            if row_index == 0:
                shade = OxmlElement("w:shd")
                shade.set(qn("w:val"), "clear")
                shade.set(qn("w:fill"), "E3EDEF")
                paragraph.paragraph_format.element.getparent().get_or_add_tcPr().append(shade)
    document.add_paragraph().paragraph_format.space_after = Pt(0)


def add_block(document: Document, block: list[str]) -> None:
    """Add one heading, table, list or paragraph."""
    heading = HEADING.fullmatch(block[0])
    if heading:
        document.add_heading(heading[2], level=len(heading[1]))
        if block[1:]:
            add_block(document, block[1:])
    elif block[0].startswith("|"):
        add_table(document, block)
    elif block[0].startswith("- "):
        for line in block:
            add_runs(document.add_paragraph(style="List Bullet"), line.removeprefix("- "))
    else:
        add_runs(document.add_paragraph(), " ".join(block))


def pin_zip(data: bytes) -> bytes:
    """Rewrite a ZIP file with a fixed time for each member."""
    result = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as old,
        zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            member = zipfile.ZipInfo(name, PINNED.timetuple()[:6])
            member.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(member, old.read(name))
    return result.getvalue()


def make_docx(source: Path, target: Path) -> None:
    """Make a DOCX file with real heading, list and table styles."""
    header, lines = read_source(source)
    document = docx.Document()
    set_fonts(document)
    section = document.sections[0]
    section.page_width, section.page_height = Cm(21.0), Cm(29.7)
    section.left_margin = section.right_margin = Cm(2.4)
    section.top_margin = section.bottom_margin = Cm(2.2)

    footer = section.footer.paragraphs[0]
    footer.style = document.styles["Normal"]
    footer.paragraph_format.tab_stops.add_tab_stop(Cm(16.2), WD_TAB_ALIGNMENT.RIGHT)
    footer.add_run(f"{header['footer']}\t")
    add_field(footer, "PAGE")
    for run in footer.runs:
        run.font.size = Pt(8)

    document.add_paragraph(header["title"], style="Title")
    document.add_paragraph(header["subtitle"], style="Subtitle")
    for block in blocks(lines):
        add_block(document, block)

    properties = document.core_properties
    properties.title = header["title"]
    properties.author = "Kelderwick Instruments"
    properties.language = header["language"]
    properties.comments = ""
    properties.created = properties.modified = PINNED
    buffer = io.BytesIO()
    document.save(buffer)
    target.write_bytes(pin_zip(buffer.getvalue()))


def make_pdf(source: Path, target: Path, chromium: str) -> None:
    """Print an HTML file to PDF with headless Chromium."""
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [
                chromium,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                f"--user-data-dir={profile}",
                "--no-pdf-header-footer",
                f"--print-to-pdf={target}",
                source.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
    stamp = PINNED.strftime("%Y%m%d%H%M%S").encode()
    data = PDF_DATE.sub(rb"/\1 (D:" + stamp, target.read_bytes())
    target.write_bytes(data)


def main(argv: list[str] | None = None) -> int:
    """Make all files and print their sizes."""
    parser = argparse.ArgumentParser(description="Make the DOCX and PDF example documents.")
    parser.add_argument("--chromium", default="chromium", help="the browser which prints")
    arguments = parser.parse_args(argv)
    DOCUMENTS.mkdir(exist_ok=True)
    for source in sorted(SOURCES.iterdir()):
        if source.suffix == ".md":
            target = DOCUMENTS / f"{source.stem}.docx"
            make_docx(source, target)
        elif source.suffix == ".html":
            target = DOCUMENTS / f"{source.stem}.pdf"
            make_pdf(source, target, arguments.chromium)
        else:
            continue
        print(f"{target.stat().st_size:8d}  {target.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
