"""Pictures of text are read where tesseract is installed; where it is not, the error says how to install it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import LoadLimits, LoadPool, load, ocr
from keepstone.retrieval.loaders.detect import JPEG, PDF, PNG, TIFF, detect

_NEEDS_TESSERACT = pytest.mark.skipif(not shutil.which("tesseract"), reason="tesseract-ocr is not installed")
_FIRST, _SECOND = "Clean the filter daily", "The warranty lasts two years"


def _picture(*lines: str) -> Image.Image:
    """Return a picture of paragraphs."""
    picture = Image.new("RGB", (900, 120 + 120 * len(lines)), "white")
    drawing = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        drawing.text((60, 60 + 120 * number), line, fill="black", font=ImageFont.load_default(44))
    return picture


def _saved(picture: Image.Image, kind: str, more: Sequence[Image.Image] = ()) -> bytes:
    stream = io.BytesIO()
    options = {"save_all": True, "append_images": list(more)} if kind == "TIFF" else {}
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _scan() -> bytes:
    """Return a PDF with a page of text, a page that is a picture, and an empty one."""
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=(450, 300), invariant=True)
    canvas.drawString(50, 200, "A page with a text layer.")
    canvas.showPage()
    canvas.drawImage(ImageReader(_picture(_FIRST, _SECOND)), 0, 0, 450, 180)
    canvas.showPage()
    canvas.showPage()
    canvas.save()
    return stream.getvalue()


def test_pictures_are_told_by_their_content() -> None:
    picture = _picture(_FIRST)
    assert [detect(_saved(picture, kind), "a.txt") for kind in ("PNG", "JPEG", "TIFF")] == [PNG, JPEG, TIFF]


def test_without_tesseract_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "program", lambda: None)
    with pytest.raises(UnreadableDocument, match="needs OCR") as caught:
        load(_saved(_picture(_FIRST), "PNG"), "a.png")
    assert caught.value.fix is not None
    assert "apt-get install tesseract-ocr" in caught.value.fix
    document = load(_scan(), "a.pdf")
    assert document.text == "A page with a text layer."


@_NEEDS_TESSERACT
def test_a_picture_is_read_in_the_worker_process(tmp_path: Path) -> None:
    """Where programs are forbidden, and this one allowed."""
    path = tmp_path / "file"
    with LoadPool(LoadLimits(timeout_s=250), processes=1) as pool:
        path.write_bytes(_saved(_picture(_FIRST, _SECOND), "PNG"))
        document = pool.load(path, "a.png")
        assert (document.media_type, document.title) == (PNG, "a")
        assert document.parser.startswith("image/1 tesseract ")
        assert document.text == f"{_FIRST}\n\n{_SECOND}"
        path.write_bytes(_scan())
        scan = pool.load(path, "a.pdf")
    assert scan.media_type == PDF
    assert [scan.text[page.start : page.end].strip() for page in scan.pages] == [
        "A page with a text layer.",
        f"{_FIRST}\n\n{_SECOND}",
        "",
    ]


@_NEEDS_TESSERACT
def test_each_page_of_a_tiff_is_a_page() -> None:
    document = load(_saved(_picture(_FIRST), "TIFF", [_picture(_SECOND)]), "a.tiff", LoadLimits(timeout_s=250))
    assert [document.text[page.start : page.end].strip() for page in document.pages] == [_FIRST, _SECOND]


@_NEEDS_TESSERACT
def test_transparent_pictures_stand_on_white_and_empty_ones_are_told() -> None:
    clear = Image.new("RGBA", (900, 240), (0, 0, 0, 0))
    ImageDraw.Draw(clear).text((60, 60), _FIRST, fill="black", font=ImageFont.load_default(44))
    assert load(_saved(clear, "PNG"), "a.png", LoadLimits(timeout_s=250)).text == _FIRST
    with pytest.raises(UnreadableDocument, match="no text was found"):
        load(_saved(Image.new("L", (300, 200), "white"), "PNG"), "a.png", LoadLimits(timeout_s=250))


@_NEEDS_TESSERACT
def test_recognition_is_stopped_in_time() -> None:
    with pytest.raises(LimitExceeded, match=r"ingestion\.load_timeout_s") as caught:
        load(_saved(_picture(_FIRST), "PNG"), "a.png", LoadLimits(timeout_s=0.001))
    assert caught.value.fix


@_NEEDS_TESSERACT
def test_pictures_of_too_many_pixels_are_refused() -> None:
    with pytest.raises(LimitExceeded, match="million pixels"):
        load(_saved(Image.new("1", (20_000, 10_000)), "PNG"), "a.png")


@given(data=st.data())
@settings(max_examples=100)
def test_damaged_pictures_end_cleanly(data: st.DataObject) -> None:
    """Of the recognition itself nothing is asked here, which would take minutes."""
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "TIFF"]))
    original = _saved(_picture(_FIRST).resize((90, 24)), kind)
    changed = bytearray(original)
    for at, new in data.draw(st.lists(st.tuples(st.integers(4, len(original) - 1), st.binary(max_size=6)), max_size=8)):
        changed[at : at + len(new)] = new
    if data.draw(st.booleans()):
        del changed[data.draw(st.integers(4, len(changed))) :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ocr, "program", lambda: "tesseract")
        patch.setattr(ocr, "version", lambda: "0")
        patch.setattr(ocr, "_languages", lambda: ("eng",))
        patch.setattr(ocr, "_run", lambda *_: "level\tblock_num\tpar_num\tline_num\tconf\ttext\n5\t1\t1\t1\t90\tword\n")
        try:
            assert load(bytes(changed), "a.png").text
        except (UnreadableDocument, LimitExceeded) as error:
            assert error.fix  # noqa: PT017 - either outcome is right
