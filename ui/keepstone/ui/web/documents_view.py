"""The documents of a collection as HTML: the table, how far the work is, and what became of an upload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from keepstone.platform.database.tables import STOPPED, UNFINISHED, DocumentState
from keepstone.retrieval.documents import DocumentInfo
from keepstone.retrieval.library import CollectionInfo
from keepstone.ui.web.markup import Markup, action, element, icon, icon_action, join, with_code
from keepstone.ui.web.reader import file_size

PAGE_SIZE: Final = 50
STATE_FILTERS: Final[dict[str, tuple[DocumentState, ...]]] = {
    "All states": (),
    "Ready": (DocumentState.READY,),
    "Under way": UNFINISHED,
    "Not read": STOPPED,
}
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
    filtered: bool = False
    """Whether a filter may have hidden some."""
    waiting: str | None = None
    """What the work waits for, such as room on the disk."""

    @property
    def working(self) -> int:
        """How many documents are still on their way."""
        return sum(self.counts.get(state, 0) for state in UNFINISHED)

    @property
    def stopped(self) -> int:
        """How many failed or were cancelled."""
        return sum(self.counts.get(state, 0) for state in STOPPED)


def render_summary(listing: Listing) -> Markup:
    """Return how many documents there are, how far the work is, and the way to delete the collection."""
    total = sum(listing.counts.values())
    delete = _delete_collection(listing.collection, total) if listing.collection.can_delete else None
    if not total:
        return element("div", delete, class_="summary bare") if delete else Markup("")
    ready = listing.counts.get(DocumentState.READY, 0)
    facts = [f"{total:,} document{'s' if total != 1 else ''}", f"{listing.collection.chunks:,} passages"]
    line = element("p", " · ".join(facts), class_="facts")
    parts: list[Markup | None] = [line]
    if listing.working:
        done = total - listing.working
        bar = element("progress", max=total, value=done, aria_label="Documents done")
        state = "Waiting" if listing.waiting else "Working"
        label = element("p", f"{state}: {done:,} of {total:,} done, {ready:,} ready", role="status")
        cancel = action("cancel", "Cancel", class_="button small") if listing.collection.can_write else None
        parts.append(element("div", label, bar, _show("Under way"), cancel, class_="work"))
        if listing.waiting:
            parts.append(element("p", with_code(listing.waiting), class_="waiting", role="status"))
    if listing.stopped:
        count = element("p", f"{listing.stopped:,} not read")
        retry = action("retry_all", "Try again", class_="button small") if listing.collection.can_write else None
        parts.append(element("div", count, _show("Not read"), retry, class_="work"))
    return element("div", *parts, delete, class_="summary")


def _delete_collection(collection: CollectionInfo, documents: int) -> Markup:
    inside = f"with its {documents:,} document{'s' if documents != 1 else ''}"
    loss = f" {'They are' if documents != 1 else 'It is'} gone from every search and every new answer at once."
    return action(
        "delete_collection",
        join([icon("trash"), "Delete collection"]),
        class_="button small quiet",
        data_collection=collection.id,
        data_confirm=f"Delete the collection “{collection.name}” {inside}?{loss}"
        if documents
        else f"Delete the empty collection “{collection.name}”?",
        data_confirm_label="Delete collection",
    )


def _show(states: str) -> Markup:
    return action("show", "Show", class_="button small", data_states=states, aria_label=f"Show only: {states.lower()}")


def render_listing(listing: Listing, now: datetime) -> Markup:
    """Return the table of one page of documents, with buttons to turn the page."""
    if not listing.documents:
        words = "No document fits the filter." if listing.filtered else "No documents yet."
        hint = "Drop files above to add them." if listing.collection.can_write and not listing.filtered else ""
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


def render_no_collections() -> Markup:
    """Return what stands in the place of the table while there is no collection."""
    first, second = element("p", "No collections yet."), element("p", "Create one above to add documents.")
    return element("div", first, second, class_="empty-state")


def render_outcomes(files: Sequence[UploadedFile]) -> Markup:
    """Return what became of the files of one upload; nothing when all of them were simply added."""
    failed = [each for each in files if each.failed]
    told = [each for each in files if each.message]
    if not told:
        return Markup("")
    added = len(files) - len(told)
    head = element("p", element("strong", f"{added} of {len(files)} file{'s' if len(files) != 1 else ''} added"))
    rows = [
        element(
            "li", element("strong", each.name), ": ", with_code(each.message), class_="bad" if each.failed else None
        )
        for each in told
    ]
    dismiss = action("dismiss", "Dismiss", class_="button small")
    kind = "callout error outcomes" if failed else "callout outcomes"
    return element("div", head, element("ul", *rows), dismiss, class_=kind, role="status")


def _row(info: DocumentInfo, can_write: bool, now: datetime) -> Markup:
    name = action(
        "open", element("span", info.name, dir="auto"), class_="link name", data_document=info.id, title=info.name
    )
    error = element("p", with_code(info.error), class_="row-error") if info.error else None
    return element(
        "tr",
        element("td", name, error, class_="cell-name"),
        element("td", _state(info.state), data_label="State"),
        element("td", *_passages(info.chunks), class_="number", data_label="Passages"),
        element("td", file_size(info.size), class_="number", data_label="Size"),
        element("td", when(info.updated_at, now), data_label="Changed"),
        element("td", *_actions(info), class_="cell-actions") if can_write else element("td"),
        data_key=info.id,
    )


def _passages(count: int) -> tuple[object, ...]:
    """Return the number, with its noun for screens too narrow for a heading."""
    if not count:
        return ("–",)
    return f"{count:,}", element("span", " passage" if count == 1 else " passages", class_="narrow-only")


def _state(state: DocumentState) -> Markup:
    busy = state in (DocumentState.LOADING, DocumentState.ENCODING)
    dot = element("span", class_="dot spinning" if busy else "dot", aria_hidden="true")
    return element("span", dot, _WORDS[state], class_=f"state state-{state.value}")


def _actions(info: DocumentInfo) -> list[Markup]:
    retry = icon_action("retry", "retry", f"Try again: {info.name}", title="Try again", data_document=info.id)
    delete = icon_action(
        "delete",
        "trash",
        f"Delete document: {info.name}",
        title="Delete",
        data_document=info.id,
        data_confirm=f"Delete “{info.name}”? It is gone from every search and every new answer at once.",
        data_confirm_label="Delete",
    )
    return [retry, delete] if info.state in STOPPED else [delete]


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


def when(moment: datetime, now: datetime) -> str:
    """Return how long ago something was, for people."""
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60} min ago"
    if seconds < 86_400:
        return f"{seconds // 3600} h ago"
    return f"{moment:%Y-%m-%d}"
