"""Small chunks are found, what stands around them is read: with exact spans, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone.platform.access import Scope, readable_scope
from keepstone.retrieval.hits import without_repeats
from keepstone.retrieval.types import Hit
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack

_COLOURS = ["amber", "beige", "coral", "denim", "ebony", "green", "hazel", "ivory", "khaki", "lilac", "mauve", "olive"]
_GUIDE = "# Lamps 💡\n\n" + " ".join(f"The {colour} lamp 💡 lasts {len(colour)}00 hours." for colour in _COLOURS)
_PARTS = "\n\n".join(
    f"# Part {part}\n\n" + "\n\n".join(f"The {colour} valve 清洗 closes side {part}. " * 6 for colour in _COLOURS[:3])
    for part in ("one", "two")
)


@pytest.fixture
def runtime(tmp_path: Path, both_urls: str) -> Iterator[Runtime]:
    with open_stack(tmp_path / "home", database={"url": both_urls}) as opened:
        yield opened


def _scope(runtime: Runtime) -> Scope:
    with runtime.database.reading() as session:
        return readable_scope(session, admin(runtime))


def _ingest(runtime: Runtime, text: str, chunking: dict[str, object]) -> str:
    """Return the document's text as it was stored."""
    me = admin(runtime)
    runtime.library.create_collection(me, "docs", chunking=chunking)
    ingest(runtime, me, "docs", {"guide.md": text.encode()})
    [document] = runtime.library.documents(me, "docs")
    return runtime.library.document_text(me, document.id).text


def test_a_sentence_is_read_with_its_neighbours(runtime: Runtime) -> None:
    text = _ingest(runtime, _GUIDE, {"chunker": "sentence-window", "window_sentences": 2})
    hits = runtime.searcher.search(_scope(runtime), "the ebony lamp", k=20).hits
    best = hits[0]
    assert best.found is not None
    assert "ebony" in text[slice(*best.found)]
    assert [colour for colour in _COLOURS if colour in best.text] == _COLOURS[2:7]
    assert all(text[hit.start : hit.end] == hit.text for hit in hits)
    read = [(hit.start, hit.end) for hit in hits]
    for at, hit in enumerate(hits):
        assert hit.found is not None
        assert not any(start <= hit.found[0] and hit.found[1] <= end for start, end in read[:at])


def test_a_parent_is_read_once_for_all_of_its_children(runtime: Runtime) -> None:
    text = _ingest(runtime, _PARTS, {"chunker": "parent-child", "max_tokens": 64, "parent_tokens": 200})
    scope = _scope(runtime)
    hits = runtime.searcher.search(scope, "coral valve of side two", k=10).hits
    assert [hit.text.split("\n")[0] for hit in hits] == ["# Part two", "# Part one"]
    assert all(text[hit.start : hit.end] == hit.text for hit in hits)
    children = runtime.searcher.search(scope, "coral valve of side two", k=10, widened=False).hits
    assert len(children) > len(hits)
    assert all(text[child.start : child.end] == child.text and child.found is None for child in children)
    [again] = runtime.searcher.passages(scope, [hits[0].chunk_id]).values()
    assert (again.start, again.end, again.text) == (hits[0].start, hits[0].end, hits[0].text)
    assert again.found == hits[0].found


def _hit(chunk: int, span: tuple[int, int], found: tuple[int, int] | None, document: str = "d") -> Hit:
    text = "x" * (span[1] - span[0])
    return Hit(chunk, document, "d.md", "", "c", text, *span, None, "", 1.0 / chunk, None, None, found=found)


def test_only_what_was_read_already_is_passed_over() -> None:
    hits = [
        _hit(1, (0, 50), (20, 30)),
        _hit(2, (10, 60), (30, 40)),  # read with the first
        _hit(3, (10, 60), (30, 40), "other"),
        _hit(4, (30, 80), (50, 60)),
        _hit(5, (85, 90), None),
        _hit(6, (85, 90), None),
    ]
    assert [hit.chunk_id for hit in without_repeats(hits)] == [1, 3, 4, 5, 6]
