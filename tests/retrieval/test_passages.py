"""Passages by ids of one's own: whole, exact, with what is known of them, however odd their ids are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.platform.errors import InvalidInput, KeepstoneError, LimitExceeded
from keepstone.platform.settings import ChunkingSettings
from keepstone.retrieval.encoder import HashEncoder
from keepstone.retrieval.loaders.base import LoadLimits
from keepstone.retrieval.loaders.passage import passage_file, passage_id, passage_name
from keepstone.retrieval.loaders.registry import load
from keepstone.retrieval.local import Retrieval, open_retrieval
from keepstone.retrieval.passages import Passage, Passages

_LAMP = Passage("lamp", "The lamp lasts 900 hours.", {"room": 7, "tags": ["a", "b"]})
_FUSE = Passage("fuse", "The fuse is rated at 3 ampere.", {"room": 8})
_LONG = Passage("long", "\n\n".join(f"Paragraph {number} of the long story about lamps." for number in range(60)))


@pytest.fixture
def retrieval(tmp_path: Path) -> Iterator[Retrieval]:
    small = ChunkingSettings(max_tokens=32)
    with open_retrieval(tmp_path / "folder", encoder=HashEncoder(), chunking=small) as opened:
        yield opened


@pytest.fixture
def passages(retrieval: Retrieval) -> Passages:
    return Passages(retrieval)


def nearest(passages: Passages, query: str, k: int = 4, **where: object) -> list[str]:
    vector = passages.encoder.encode_query(query)
    return [passage.id for passage, _ in passages.nearest(vector, k, where=where or None)]


def test_what_is_put_is_got(passages: Passages) -> None:
    passages.put([_LAMP, _FUSE])
    assert passages.get(["fuse", "nothing", "lamp"]) == [_FUSE, _LAMP]
    assert nearest(passages, "the lamp lasts hours") == ["lamp", "fuse"]


def test_a_long_text_is_found_by_any_part_and_comes_back_whole(passages: Passages) -> None:
    """It has more parts than are asked for, and still takes one place only."""
    passages.put([_LONG, _FUSE])
    assert passages.get(["long"]) == [_LONG]
    vector = passages.encoder.encode_query("Paragraph 59 of the long story about lamps.")
    found = passages.nearest(vector, 2)
    assert [passage for passage, _ in found] == [_LONG, _FUSE]
    assert found[0][1] > found[1][1]


def test_the_same_text_under_two_ids_is_two_passages(passages: Passages) -> None:
    passages.put([Passage("a", _LAMP.text), Passage("b", _LAMP.text)])
    assert sorted(nearest(passages, _LAMP.text)) == ["a", "b"]


def test_only_what_matches_is_found(passages: Passages) -> None:
    passages.put([_LAMP, _FUSE])
    assert nearest(passages, "the lamp", room=8) == ["fuse"]
    assert nearest(passages, "the lamp", room=9) == []


def test_removing_some_and_all(passages: Passages) -> None:
    passages.put([_LAMP, _FUSE, _LONG])
    assert passages.remove(["lamp", "nothing"]) == 1
    assert nearest(passages, "the lamp and the fuse", k=9) == ["fuse", "long"]
    assert passages.remove() == 2
    assert nearest(passages, "the lamp") == []


def test_passages_of_files_have_their_place(retrieval: Retrieval, passages: Passages) -> None:
    """A collection may hold both; files are left alone by `remove`."""
    retrieval.add([("lamp.txt", b"The lamp lasts 900 hours.")])
    passages.put([_FUSE])
    [(passage, _)] = passages.nearest(passages.encoder.encode_query("the lamp lasts"), 1)
    assert (passage.text, passage.details["document"]) == ("The lamp lasts 900 hours.", "lamp.txt")
    assert passages.remove() == 1
    assert len(nearest(passages, "lamp")) == 1


def test_hybrid_search_takes_the_same_filter(retrieval: Retrieval, passages: Passages) -> None:
    passages.put([_LAMP, _FUSE])
    [hit] = retrieval.search("the lamp", where={"room": 8}).hits
    assert hit.text == _FUSE.text


def test_a_bad_passage_is_refused_before_anything_is_stored(passages: Passages) -> None:
    bad = [
        Passage("", "text"),
        Passage("x" * 300, "text"),
        Passage("empty", "  \n"),
        Passage("object", "text", {"a": object()}),
        Passage("nan", "text", {"a": float("nan")}),
        Passage("large", "text", {"a": "x" * 70_000}),
    ]
    for each in bad:
        with pytest.raises((InvalidInput, LimitExceeded)):
            passages.put([_LAMP, each])
    assert passages.get(["lamp"]) == []


@given(st.text(min_size=1, max_size=20))
def test_any_id_makes_a_name_and_comes_back(chosen: str) -> None:
    try:
        name = passage_name(chosen)
    except UnicodeEncodeError:  # pragma: no cover - would be a fault
        pytest.fail("an id must not fail to be written")
    assert "/" not in name
    assert passage_id(name) == chosen


@given(st.binary(max_size=200))
def test_bytes_that_only_look_like_a_passage_are_refused(tail: bytes) -> None:
    """Somebody may upload such a file."""
    try:
        document = load(b'{"keepstone": "passage/1", ' + tail, "a.passage.json", LoadLimits())
    except KeepstoneError:
        return
    assert document.text.strip()


def test_the_bytes_say_all(passages: Passages) -> None:
    name, data = passage_file(_LAMP.id, _LAMP.text, _LAMP.details)
    document = load(data, name, LoadLimits())
    assert (document.text, document.details, document.title) == (_LAMP.text, _LAMP.details, "")
