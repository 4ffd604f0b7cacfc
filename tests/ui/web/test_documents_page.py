"""The documents page: live states, errors with their fix, thousands of documents, no way into foreign collections."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import DocumentRow, DocumentState
from keepstone.platform.jobs.records import readable_jobs
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.documents import DocumentsPage
from keepstone.ui.web.documents_view import PAGE_SIZE
from keepstone.ui.web.reading import ReadingPanel
from tests.stack import WAIT_S, someone
from tests.ui.web.conftest import COLLECTION, event


@pytest.fixture
def page(runtime: Runtime, tmp_path: Path) -> DocumentsPage:
    made = DocumentsPage(runtime, tmp_path)
    with gr.Blocks():
        made.render()
    return made


@pytest.fixture
def collection(runtime: Runtime, ann: Principal) -> str:
    return runtime.library.collection(ann, COLLECTION).id


@pytest.fixture
def fresh(runtime: Runtime, ann: Principal, request: pytest.FixtureRequest) -> str:
    """Return an empty collection of the test's own."""
    return runtime.library.create_collection(ann, request.node.name[:60]).id


def values(page: DocumentsPage, collection: str, **given: Any) -> dict[Any, Any]:
    """Return what the components hold."""
    return {
        page.collection: collection,
        page.filter: given.get("containing", ""),
        page.state: given.get("state", "All states"),
        page.page_number: given.get("number", 0),
        page.files: given.get("files"),
    }


def fill(runtime: Runtime, collection: str, count: int, state: DocumentState = DocumentState.READY) -> None:
    with runtime.database.transaction() as session:
        session.add_all(
            DocumentRow(collection_id=collection, name=f"minutes-{n:04}.md", state=state, size=n, sha256="0" * 64)
            for n in range(count)
        )


def test_the_fullest_collection_is_shown_first_with_states_and_errors(
    page: DocumentsPage, ann: Principal, collection: str, asks: Callable[..., gr.Request]
) -> None:
    choices, upload, _, summary, table, timer = page.on_collection({}, asks(ann))
    assert choices["value"] == collection
    assert upload["visible"] is True
    assert "4 documents" in summary
    assert "1 not read" in summary
    assert "年假.md" in table
    assert "is empty" in table
    assert timer.active is False


def test_an_upload_is_ingested_while_the_page_watches(
    page: DocumentsPage, runtime: Runtime, ann: Principal, fresh: str, asks: Callable[..., gr.Request], tmp_path: Path
) -> None:
    path = tmp_path / "hash" / "new.md"
    path.parent.mkdir()
    path.write_text("# New\n\nA new thing.\n")
    files = [{"path": str(path), "orig_name": "new.md"}]
    cleared, outcomes, summary, table, timer = page.on_upload(values(page, fresh, files=files), asks(ann))
    assert (cleared, outcomes) == (None, "")
    assert "new.md" in table
    for job_id in _jobs(runtime, ann, fresh):
        runtime.jobs.wait(job_id, WAIT_S)
    summary, table, timer = page.on_tick(values(page, fresh), asks(ann))
    assert timer.active is False
    assert "state-ready" in table
    assert "1 document ·" in summary


def _jobs(runtime: Runtime, principal: Principal, collection: str) -> list[str]:
    with runtime.database.reading() as session:
        return [row.id for row in readable_jobs(session, principal, collection_id=collection)]


def test_the_page_watches_only_while_work_is_under_way(
    page: DocumentsPage, runtime: Runtime, ann: Principal, fresh: str, asks: Callable[..., gr.Request]
) -> None:
    fill(runtime, fresh, 3, DocumentState.ENCODING)
    summary, table, timer = page.on_tick(values(page, fresh), asks(ann))
    assert timer.active is True
    assert "<progress" in summary
    assert 'data-event="cancel"' in summary
    assert table.count("Indexing") == 3


def test_thousands_of_documents_are_paged_filtered_and_counted(
    page: DocumentsPage, runtime: Runtime, ann: Principal, fresh: str, asks: Callable[..., gr.Request]
) -> None:
    fill(runtime, fresh, 5000)
    summary, table, _ = page.on_tick(values(page, fresh), asks(ann))
    assert "5,000 documents" in summary
    assert table.count("<tr data-key") == PAGE_SIZE
    assert "1–50 of 5,000" in table
    number, _, table, _ = page.on_page(values(page, fresh), asks(ann), event(page="99"))
    assert number == 99
    assert "4,951–5,000 of 5,000" in table
    assert "minutes-4999.md" in table
    number, _, table, _ = page.on_filter(values(page, fresh, containing="MINUTES-49", number=99), asks(ann))
    assert number == 0
    assert "1–50 of 100" in table
    _, _, table, _ = page.on_filter(values(page, fresh, containing="no such"), asks(ann))
    assert "No document fits the filter" in table


def test_failed_documents_can_be_shown_alone_and_tried_again(
    page: DocumentsPage, runtime: Runtime, ann: Principal, collection: str, asks: Callable[..., gr.Request]
) -> None:
    state, _, _, table, _ = page.on_show(values(page, collection), asks(ann), event(states="Not read"))
    assert state["value"] == "Not read"
    assert table.count("<tr data-key") == 1
    failed = next(d for d in runtime.library.documents(ann, collection) if d.state == DocumentState.FAILED)
    *_, timer = page.on_retry(values(page, collection), asks(ann), event(document=failed.id))
    assert timer.active is True
    runtime.jobs.wait(_jobs(runtime, ann, collection)[0], WAIT_S)
    assert runtime.library.document(ann, failed.id).state == DocumentState.FAILED
    *_, timer = page.on_retry_all(values(page, collection), asks(ann))
    assert timer.active is True
    runtime.jobs.wait(_jobs(runtime, ann, collection)[0], WAIT_S)


