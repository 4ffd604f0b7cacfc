"""The page "Search": what is found for a question, why it stands where it does, and which of it is relevant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import gradio as gr
from gradio.blocks import Block

from keepstone.platform.access import Principal, Scope, readable_scope
from keepstone.platform.errors import InvalidInput, NotFound
from keepstone.retrieval.reranking import COSINE, LATE, LLM, OFF
from keepstone.retrieval.types import Hit
from keepstone.ui.runtime import Runtime
from keepstone.ui.web import search_view as view
from keepstone.ui.web.caller import principal_of, told
from keepstone.ui.web.components import (
    ALWAYS,
    EVERYWHERE,
    LATEST,
    QUIET,
    collection_choices,
    interactive_html,
    number,
    payload,
)
from keepstone.ui.web.markup import Markup
from keepstone.ui.web.reading import ReadingPanel

_LONGEST_QUERY: Final = 8_000
# That databases take; pages can be made to send any.
_LARGEST_ID: Final = 2**63 - 1
_COUNTS: Final = (5, 10, 20, 50)
_AS_CHOSEN: Final = "By default"
_RERANKERS: Final = {
    _AS_CHOSEN: None,
    "None": OFF,
    "The encoder's cosines": COSINE,
    "Late interaction": LATE,
    "Language model (slow)": LLM,
}
_WEIGHTS: Final = {
    _AS_CHOSEN: None,
    "Words alone": 0.0,
    "Mostly words": 0.25,
    "Both alike": 0.5,
    "Mostly meaning": 0.75,
    "Meaning alone": 1.0,
}

_Values = dict[Any, Any]
"""What the components of the page hold, by component."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for, and how."""

    query: str
    collection: str
    """Its id, or `EVERYWHERE`."""
    k: int
    reranker: str | None
    """None: as the collections chose; so for the weight."""
    dense_weight: float | None

    def needs_query(self) -> None:
        """Raise `InvalidInput` unless there is something to look for."""
        if not self.query:
            raise InvalidInput("There is nothing to look for", fix="Type a question, or some words")


