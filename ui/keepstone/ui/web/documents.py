"""The documents page: collections, uploads with live progress, errors with their fix, retry and delete."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import gradio as gr

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import JobState, utc_now
from keepstone.platform.errors import NotFound
from keepstone.platform.jobs.records import find_job, readable_jobs
from keepstone.retrieval.library import CollectionInfo
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import documents_view as view
from keepstone.ui.web.caller import principal_of, told
from keepstone.ui.web.components import ALWAYS, QUIET, interactive_html, number, payload
from keepstone.ui.web.documents_view import PAGE_SIZE, Listing
from keepstone.ui.web.markup import Markup
from keepstone.ui.web.reading import ReadingPanel
from keepstone.ui.web.uploads import add_uploads

_REFRESH_S: Final = 1.0
_NOTHING: Final = Markup("")
ACCEPTED: Final = (".md", ".txt", ".html", ".htm", ".pdf", ".docx")


class DocumentsPage:
    """One collection at a time.

    Args:
        runtime: the services.
        uploads: folder in which Gradio keeps uploads until they are stored.
    """

    def __init__(self, runtime: Runtime, uploads: Path) -> None:
        self._runtime = runtime
        self._uploads = uploads

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
                label=f"Add files: {', '.join(name.lstrip('.') for name in ACCEPTED)}",
                file_count="multiple",
                elem_id="upload",
                height=140,
                visible=False,
            )
            self.outcomes = interactive_html("dismiss", elem_id="outcomes")
            self.summary = interactive_html("cancel", "retry_all", elem_id="summary")
            self.filter = gr.Textbox(
                label="Filter by name",
                show_label=False,
                placeholder="Filter by name",
                max_lines=1,
                max_length=255,
                container=False,
                elem_id="filter",
            )
            self.table = interactive_html("open", "delete", "retry", "turn_page", elem_id="documents-table")
        self.page_number = gr.Number(0, visible="hidden", precision=0, label="Page", elem_id="page-number")
        self.timer = gr.Timer(_REFRESH_S, active=False)

    def connect(self, blocks: gr.Blocks, reading: ReadingPanel) -> None:
        """Wire the events."""
        place = [self.collection, self.filter, self.page_number]
        shown = [self.summary, self.table, self.timer]
        everything = [self.collection, self.files, self.page_number, *shown]
        blocks.load(self.on_load, self.collection, everything, **QUIET)
        self.collection.input(self.on_collection, [self.collection, self.filter], everything, **ALWAYS)
        created = [self.new_name, *everything]
        self.create.click(self.on_create, self.new_name, created, **QUIET)
        self.new_name.submit(self.on_create, self.new_name, created, **QUIET)
        self.files.upload(
            self.on_upload,
            [self.files, *place],
            [self.files, self.outcomes, *shown],
            preprocess=False,
            show_progress="minimal",
            show_progress_on=self.files,
            api_visibility="private",
        )
        self.timer.tick(self.on_tick, place, shown, **QUIET)
        filtered = [self.page_number, *shown]
        self.filter.input(
            self.on_filter, [self.collection, self.filter], filtered, **{**QUIET, "trigger_mode": "always_last"}
        )
        self.table.turn_page(self.on_page, [self.collection, self.filter], filtered, **ALWAYS)
        self.table.open(reading.on_open, None, reading.panel, **ALWAYS)
        self.table.delete(self.on_delete, place, shown, **ALWAYS)
        self.table.retry(self.on_retry, place, shown, **ALWAYS)
        self.summary.retry_all(self.on_retry_all, place, shown, **QUIET)
        self.summary.cancel(self.on_cancel, place, shown, **QUIET)
        self.outcomes.dismiss(lambda: _NOTHING, None, self.outcomes, **QUIET)

    @told
    def on_load(self, collection: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Fill the page when it opens."""
        return self._chosen(principal_of(request), collection or "", "")

    @told
    def on_collection(self, collection: str, filter_by: str, request: gr.Request) -> tuple[Any, ...]:
        """Show another collection."""
        return self._chosen(principal_of(request), collection, filter_by)

    @told
    def on_create(self, name: str, request: gr.Request) -> tuple[Any, ...]:
        """Make a collection and show it."""
        principal = principal_of(request)
        made = self._runtime.library.create_collection(principal, name)
        gr.Success("The collection is ready for documents.", title="Created", duration=4)
        return "", *self._chosen(principal, made.id, "")

    @told
    def on_upload(
        self, files: list[dict[str, Any]] | None, collection: str, filter_by: str, page: float, request: gr.Request
    ) -> tuple[Any, ...]:
        """Store uploaded files and queue their ingestion."""
        principal = principal_of(request)
        added = add_uploads(self._runtime.library, principal, collection, files or [], self._uploads)
        if added.document_ids:
            self._runtime.ingestion.submit(principal, collection, added.document_ids)
        return None, view.render_outcomes(added.files), *self._shown(principal, collection, filter_by, page)

    @told
    def on_tick(self, collection: str, filter_by: str, page: float, request: gr.Request) -> tuple[Any, ...]:
        """Show how far the work is."""
        return self._shown(principal_of(request), collection, filter_by, page)

    @told
    def on_filter(self, collection: str, filter_by: str, request: gr.Request) -> tuple[Any, ...]:
        """Show the documents with this in their names."""
        return 0, *self._shown(principal_of(request), collection, filter_by, 0)

    @told
    def on_page(self, collection: str, filter_by: str, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Turn the page."""
        page = number(event, "page")
        return page, *self._shown(principal_of(request), collection, filter_by, page)

    @told
    def on_delete(
        self, collection: str, filter_by: str, page: float, request: gr.Request, event: gr.EventData
    ) -> tuple[Any, ...]:
        """Delete a document."""
        principal = principal_of(request)
        self._runtime.library.delete_document(principal, payload(event, "document"))
        return self._shown(principal, collection, filter_by, page)

    @told
    def on_retry(
        self, collection: str, filter_by: str, page: float, request: gr.Request, event: gr.EventData
    ) -> tuple[Any, ...]:
        """Ingest one document again."""
        principal = principal_of(request)
        self._requeue(principal, collection, [payload(event, "document")])
        return self._shown(principal, collection, filter_by, page)

    @told
    def on_retry_all(self, collection: str, filter_by: str, page: float, request: gr.Request) -> tuple[Any, ...]:
        """Ingest again all that failed or was cancelled."""
        principal = principal_of(request)
        self._requeue(principal, collection, None)
        return self._shown(principal, collection, filter_by, page)

    @told
    def on_cancel(self, collection: str, filter_by: str, page: float, request: gr.Request) -> tuple[Any, ...]:
        """Stop the collection's jobs."""
        principal = principal_of(request)
        with self._runtime.database.reading() as session:
            rows = readable_jobs(session, principal, collection_id=collection)
            unfinished = [row.id for row in rows if row.state in (JobState.QUEUED, JobState.RUNNING)]
            for job_id in unfinished:
                find_job(session, principal, job_id, "write")
        for job_id in unfinished:
            self._runtime.jobs.cancel(job_id)
        return self._shown(principal, collection, filter_by, page)

    def _requeue(self, principal: Principal, collection: str, document_ids: list[str] | None) -> None:
        queued = self._runtime.library.requeue(principal, collection, document_ids)
        if queued:
            self._runtime.ingestion.submit(principal, collection, queued)

    def _chosen(self, principal: Principal, collection: str, filter_by: str) -> tuple[Any, ...]:
        infos = self._runtime.library.collections(principal)
        chosen = next((info for info in infos if info.id == collection), infos[0] if infos else None)
        choices = gr.update(choices=[(info.name, info.id) for info in infos], value=chosen.id if chosen else None)
        if chosen is None:
            hint = "<div class='empty-state'><p>No collections yet.</p><p>Create one above to add documents.</p></div>"
            return choices, gr.update(visible=False), 0, _NOTHING, Markup(hint), gr.Timer(active=False)
        upload = gr.update(visible=chosen.can_write)
        return choices, upload, 0, *self._listed(principal, chosen, filter_by, 0)

    def _shown(self, principal: Principal, collection: str, filter_by: str, page: float) -> tuple[Any, ...]:
        if not collection:
            raise NotFound("No collection is chosen", fix="Choose one, or create one")
        return self._listed(
            principal, self._runtime.library.collection(principal, collection), filter_by, int(page or 0)
        )

    def _listed(
        self, principal: Principal, collection: CollectionInfo, filter_by: str, page: int
    ) -> tuple[Markup, Markup, Any]:
        library, wanted = self._runtime.library, (filter_by or "").strip()
        counts = library.count_documents(principal, collection.id)
        matching = sum(
            library.count_documents(principal, collection.id, containing=wanted).values() if wanted else counts.values()
        )
        page = max(0, min(page, (matching - 1) // PAGE_SIZE))
        found = library.documents(principal, collection.id, limit=PAGE_SIZE, offset=page * PAGE_SIZE, containing=wanted)
        listing = Listing(collection, found, counts, matching, page, wanted)
        timer = gr.Timer(active=listing.working > 0)
        return view.render_summary(listing), view.render_listing(listing, utc_now()), timer
