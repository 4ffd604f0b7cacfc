"""What is cited of a PDF can be shown in the original: lines know their places, however the page lies."""

from __future__ import annotations

import io

import pypdfium2 as pdfium
import pytest

from keepstone.retrieval.loaders import load
from keepstone.retrieval.types import Box, Document
from tests.retrieval.loaders.samples import lines, pdf_file, ruled_table

_WIDTH, _HEIGHT = 595.28, 841.89
_TEXTS = ["The pump moves forty litres in a minute.", "Clean the filter every day."]


def _turned(rotation: int, *, shift: float = 0.0) -> bytes:
    """Return a page with the two lines, turned, whose lower left corner is not at the origin."""
    with pdfium.PdfDocument(pdf_file([lines(_TEXTS)])) as pdf:
        page = pdf[0]
        page.set_rotation(rotation)
        page.set_cropbox(shift, shift, _WIDTH, _HEIGHT)
        stream = io.BytesIO()
        pdf.save(stream)
    return stream.getvalue()


def _box_of(document: Document, words: str) -> Box:
    start = document.text.index(words)
    [found] = [box for box in document.boxes if box.start <= start < box.end]
    return found


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("shift", [0.0, 50.0])
def test_a_box_holds_the_ink_of_its_line(rotation: int, shift: float) -> None:
    """The page is drawn, and what is dark in it lies in the boxes and nowhere else."""
    data = _turned(rotation, shift=shift)
    document = load(data, "a.pdf")
    assert {document.text[box.start : box.end] for box in document.boxes} == {text[:-1] for text in _TEXTS}
    with pdfium.PdfDocument(data) as pdf:
        picture = pdf[0].render(scale=1, grayscale=True).to_pil()
    for box in document.boxes:
        place = (box.left * picture.width - 1, box.top * picture.height - 1)
        corner = (box.right * picture.width + 2, box.bottom * picture.height + 2)
        inside = (*map(int, place), *map(int, corner))
        assert picture.crop(inside).getextrema()[0] < 128
        picture.paste(255, inside)
    # The full stops, which are no letters, lie in the boxes of their lines as well.
    assert picture.getextrema()[0] > 200


def test_words_that_were_broken_rows_of_tables_and_pages_have_boxes() -> None:
    broken = pdf_file([lines(["A long explana-", "tion of it all, which goes on."]), lines(["Second page."])])
    document = load(broken, "a.pdf")
    explained = _box_of(document, "tion of it all")
    assert 0 < explained.left < explained.right < 1
    assert _box_of(document, "Second page").top == pytest.approx(_box_of(document, "A long").top, abs=0.001)
    table = load(ruled_table(), "b.pdf")
    letters = sum(map(str.isalnum, table.text))
    placed = sum(sum(map(str.isalnum, table.text[box.start : box.end])) for box in table.boxes)
    assert placed > 0.9 * letters


def test_other_formats_have_none() -> None:
    assert load(b"# Title\n\nText.", "a.md").boxes == ()