class SearchPage:
    """Search without an answer: it needs no language model.

    Args:
        runtime: the services.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def render(self) -> None:
        """Build the components, inside an open `gr.Blocks`."""
        with gr.Column(elem_id="page-search", elem_classes="page"):
            gr.HTML("<h2>Search</h2>", apply_default_css=False, elem_classes="page-title")
            with gr.Row(elem_id="search-row"):
                self.collection = gr.Dropdown(
                    [("All collections", EVERYWHERE)],
                    value=EVERYWHERE,
                    label="Collection",
                    elem_id="search-collection",
                    interactive=True,
                )
                self.query = gr.Textbox(
                    label="Question or words", max_lines=1, max_length=_LONGEST_QUERY, elem_id="search-query"
                )
                self.go = gr.Button("Search", elem_id="search-go", size="sm", variant="primary")
            with gr.Accordion("Options", open=False, elem_id="search-options"), gr.Row():
                self.k = gr.Dropdown(list(_COUNTS), value=10, label="Passages", filterable=False, interactive=True)
                self.weight = _options("Meaning against words", _WEIGHTS)
                self.reranker = _options("Reranker", _RERANKERS)
            self.found = interactive_html("cite", "mark", elem_id="found", value=view.render_welcome())
        # The script of the pages clicks it whenever this page is come back to.
        self.refresh = gr.Button("Refresh", visible="hidden", elem_id="search-refresh")

    def connect(self, blocks: gr.Blocks, reading: ReadingPanel) -> None:
        """Wire the events. A set of inputs reaches its handler as one dictionary."""
        asked: set[Block] = {self.query, self.collection, self.k, self.weight, self.reranker}
        choices = [self.collection, self.reranker]
        blocks.load(self.on_open, self.collection, choices, **QUIET)
        self.refresh.click(self.on_open, self.collection, choices, **QUIET)
        for sent in (self.query.submit, self.go.click):
            sent(self.on_search, asked, self.found, **LATEST)
        for option in (self.collection, self.k, self.weight, self.reranker):
            option.input(self.on_option, asked, self.found, **LATEST)
        self.found.mark(self.on_mark, asked, self.found, **ALWAYS)
        self.found.cite(reading.on_cite, None, reading.panel, **ALWAYS)

    @told
    def on_open(self, collection: str, request: gr.Request) -> tuple[Any, ...]:
        """Show what there is to choose from."""
        principal = principal_of(request)
        choices = collection_choices(self._runtime.library.collections(principal), collection)
        installed = [model.name for model in self._runtime.registry.list("reranker")]
        return choices, gr.update(choices=[*_RERANKERS, *dict.fromkeys(installed)])

    @told
    def on_search(self, values: _Values, request: gr.Request) -> Markup:
        """Show what is found."""
        return self._found(principal_of(request), self._asked(values))

    @told
    def on_option(self, values: _Values, request: gr.Request) -> Any:
        """Search again in another way, once something is looked for."""
        asked = self._asked(values)
        return self._found(principal_of(request), asked) if asked.query else gr.skip()

    @told
    def on_mark(self, values: _Values, request: gr.Request, event: gr.EventData) -> Markup:
        """Keep that a passage is relevant to the question that it was found for, or take that back."""
        principal = principal_of(request)
        asked = replace(self._asked(values), query=_question(payload(event, "query")))
        asked.needs_query()
        passage = self._passage(principal, number(event, "chunk"))
        self._runtime.judgements.mark(principal, asked.query, passage, relevant=payload(event, "relevant") == "yes")
        return self._found(principal, asked)

    def _asked(self, values: _Values) -> Asked:
        reranker = str(values.get(self.reranker) or _AS_CHOSEN)
        k = values.get(self.k)
        return Asked(
            query=_question(values.get(self.query)),
            collection=str(values.get(self.collection) or EVERYWHERE),
            k=k if k in _COUNTS else 10,
            reranker=_RERANKERS.get(reranker, reranker),
            dense_weight=_WEIGHTS.get(str(values.get(self.weight))),
        )

    def _found(self, principal: Principal, asked: Asked) -> Markup:
        asked.needs_query()
        scope = self._scope(principal, asked.collection)
        result = self._runtime.searcher.search(
            scope,
            asked.query,
            k=asked.k,
            reranker=asked.reranker,
            dense_weight=asked.dense_weight,
            explained=True,
        )
        return view.render_found(asked.query, result, self._marks(principal, asked.query, result.hits))

    def _marks(self, principal: Principal, query: str, hits: tuple[Hit, ...]) -> view.Marks:
        """Return what was judged relevant in each of the collections that the caller may judge."""
        owned = {info.id for info in self._runtime.library.collections(principal) if info.can_delete}
        if "write" not in principal.scopes:
            return {}
        judged = owned & {hit.collection_id for hit in hits}
        return {each: self._runtime.judgements.relevant(principal, each, query) for each in judged}

    def _passage(self, principal: Principal, chunk_id: int) -> Hit:
        scope = self._scope(principal, EVERYWHERE)
        found = self._runtime.searcher.passages(scope, [chunk_id]) if 0 < chunk_id <= _LARGEST_ID else {}
        if chunk_id not in found:
            raise NotFound("This passage is not there any more", fix="Search again")
        return found[chunk_id]

    def _scope(self, principal: Principal, collection: str) -> Scope:
        principal.needs_scope("read")
        with self._runtime.database.reading() as session:
            return readable_scope(session, principal, None if collection == EVERYWHERE else [collection])


def _question(given: object) -> str:
    return str(given or "")[:_LONGEST_QUERY].strip()


def _options(label: str, choices: dict[str, Any]) -> gr.Dropdown:
    return gr.Dropdown(list(choices), value=_AS_CHOSEN, label=label, filterable=False, interactive=True)
