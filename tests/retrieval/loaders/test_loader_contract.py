"""What every loader promises: one text for the same bytes, spans that lie in it, and errors a person can act on."""

from __future__ import annotations

import functools
import io
import zipfile
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.platform.errors import LimitExceeded, UnreadableDocument
from keepstone.retrieval.loaders import LoadLimits, load
from keepstone.retrieval.loaders.detect import detect
from keepstone.retrieval.loaders.registry import loader_for
from tests.retrieval.loaders import office_samples as samples
from tests.retrieval.loaders.mail_samples import mailbox_file
from tests.retrieval.loaders.samples import HTML, MARKDOWN, lines, pdf_file, word_file, zip_of

_CELLS = [{"cell_type": "markdown", "source": "# Title\n\ntext"}, {"cell_type": "code", "source": "x = 1"}]
_FILES: dict[str, bytes] = {
    "a.csv": samples.CSV.encode() * 20,
    "a.docx": word_file(),
    "a.epub": samples.book(),
    "a.html": HTML.encode(),
    "a.ipynb": samples.notebook(_CELLS),
    "a.json": samples.JSON.encode(),
    "a.jsonl": b'{"question": "Why?", "answer": "Because."}\n' * 5,
    "a.md": MARKDOWN.encode(),
    "a.mbox": mailbox_file(),
    "a.ods": samples.stored(samples.table_parts(samples.table_of(samples.PARTS))),
    "a.odt": samples.stored(samples.text_parts("<text:h text:outline-level='1'>Title</text:h><text:p>text</text:p>")),
    "a.pdf": pdf_file([lines(["A page of text."]), lines(["Another."])]),
    "a.pptx": samples.presentation(),
    "a.rst": samples.RST.encode(),
    "a.tsv": samples.CSV.replace(";", "\t").encode(),
    "a.txt": b"1. NOTES\n\nText.\f",
    "a.xlsx": samples.workbook(),
}
_EVERY = pytest.mark.parametrize("name", sorted(_FILES))
_TOKENS = (
    b"\x00",
    b"\xff",
    b"<",
    b">",
    b"'",
    b"&#0;",
    b"&a;",
    b"99999999999",
    b"-1",
    b"[",
    b'"',
    b"`",
    b"::\n\n",
    b"\n",
)


@_EVERY
def test_the_same_bytes_give_the_same_document(name: str) -> None:
    document = load(_FILES[name], name)
    for other in ("a.rst", "a.csv", "a.docx"):
        load(_FILES[other], other)
    assert load(_FILES[name], name) == document
    loader = loader_for(detect(_FILES[name], name))
    assert document.media_type in loader.media_types
    assert document.parser.startswith(f"{loader.name}/{loader.version}")


@_EVERY
def test_every_span_lies_in_the_text(name: str) -> None:
    document = load(_FILES[name], name)
    length = len(document.text)
    assert document.title
    for heading in document.headings:
        assert 0 <= heading.start < heading.end <= length
        line = document.text[heading.start :].partition("\n")[0]
        assert heading.title in line.replace("*", "") or name in {"a.md", "a.txt"}
    starts = [heading.start for heading in document.headings]
    assert starts == sorted(starts)
    if document.pages:
        assert document.pages[0].start == 0
        assert document.pages[-1].end == length
        assert all(first.end == second.start for first, second in pairwise(document.pages))


@_EVERY
def test_text_is_capped(name: str) -> None:
    longest = len(load(_FILES[name], name).text)
    load(_FILES[name], name, LoadLimits(max_text_chars=max(longest, len(_FILES[name]))))
    with pytest.raises(LimitExceeded):
        load(_FILES[name], name, LoadLimits(max_text_chars=min(longest - 1, 10)))


@_EVERY
@pytest.mark.parametrize("data", [b"", b"\x00" * 50, b" \n\t", b"\xef\xbb\xbf"])
def test_empty_files_are_named(name: str, data: bytes) -> None:
    with pytest.raises(UnreadableDocument, match="is empty") as caught:
        load(data, name)
    assert caught.value.fix


@functools.cache
def _parts(name: str) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(_FILES[name])) as archive:
        return {entry: archive.read(entry) for entry in archive.namelist()}


@st.composite
def _damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw a few changes: bytes replaced, put in, taken out, or the end cut off."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(changed)))
        kind = draw(st.sampled_from(("replace", "insert", "delete", "cut")))
        if kind == "replace":
            changed[at : at + 1] = draw(st.binary(min_size=1, max_size=3))
        elif kind == "insert":
            changed[at:at] = draw(st.sampled_from(_TOKENS)) * draw(st.sampled_from((1, 1, 200)))
        elif kind == "delete":
            del changed[at : at + draw(st.integers(1, 40))]
        elif at > len(changed) // 2:
            del changed[at:]
    return bytes(changed)


@_EVERY
@settings(max_examples=25)
@given(data=st.data())
def test_damage_gives_a_document_or_an_error_with_a_fix(name: str, data: st.DataObject) -> None:
    """For formats that are zips, a part is damaged, or checksums would keep the damage from the reader."""
    whole = _FILES[name]
    if whole.startswith(b"PK"):
        part = data.draw(
            st.sampled_from([entry for entry in _parts(name) if entry.endswith((".xml", ".opf", ".rels"))])
        )
        damaged = samples.stored(_parts(name) | {part: data.draw(_damaged(_parts(name)[part]))})
    else:
        damaged = data.draw(_damaged(whole))
    try:
        document = load(damaged, name)
    except (UnreadableDocument, LimitExceeded) as error:
        assert error.fix  # noqa: PT017 - either outcome is right
    else:
        assert document.text.strip()
        assert all(0 <= heading.start <= heading.end <= len(document.text) for heading in document.headings)


@pytest.mark.parametrize("name", [name for name in sorted(_FILES) if _FILES[name].startswith(b"PK")])
def test_a_zip_cut_anywhere_is_named(name: str) -> None:
    whole = _FILES[name]
    for cut in (30, len(whole) // 3, len(whole) - 25):
        with pytest.raises(UnreadableDocument, match="damaged"):
            load(whole[:cut], name)


def test_a_wrong_ending_does_no_harm() -> None:
    for name in ("a.docx", "a.xlsx", "a.pptx", "a.epub", "a.odt", "a.pdf"):
        for wrong in ("a.csv", "a.json", "a.rst", "a.txt", "a"):
            assert load(_FILES[name], wrong).text == load(_FILES[name], name).text
    with pytest.raises(UnreadableDocument, match="zip archive"):
        load(zip_of({"notes.txt": b"hello"}), "a.xlsx")
