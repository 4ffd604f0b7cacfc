"""The documents of a collection as HTML: the table, how far the work is, and what became of an upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keepstone.platform.database.tables import DocumentState
from keepstone.retrieval.library import CollectionInfo, DocumentInfo
from keepstone.ui.web.markup import Markup, action, element, icon, join
from keepstone.ui.web.reader import file_size

PAGE_SIZE: Final = 50
UNFINISHED: Final = (DocumentState.QUEUED, DocumentState.LOADING, DocumentState.ENCODING)
STOPPED: Final = (DocumentState.FAILED, DocumentState.CANCELLED)
_WORDS: Final = {
    DocumentState.QUEUED: "Waiting",
    DocumentState.LOADING: "Reading",
    DocumentState.ENCODING: "Indexing",
    DocumentState.READY: "Ready",
    DocumentState.FAILED: "Failed",
    DocumentState.CANCELLED: "Cancelled",
}


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """What became of one file that was handed in."""

    name: str
    message: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a collection's documents."""

    collection: CollectionInfo
    documents: Sequence[DocumentInfo]
    counts: Mapping[DocumentState, int]
    """Of the whole collection."""
    matching: int
    """How many fit the filter."""
    page: int
    """Counted from 0."""
    filter: str = ""

    @property
    def working(self) -> int:
        """How many documents are still on their way."""
        return sum(self.counts.get(state, 0) for state in UNFINISHED)

    @property
    def stopped(self) -> int:
        """How many failed or were cancelled."""
        return sum(self.counts.get(state, 0) for state in STOPPED)


def render_summary(listing: Listing) -> Markup:
    """Return how many documents there are, and how far the work is."""
    total = sum(listing.counts.values())
    ready = listing.counts.get(DocumentState.READY, 0)
    facts = [f"{total:,} document{'s' if total != 1 else ''}", f"{listing.collection.chunks:,} passages"]
    line = element("p", " · ".join(facts), class_="facts")
    parts: list[Markup] = [line]
    if listing.working:
        done = total - listing.working
        bar = element("progress", max=total, value=done, aria_label="Documents done")
        label = element("p", f"Working: {done:,} of {total:,} done, {ready:,} ready", role="status")
        cancel = action("cancel", "Cancel", class_="button small") if listing.collection.can_write else None
        parts.append(element("div", label, bar, cancel, class_="work"))
    if listing.stopped and listing.collection.can_write:
        count = f"{listing.stopped:,} not read"
        parts.append(
            element("div", element("p", count), action("retry_all", "Try again", class_="button small"), class_="work")
        )
    return element("div", *parts, class_="summary")


def render_listing(listing: Listing, now: datetime) -> Markup:
    """Return the table of one page of documents, with buttons to turn the page."""
    if not listing.documents:
        words = f"No document's name contains “{listing.filter}”." if listing.filter else "No documents yet."
        hint = "Drop files above to add them." if listing.collection.can_write and not listing.filter else ""
        return element("div", element("p", words), element("p", hint) if hint else None, class_="empty-state")
    head = element(
        "thead",
        element(
            "tr",
            *[element("th", each, scope="col") for each in ("Name", "State", "Passages", "Size", "Changed")],
            element("th", element("span", "Actions", class_="sr-only"), scope="col"),
        ),
    )
    body = element("tbody", *[_row(info, listing.collection.can_write, now) for info in listing.documents])
    return join([element("table", head, body, class_="documents"), _pager(listing)])


def render_outcomes(files: Sequence[UploadedFile]) -> Markup:
    """Return what became of the files of one upload; those that were simply queued are counted, not listed."""
    failed = [each for each in files if each.failed]
    told = [each for each in files if each.message]
    fine = len(files) - len(failed)
    head = element("p", element("strong", f"{fine} of {len(files)} file{'s' if len(files) != 1 else ''} added"))
    if not told:
        return Markup("")
    rows = [
        element("li", element("strong", each.name), f": {each.message}", class_="bad" if each.failed else None)
        for each in told
    ]
    dismiss = action("dismiss", "Dismiss", class_="button small")
    kind = "callout error outcomes" if failed else "callout outcomes"
    return element("div", head, element("ul", *rows), dismiss, class_=kind, role="status")


def _row(info: DocumentInfo, can_write: bool, now: datetime) -> Markup:
    name = action(
        "open", element("span", info.name, dir="auto"), class_="link name", data_document=info.id, title=info.name
    )
    error = element("p", info.error, class_="row-error") if info.error else None
    return element(
        "tr",
        element("td", name, error, class_="cell-name"),
        element("td", _state(info.state), data_label="State"),
        element("td", f"{info.chunks:,}" if info.chunks else "–", class_="number", data_label="Passages"),
        element("td", file_size(info.size), class_="number", data_label="Size"),
        element("td", _when(info.updated_at, now), data_label="Changed"),
        element("td", *_actions(info), class_="cell-actions") if can_write else element("td"),
        data_key=info.id,
    )


def _state(state: DocumentState) -> Markup:
    busy = state in (DocumentState.LOADING, DocumentState.ENCODING)
    dot = element("span", class_="dot spinning" if busy else "dot", aria_hidden="true")
    return element("span", dot, _WORDS[state], class_=f"state state-{state.value}")


def _actions(info: DocumentInfo) -> list[Markup]:
    buttons = []
    if info.state in STOPPED:
        buttons.append(
            action(
                "retry",
                icon("retry"),
                class_="icon-button",
                data_document=info.id,
                aria_label=f"Try again: {info.name}",
                title="Try again",
            )
        )
    buttons.append(
        action(
            "delete",
            icon("trash"),
            class_="icon-button",
            data_document=info.id,
            aria_label=f"Delete document: {info.name}",
            title="Delete",
            data_confirm=f"Delete “{info.name}”? It is gone from every search and every new answer at once.",
            data_confirm_label="Delete",
        )
    )
    return buttons


def _pager(listing: Listing) -> Markup | None:
    pages = -(-listing.matching // PAGE_SIZE)
    if pages <= 1:
        return None
    first = listing.page * PAGE_SIZE + 1
    last = first + len(listing.documents) - 1
    words = element("span", f"{first:,}–{last:,} of {listing.matching:,}", role="status")
    return element(
        "nav",
        _turn("Previous", listing.page - 1, enabled=listing.page > 0),
        words,
        _turn("Next", listing.page + 1, enabled=listing.page + 1 < pages),
        class_="pager",
        aria_label="Pages of documents",
    )


def _turn(label: str, page: int, *, enabled: bool) -> Markup:
    return action("turn_page", label, class_="button small", data_page=page, disabled=not enabled)


def _when(moment: datetime, now: datetime) -> str:
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60} min ago"
    if seconds < 86_400:
        return f"{seconds // 3600} h ago"
    return f"{moment:%Y-%m-%d}"
