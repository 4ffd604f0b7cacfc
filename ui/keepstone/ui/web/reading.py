"""The reading panel at the right: a document's text with the cited passage marked."""

from __future__ import annotations

from typing import Any

import gradio as gr

from keepstone.platform.access import Principal
from keepstone.platform.errors import Conflict, NotFound
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import reader
from keepstone.ui.web.caller import principal_of, told
from keepstone.ui.web.components import ALWAYS, interactive_html, number, payload
from keepstone.ui.web.markup import Markup
from keepstone.ui.web.reader import Highlight, Span


class ReadingPanel:
    """Shows documents to those who may read them; every call authorizes anew.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._library = runtime.library

    def render(self) -> None:
        """Build the components, inside an open `gr.Blocks`."""
        with gr.Column(elem_id="reader", elem_classes="side"):
            self.panel: Any = interactive_html("more", elem_id="reader-panel")

    def connect(self) -> None:
        """Wire the events."""
        self.panel.more(self.on_more, None, self.panel, **ALWAYS)

    @told
    def on_cite(self, request: gr.Request, event: gr.EventData) -> Markup:
        """Show the passage of a citation."""
        passage = Span(number(event, "start"), number(event, "end"))
        quote = Span(number(event, "quoteStart"), number(event, "quoteEnd"))
        document_id, cited_as = payload(event, "document"), number(event, "number") or None
        try:
            document = self._library.document_text(principal_of(request), document_id)
        except NotFound:
            return reader.render_missing("Deleted document", "This document was deleted since it was found.")
        except Conflict as error:
            return reader.render_missing("Document", str(error))
        if document.document.sha256 != payload(event, "sha"):
            return reader.render_document(document, note="This document has changed since it was found.")
        return reader.render_document(document, Highlight(passage, quote), number=cited_as)

    @told
    def on_more(self, request: gr.Request, event: gr.EventData) -> Markup:
        """Show more of the document that is open."""
        document = self._library.document_text(principal_of(request), payload(event, "document"))
        highlight = Highlight(
            Span(number(event, "start"), number(event, "end")),
            Span(number(event, "quoteStart"), number(event, "quoteEnd")),
        )
        window = Span(number(event, "windowStart"), number(event, "windowEnd"))
        return reader.render_document(document, highlight, window=window)

    @told
    def on_open(self, request: gr.Request, event: gr.EventData) -> Markup:
        """Show a document from its beginning."""
        return self.opened(principal_of(request), payload(event, "document"))

    def opened(self, principal: Principal, document_id: str) -> Markup:
        """Return a document from its beginning, or why it cannot be shown."""
        info = self._library.document(principal, document_id)
        try:
            return reader.render_document(self._library.document_text(principal, document_id))
        except Conflict as error:
            return reader.render_unready(info, error.fix or error.message)