def test_deleting_takes_a_document_off_the_list(
    page: DocumentsPage, runtime: Runtime, ann: Principal, fresh: str, asks: Callable[..., gr.Request]
) -> None:
    fill(runtime, fresh, 1)
    [info] = runtime.library.documents(ann, fresh)
    _, table, _ = page.on_delete(values(page, fresh), asks(ann), event(document=info.id))
    assert "No documents yet" in table


def test_a_collection_is_deleted_after_the_question_that_names_it(
    page: DocumentsPage, runtime: Runtime, ann: Principal, fresh: str, asks: Callable[..., gr.Request]
) -> None:
    empty, _, _ = page.on_tick(values(page, fresh), asks(ann))
    assert "Delete the empty collection" in empty
    fill(runtime, fresh, 1200)
    summary, _, _ = page.on_tick(values(page, fresh), asks(ann))
    name = runtime.library.collection(ann, fresh).name
    assert f"Delete the collection “{name}” with its 1,200 documents?" in summary
    choices, *_ = page.on_delete_collection(asks(ann), event(collection=fresh))
    assert fresh not in dict(choices["choices"]).values()
    assert choices["value"] in dict(choices["choices"]).values()
    with pytest.raises(gr.Error, match="No collection"):
        page.on_delete_collection(asks(ann), event(collection=fresh))


def test_only_owners_are_offered_to_delete_a_collection(
    page: DocumentsPage, runtime: Runtime, ann: Principal, fresh: str, asks: Callable[..., gr.Request]
) -> None:
    fill(runtime, fresh, 1)
    for name, role in (("scribe", "writer"), ("heiress", "owner")):
        who = someone(runtime, name)
        runtime.library.grant(ann, fresh, name, role)
        summary, _, _ = page.on_tick(values(page, fresh), asks(who))
        assert ('data-event="delete_collection"' in summary) == (role == "owner")
        if role == "writer":
            with pytest.raises(gr.Error, match="not"):
                page.on_delete_collection(asks(who), event(collection=fresh))
    assert runtime.library.collection(ann, fresh).documents == 1


def test_collections_are_created_and_bad_names_told(
    page: DocumentsPage, ann: Principal, asks: Callable[..., gr.Request]
) -> None:
    name, choices, *_ = page.on_create("Brand new", asks(ann))
    assert name == ""
    assert "Brand new" in dict(choices["choices"])
    with pytest.raises(gr.Error, match="cannot be named"):
        page.on_create("../<b>", asks(ann))


def test_foreign_collections_and_documents_do_not_exist(
    page: DocumentsPage, runtime: Runtime, ann: Principal, collection: str, asks: Callable[..., gr.Request]
) -> None:
    stranger = asks(someone(runtime, "stranger"))
    document = runtime.library.documents(ann, collection)[0]
    choices, _, _, _, table, _ = page.on_collection(values(page, collection), stranger)
    assert choices["choices"] == []
    assert "No collections yet" in table
    here = values(page, collection)
    clicked = event(document=document.id, page=1, states="Ready")
    for call in (
        lambda: page.on_tick(here, stranger),
        lambda: page.on_page(here, stranger, clicked),
        lambda: page.on_filter(here, stranger),
        lambda: page.on_delete(here, stranger, clicked),
        lambda: page.on_retry(here, stranger, clicked),
        lambda: page.on_retry_all(here, stranger),
        lambda: page.on_cancel(here, stranger),
        lambda: page.on_delete_collection(stranger, event(collection=collection)),
        lambda: ReadingPanel(runtime).on_open(stranger, clicked),
        lambda: ReadingPanel(runtime).on_more(stranger, clicked),
    ):
        with pytest.raises(gr.Error, match=r"No (collection|document)"):
            call()
    assert runtime.library.document(ann, document.id) == document


def test_the_reading_panel_shows_a_cited_passage_or_why_not(
    runtime: Runtime, ann: Principal, collection: str, asks: Callable[..., gr.Request]
) -> None:
    panel = ReadingPanel(runtime)
    info = next(each for each in runtime.library.documents(ann, collection) if each.name == "Warranty.md")
    text = runtime.library.document_text(ann, info.id).text
    start = text.index("The warranty")
    cite: dict[str, Any] = {"document": info.id, "start": str(start), "end": str(start + 30), "sha": info.sha256}
    assert '<mark class="passage">The warranty lasts two years. ' in panel.on_cite(asks(ann), event(**cite))
    assert "has changed" in panel.on_cite(asks(ann), event(**cite | {"sha": "other"}))
    assert "was deleted" in panel.on_cite(asks(ann), event(**cite | {"document": "doc_gone"}))
    assert "was deleted" in panel.on_cite(asks(someone(runtime, "outsider")), event(**cite))
    with pytest.raises(gr.Error, match="no number"):
        panel.on_cite(asks(ann), event(**cite | {"start": "x; drop table"}))


def test_readers_see_documents_but_no_buttons_to_change_them(
    page: DocumentsPage, runtime: Runtime, ann: Principal, collection: str, asks: Callable[..., gr.Request]
) -> None:
    reader = someone(runtime, "reader")
    runtime.library.grant(ann, collection, "reader", "reader")
    _, upload, _, summary, table, _ = page.on_collection(values(page, collection), asks(reader))
    assert upload["visible"] is False
    assert "Warranty.md" in table
    assert 'data-event="delete"' not in table
    assert 'data-event="retry_all"' not in summary
    document = runtime.library.documents(reader, collection)[0]
    with pytest.raises(gr.Error, match="not change it"):
        page.on_delete(values(page, collection), asks(reader), event(document=document.id))
