"""The watched places of the chosen collection, below its documents: add, look through now, remove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import gradio as gr

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import utc_now
from keepstone.platform.errors import KeepstoneError
from keepstone.retrieval.sources import SourceInfo
from keepstone.ui.runtime import Runtime
from keepstone.ui.web.caller import principal_of, told
from keepstone.ui.web.components import ALWAYS, QUIET, interactive_html, payload
from keepstone.ui.web.documents_view import when
from keepstone.ui.web.markup import Markup, element, icon_action, join, with_code

_REFRESH_S: Final = 1.0


class SourcesPanel:
    """What a collection takes from by itself; shown to those who may write in it, where any place is allowed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        settings = runtime.settings.sources
        self._allowed = [*map(str, settings.allowed_folders), *(store.url for store in settings.stores.values())]

    def render(self) -> None:
        """Build the components, inside the documents page."""
        self.panel = interactive_html("watch", "sync", "unwatch", elem_id="sources")
        self.timer = gr.Timer(_REFRESH_S, active=False)

    def connect(self, blocks: gr.Blocks, collection: gr.Dropdown) -> None:
        """Wire the events; `collection` is where the collection is chosen."""
        shown = [self.panel, self.timer]
        blocks.load(self.on_show, collection, shown, **QUIET)
        collection.change(self.on_show, collection, shown, **ALWAYS)
        self.timer.tick(self.on_show, collection, shown, **QUIET)
        self.panel.watch(self.on_watch, collection, shown, **QUIET)
        self.panel.sync(self.on_sync, collection, shown, **QUIET)
        self.panel.unwatch(self.on_unwatch, collection, shown, **QUIET)

    @told
    def on_show(self, collection: str | None, request: gr.Request) -> tuple[Any, ...]:
        """Show what is watched."""
        return self._shown(principal_of(request), collection)

    @told
    def on_watch(self, collection: str | None, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Take files from one more place."""
        principal, refusal = principal_of(request), None
        try:
            self._runtime.sources.add(principal, str(collection), payload(event, "location"))
        except KeepstoneError as error:
            refusal = str(error)
        return self._shown(principal, collection, refusal)

    @told
    def on_sync(self, collection: str | None, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Look through a source now."""
        principal = principal_of(request)
        self._runtime.sources.sync(principal, str(collection), payload(event, "source"))
        return self._shown(principal, collection)

    @told
    def on_unwatch(self, collection: str | None, request: gr.Request, event: gr.EventData) -> tuple[Any, ...]:
        """Take no more files from a source; its documents stay."""
        principal = principal_of(request)
        self._runtime.sources.remove(principal, str(collection), payload(event, "source"))
        return self._shown(principal, collection)

    def _shown(self, principal: Principal, collection: str | None, refusal: str | None = None) -> tuple[Any, ...]:
        hidden = Markup(""), gr.Timer(active=False)
        if not collection or not self._runtime.library.collection(principal, collection).can_write:
            return hidden
        found = self._runtime.sources.of(principal, collection)
        if not found and not self._allowed:
            return hidden
        return render_sources(found, self._allowed, refusal), gr.Timer(active=any(each.looking for each in found))


def render_sources(sources: Sequence[SourceInfo], allowed: Sequence[str], refusal: str | None = None) -> Markup:
    """Return the list of sources, and a form for one more where places are allowed."""
    heading = element("summary", f"Watched places ({len(sources)})")
    form = element(
        "form",
        element("input", name="location", required=True, maxlength=1000, aria_label="Folder or URL", value=allowed[0])
        if allowed
        else None,
        element("button", "Watch", type="submit", class_="button small"),
        data_event="watch",
        class_="watch",
    )
    said = element("p", with_code(refusal), class_="row-error", role="status") if refusal else None
    listed = element("ul", *map(_row, sources)) if sources else None
    needs_eyes = refusal or any(each.error or each.looking for each in sources)
    return element("details", heading, listed, said, form if allowed else None, open=bool(needs_eyes), class_="sources")


def _row(source: SourceInfo) -> Markup:
    if source.looking:
        state = "Looking through it"
    elif source.checked_at is None:
        state = "Waiting"
    else:
        state = f"Looked through {when(source.checked_at, utc_now())}"
    facts = [f"{source.files:,} file{'s' if source.files != 1 else ''}", state]
    if source.problems:
        facts.insert(1, f"{source.problems:,} not taken")
    buttons = [
        icon_action(
            "sync", "retry", f"Look through it now: {source.name}", title="Look through it now", data_source=source.id
        ),
        icon_action(
            "unwatch",
            "trash",
            f"Stop watching: {source.name}",
            title="Stop watching",
            data_source=source.id,
            data_confirm=f"Take no more files from “{source.location}”? Its documents stay.",
            data_confirm_label="Stop watching",
        ),
    ]
    error = element("p", with_code(source.error), class_="row-error") if source.error else None
    where = element("span", source.location, class_="facts", dir="auto")
    return element(
        "li", join([element("strong", source.name), " ", where, " ", " · ".join(facts), " ", *buttons]), error
    )
