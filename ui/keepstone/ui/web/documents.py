"""The documents page: collections, uploads with live progress, errors with their fix, retry and delete."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import gradio as gr
from gradio.blocks import Block

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import OPEN_JOBS, DocumentState, utc_now
from keepstone.platform.errors import NotFound
from keepstone.platform.jobs.records import find_job, readable_jobs
from keepstone.retrieval.ingest import KIND as INGEST
from keepstone.retrieval.library import CollectionInfo
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import documents_view as view
from keepstone.ui.web.caller import principal_of, told
from keepstone.ui.web.components import ALWAYS, LATEST, QUIET, interactive_html, number, payload
from keepstone.ui.web.documents_view import PAGE_SIZE, Listing
from keepstone.ui.web.markup import Markup
from keepstone.ui.web.reading import ReadingPanel
from keepstone.ui.web.sources import SourcesPanel
from keepstone.ui.web.uploads import add_uploads

_REFRESH_S: Final = 1.0
_NOTHING: Final = Markup("")


_Values = dict[Any, Any]
"""What the components of the page hold, by component."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the page shows."""

    collection: str
    """Its id; empty while none is chosen."""
    containing: str = ""
    states: tuple[DocumentState, ...] = ()
    page: int = 0
    """Counted from 0."""


class DocumentsPage:
    """One collection at a time.

    Args:
        runtime: the services.
        uploads: folder in which Gradio keeps uploads until they are stored.
    """

    def __init__(self, runtime: Runtime, uploads: Path) -> None:
        self._runtime = runtime
        self._uploads = uploads
        self._sources = SourcesPanel(runtime)

    def render(self) -> None:
        """Build the components, inside an open `gr.Blocks`."""
        with gr.Column(elem_id="page-documents", elem_classes="page"):
            gr.HTML("<h2>Documents</h2>", apply_default_css=False, elem_classes="page-title")
            with gr.Row(elem_id="collection-row"):
                self.collection = gr.Dropdown([], label="Collection", elem_id="documents-collection", interactive=True)
                with gr.Row(elem_id="new-collection"):
                    self.new_name = gr.Textbox(
                        label="New collection", placeholder="Name", max_lines=1, max_length=63, elem_id="new-name"
                    )
                    self.create = gr.Button("Create", elem_id="create-collection", size="sm")
            self.files = gr.File(
                label="PDF, Office, HTML, Markdown, text, tables, books, mail, code, scans; or a zip or tar of these",
                file_count="multiple",
                elem_id="upload",
                height=132,
                visible=False,
            )
            self.outcomes = interactive_html("dismiss", elem_id="outcomes")
            with gr.Row(elem_id="list-head"):
                self.summary = interactive_html("show", "cancel", "retry_all", "delete_collection", elem_id="summary")
                self.filter = gr.Textbox(
                    label="Filter by name",
                    show_label=False,
                    placeholder="Filter by name",
                    max_lines=1,
                    max_length=255,
                    container=False,
                    elem_id="filter",
                )
                self.state = gr.Dropdown(
                    list(view.STATE_FILTERS),
                    value=next(iter(view.STATE_FILTERS)),
                    label="Filter by state",
                    show_label=False,
                    container=False,
                    filterable=False,
                    interactive=True,
                    elem_id="state-filter",
                )
            self.table = interactive_html("open", "delete", "retry", "turn_page", elem_id="documents-table")
            self._sources.render()
        self.page_number = gr.Number(0, visible="hidden", precision=0, label="Page", elem_id="page-number")
        self.timer = gr.Timer(_REFRESH_S, active=False)

    def connect(self, blocks: gr.Blocks, reading: ReadingPanel) -> None:
        """Wire the events. A set of inputs reaches its handler as one dictionary."""
        place: set[Block] = {self.collection, self.filter, self.state, self.page_number}
        shown = [self.summary, self.table, self.timer]
        turned = [self.page_number, *shown]
        everything = [self.collection, self.files, *turned]
        created = [self.new_name, *everything]
        blocks.load(self.on_collection, {self.collection}, everything, **QUIET)
        self.collection.input(self.on_collection, place, everything, **ALWAYS)
        self.create.click(self.on_create, self.new_name, created, **QUIET)
        self.new_name.submit(self.on_create, self.new_name, created, **QUIET)
        self.files.upload(
            self.on_upload,
            {self.files, *place},
            [self.files, self.outcomes, *shown],
            preprocess=False,
            show_progress="minimal",
            show_progress_on=self.files,
            api_visibility="private",
        )
        self.timer.tick(self.on_tick, place, shown, **QUIET)
        self.filter.change(self.on_filter, place, turned, **LATEST)
        self.state.input(self.on_filter, place, turned, **LATEST)
        self.table.turn_page(self.on_page, place, turned, **ALWAYS)
        self.table.open(reading.on_open, None, reading.panel, **ALWAYS)
        self.table.delete(self.on_delete, place, shown, **ALWAYS)
        self.table.retry(self.on_retry, place, shown, **ALWAYS)
        self.summary.show(self.on_show, place, [self.state, *turned], **ALWAYS)
        self.summary.retry_all(self.on_retry_all, place, shown, **QUIET)
        self.summary.cancel(self.on_cancel, place, shown, **QUIET)
        self.summary.delete_collection(self.on_delete_collection, None, everything, **QUIET)
        self._sources.connect(blocks, self.collection)
        self.outcomes.dismiss(lambda: _NOTHING, None, self.outcomes, **QUIET)

    @told
    def on_collection(self, values: _Values, request: gr.Request) -> tuple[Any, ...]:
        """Show a collection; also when the page opens."""
        return self._chosen(principal_of(request), self._place(values))

    @told
    def on_create(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Make a collection and show it."""
        principal = principal_of(request)
        made = self._runtime.library.create_collection(principal, name)
        gr.Success("The collection is ready for documents.", duration=4)
        return "", *self._chosen(principal, Place(made.id))

    @told
    def on_delete_collection(self, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Delete the collection that the person was asked about, and show another one."""
        principal, deleted = principal_of(request), payload(event, "collection")
        self._runtime.library.delete_collection(principal, deleted)
        gr.Success("The collection is deleted.", duration=4)
        return self._chosen(principal, Place(""))

    @told
    def on_upload(self, values: _Values, request: gr.Request) -> tuple[Any, ...]:
        """Store uploaded files and queue their ingestion."""
        principal, place = principal_of(request), self._place(values)
        added = add_uploads(
            self._runtime.library, principal, place.collection, values.get(self.files) or [], self._uploads
        )
        if added.document_ids:
            self._runtime.ingestion.submit(principal, place.collection, added.document_ids)
        return None, view.render_outcomes(added.files), *self._shown(principal, place)

    @told
    def on_tick(self, values: _Values, request: gr.Request) -> tuple[Any, ...]:
        """Show how far the work is."""
        return self._shown(principal_of(request), self._place(values))

    @told
    def on_filter(self, values: _Values, request: gr.Request) -> tuple[Any, ...]:
        """Show the documents that fit the filters, from the first one on."""
        return 0, *self._shown(principal_of(request), replace(self._place(values), page=0))

    @told
    def on_show(self, values: _Values, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Show only the documents in some states."""
        states = payload(event, "states")
        place = replace(self._place(values), states=view.STATE_FILTERS.get(states, ()), page=0)
        return gr.update(value=states), 0, *self._shown(principal_of(request), place)

    @told
    def on_page(self, values: _Values, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Turn the page."""
        place = replace(self._place(values), page=number(event, "page"))
        return place.page, *self._shown(principal_of(request), place)

    @told
    def on_delete(self, values: _Values, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Delete a document."""
        principal = principal_of(request)
        self._runtime.library.delete_document(principal, payload(event, "document"))
        return self._shown(principal, self._place(values))

    @told
    def on_retry(self, values: _Values, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Ingest one document again."""
        return self._requeued(principal_of(request), self._place(values), [payload(event, "document")])

    @told
    def on_retry_all(self, values: _Values, request: gr.Request) -> tuple[Any, ...]:
        """Ingest again all that failed or was cancelled."""
        return self._requeued(principal_of(request), self._place(values), None)

    @told
    def on_cancel(self, values: _Values, request: gr.Request) -> tuple[Any, ...]:
        """Stop what reads the collection's documents."""
        principal, place = principal_of(request), self._place(values)
        with self._runtime.database.reading() as session:
            jobs = readable_jobs(session, principal, collection_id=place.collection)
            unfinished = [job.id for job in jobs if job.state in OPEN_JOBS and job.kind == INGEST]
            for job_id in unfinished:
                find_job(session, principal, job_id, "write")
        for job_id in unfinished:
            self._runtime.jobs.cancel(job_id)
        return self._shown(principal, place)

    def _place(self, values: _Values) -> Place:
        return Place(
            collection=str(values.get(self.collection) or ""),
            containing=str(values.get(self.filter) or "").strip(),
            states=view.STATE_FILTERS.get(str(values.get(self.state)), ()),
            page=int(values.get(self.page_number) or 0),
        )

    def _requeued(self, principal: Principal, place: Place, document_ids: list[str] | None) -> tuple[Any, ...]:
        queued = self._runtime.library.requeue(principal, place.collection, document_ids)
        if queued:
            self._runtime.ingestion.submit(principal, place.collection, queued)
        return self._shown(principal, place)

    def _chosen(self, principal: Principal, place: Place) -> tuple[Any, ...]:
        infos = self._runtime.library.collections(principal)
        fullest = max(infos, key=lambda info: info.documents, default=None)
        chosen = next((info for info in infos if info.id == place.collection), fullest)
        choices = gr.update(choices=[(info.name, info.id) for info in infos], value=chosen.id if chosen else None)
        if chosen is None:
            return choices, gr.update(visible=False), 0, _NOTHING, view.render_no_collections(), gr.Timer(active=False)
        upload = gr.update(visible=chosen.can_write)
        return choices, upload, 0, *self._listed(principal, chosen, replace(place, page=0))

    def _shown(self, principal: Principal, place: Place) -> tuple[Any, ...]:
        if not place.collection:
            raise NotFound("No collection is chosen", fix="Choose one, or create one")
        return self._listed(principal, self._runtime.library.collection(principal, place.collection), place)

    def _listed(
        self, principal: Principal, collection: CollectionInfo, place: Place
    ) -> tuple[Markup, Markup, gr.Timer]:
        library = self._runtime.library
        counts = library.count_documents(principal, collection.id)
        fitting = library.count_documents(principal, collection.id, containing=place.containing)
        matching = sum(count for state, count in fitting.items() if not place.states or state in place.states)
        page = max(0, min(place.page, (matching - 1) // PAGE_SIZE))
        found = library.documents(
            principal,
            collection.id,
            limit=PAGE_SIZE,
            offset=page * PAGE_SIZE,
            containing=place.containing,
            states=place.states,
        )
        filtered = bool(place.containing or place.states)
        waiting = self._waiting(principal, collection)
        listing = Listing(collection, found, counts, matching, page, filtered=filtered, waiting=waiting)
        timer = gr.Timer(active=listing.working > 0)
        return view.render_summary(listing), view.render_listing(listing, utc_now()), timer

    def _waiting(self, principal: Principal, collection: CollectionInfo) -> str | None:
        """Return what the collection's work waits for, if it waits."""
        with self._runtime.database.reading() as session:
            jobs = readable_jobs(session, principal, collection_id=collection.id)
        waits = (self._runtime.jobs.waits_for(job.id) for job in jobs if job.state in OPEN_JOBS)
        return next(filter(None, waits), None)
