"""`search`, `read` and `list_documents` show what the principal may read, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keepstone.agents.tools.base import ToolContext
from keepstone.agents.tools.listing import list_documents
from keepstone.agents.tools.read import WINDOW, read
from keepstone.agents.tools.search import search
from keepstone.platform.access import Principal
from keepstone.ui.runtime import Runtime
from tests.stack import admin, ingest, open_stack, someone

LONG = "# Long\n\n" + "\n\n".join(f"Paragraph {number} is about the number {number}." for number in range(400))


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_stack(tmp_path_factory.mktemp("home")) as runtime:
        ingest(
            runtime,
            admin(runtime),
            "manuals",
            {"warranty.md": b"# Warranty\n\nThe warranty lasts two years.", "long.md": LONG.encode()},
        )
        ingest(runtime, admin(runtime), "secret", {"secret.md": b"# Secret\n\nThe code is 4711."})
        yield runtime


@pytest.fixture(scope="module")
def reader(runtime: Runtime) -> Principal:
    """Return somebody who may read the manuals only."""
    ann = someone(runtime, "ann")
    runtime.library.grant(admin(runtime), "manuals", "ann", "reader")
    return ann


def context(runtime: Runtime, principal: Principal, *collections: str) -> ToolContext:
    return ToolContext(principal, collections or None, runtime.database, runtime.searcher, runtime.library)


async def test_search_shows_passages_with_their_places(runtime: Runtime, reader: Principal) -> None:
    seen = await search.call(context(runtime, reader), {"query": "warranty", "k": 3})
    assert "warranty.md" in seen.text
    assert seen.hits[0].text.endswith("The warranty lasts two years.")
    assert len(seen.hits) == 3


async def test_passages_to_answer_from_stand_in_the_plain_order(runtime: Runtime, reader: Principal) -> None:
    """The signs of evidence are fitted to it; what stands around a passage is not to move it."""
    asked = context(runtime, reader, "manuals")
    query = "what is paragraph 7 about"
    for_answers = (await search.call(asked, {"query": query, "k": 5})).hits
    for_people = runtime.searcher.search(asked.scope(), query, k=5).hits
    assert [hit.score for hit in for_answers] == [hit.fused_score for hit in for_answers]
    assert [hit.score for hit in for_people] != [hit.fused_score for hit in for_people]


async def test_search_finds_nothing_of_what_others_own(runtime: Runtime, reader: Principal) -> None:
    seen = await search.call(context(runtime, reader), {"query": "the secret code 4711", "k": 10})
    assert {hit.document_name for hit in seen.hits} <= {"warranty.md", "long.md"}
    assert "4711" not in seen.text


async def test_a_permission_taken_away_counts_at_once(runtime: Runtime) -> None:
    """Also in the middle of a run."""
    bob = someone(runtime, "bob")
    runtime.library.grant(admin(runtime), "manuals", "bob", "reader")
    own = context(runtime, bob, "manuals")
    assert (await search.call(own, {"query": "warranty"})).hits
    runtime.library.revoke(admin(runtime), "manuals", "bob")
    seen = await search.call(own, {"query": "warranty"})
    assert seen.error
    assert not seen.hits


async def test_read_gives_a_window_and_the_passages_in_it(runtime: Runtime, reader: Principal) -> None:
    seen = await read.call(context(runtime, reader), {"document": "long.md", "from_character": 100})
    assert seen.text.partition("\n")[2] == LONG[100 : 100 + WINDOW]
    assert f"It goes on at character {100 + WINDOW}" in seen.text
    assert seen.hits
    assert all(hit.start < 100 + WINDOW and hit.end > 100 for hit in seen.hits)
    assert all(LONG[hit.start : hit.end] == hit.text for hit in seen.hits)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"document": "waranty.md"}, "Did you mean 'warranty.md'?"),
        ({"document": "secret.md"}, "No document 'secret.md'"),
        ({"document": "warranty.md", "page": 2}, "has no pages"),
        ({"document": "warranty.md", "from_character": 9999}, "ends at character"),
    ],
)
async def test_what_cannot_be_read_is_told(
    runtime: Runtime, reader: Principal, arguments: dict[str, object], said: str
) -> None:
    seen = await read.call(context(runtime, reader), arguments)
    assert seen.error
    assert said in seen.text
    assert "4711" not in seen.text


async def test_documents_are_listed_by_name(runtime: Runtime, reader: Principal) -> None:
    assert (await list_documents.call(context(runtime, reader), {})).text.splitlines() == [
        "long.md (Long)",
        "warranty.md (Warranty)",
    ]
    assert "long" not in (await list_documents.call(context(runtime, reader), {"containing": "WARR"})).text
    assert (await list_documents.call(context(runtime, reader), {"containing": "secret"})).text.startswith(
        "No document"
    )
    everything = (await list_documents.call(context(runtime, admin(runtime)), {})).text
    assert "secret: secret.md (Secret)" in everything
