"""The tools of the MCP server: search, ask, read and list, for one principal at a time.

    result = await Knowledge(...).call(principal, "search", {"query": "warranty"})

Each call reaches what the principal may read at that moment, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio.to_thread import run_sync
from pydantic import BaseModel, ValidationError

from keepstone.agents.answering import Answerer
from keepstone.agents.mcp import shapes
from keepstone.agents.types import Answer, Finished, Passage
from keepstone.platform.access import Principal, readable_scope
from keepstone.platform.database import Database
from keepstone.platform.errors import InvalidInput, NotFound, Unavailable, did_you_mean
from keepstone.retrieval.library import DocumentText, Library
from keepstone.retrieval.search import Searcher
from keepstone.retrieval.types import Hit, Page

_DESCRIPTION_CHARS = 500
_MAX_FAULTS = 5


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """One tool as clients are told of it."""

    title: str
    description: str
    arguments: type[BaseModel]
    result: type[BaseModel]


TOOLS: Mapping[str, ToolSpec] = {
    "search": ToolSpec(
        "Search the documents",
        "Find passages in the documents by meaning and by words. Use it for looking up facts; `read` shows what "
        "stands around a passage.",
        shapes.SearchArguments,
        shapes.SearchResult,
    ),
    "ask": ToolSpec(
        "Ask the documents",
        "Have a question answered from the documents by Keepstone's own language model. Marks such as [1] name the "
        "sources; the outcome `declined` means that the documents do not hold the answer.",
        shapes.AskArguments,
        shapes.AskResult,
    ),
    "read": ToolSpec(
        "Read a document",
        "Read a stretch of a document's text, as Markdown. Go on with `start` = the `next` of the answer.",
        shapes.ReadArguments,
        shapes.ReadResult,
    ),
    "list": ToolSpec(
        "List collections or documents",
        "List the collections that you may read or, with `collection`, the documents in one.",
        shapes.ListArguments,
        shapes.ListResult,
    ),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a tool answers: the same for people and language models, and for programs."""

    text: str
    data: BaseModel


class Knowledge:
    """Does the tools' work.

    Args:
        database: asked for what the principal may read.
        library: the collections and documents.
        searcher: finds passages.
        answerer: answers questions.
    """

    def __init__(self, *, database: Database, library: Library, searcher: Searcher, answerer: Answerer) -> None:
        self._database = database
        self._library = library
        self._searcher = searcher
        self._answerer = answerer

    async def call(self, principal: Principal, name: str, arguments: Mapping[str, Any]) -> Told:
        """Call a tool for `principal`.

        Raises:
            InvalidInput: the arguments do not fit.
            NotFound: there is no such tool, collection or document, or none that this principal may read.
            Forbidden: the credential may not read.
            EngineUnavailable: the language model does not answer.
        """
        spec = TOOLS.get(name)
        if spec is None:
            raise NotFound(f"No tool {name[:80]!r}", fix=did_you_mean(name[:80], list(TOOLS)))
        try:
            asked = spec.arguments.model_validate(dict(arguments))
        except ValidationError as error:
            raise InvalidInput(_worded(error), fix="tools/list tells the arguments, and what each may hold") from error
        principal.needs_scope("read")
        if isinstance(asked, shapes.AskArguments):
            return await self._ask(principal, asked)
        return await run_sync(partial(self._blocking, principal, asked))

    def _blocking(self, principal: Principal, asked: BaseModel) -> Told:
        if isinstance(asked, shapes.SearchArguments):
            return self._search(principal, asked)
        if isinstance(asked, shapes.ReadArguments):
            return self._read(principal, asked)
        assert isinstance(asked, shapes.ListArguments)
        return self._list(principal, asked)

    def _search(self, principal: Principal, asked: shapes.SearchArguments) -> Told:
        with self._database.reading() as session:
            scope = readable_scope(session, principal, asked.collections or None)
        hits = self._searcher.search(scope, asked.query, k=asked.k).hits
        passages = [
            shapes.FoundPassage(**_place(hit), text=_cut(hit.text, shapes.PASSAGE_CHARS), score=round(hit.score, 6))
            for hit in hits
        ]
        told = [f"({number}) {_heading(each)}\n{each.text}" for number, each in enumerate(passages, 1)]
        return Told("\n\n".join(told) or "Nothing found.", shapes.SearchResult(passages=passages))

    async def _ask(self, principal: Principal, asked: shapes.AskArguments) -> Told:
        answer = await self._answer(principal, asked)
        sources = [_source(passage, answer) for passage in answer.cited]
        told = [answer.content]
        if sources:
            told += ["", "Sources:", *(f"[{each.number}] {_heading(each)}" for each in sources)]
        data = shapes.AskResult(outcome=answer.outcome, answer=answer.content, answer_id=answer.id, sources=sources)
        return Told("\n".join(told), data)

    async def _answer(self, principal: Principal, asked: shapes.AskArguments) -> Answer:
        events = self._answerer.answer(principal, asked.question, collections=asked.collections or None)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Finished):
                    return event.answer
        raise Unavailable("The answer broke off", fix="Ask again")

    def _read(self, principal: Principal, asked: shapes.ReadArguments) -> Told:
        found = self._library.document_text(principal, asked.document)
        start, end = _span(found, asked)
        result = shapes.ReadResult(
            document_id=found.document.id,
            document=found.document.name,
            page=_page_at(found.pages, start),
            start=start,
            end=end,
            total=len(found.text),
            next=end if end < len(found.text) else None,
            text=found.text[start:end],
        )
        told = f"{_line(result.document)}, characters {start} to {end} of {result.total}"
        if result.next is not None:
            told += f" (go on with start={result.next})"
        return Told(f"{told}\n\n{result.text}", result)

    def _list(self, principal: Principal, asked: shapes.ListArguments) -> Told:
        if asked.collection is None:
            return self._list_collections(principal, asked)
        found = self._library.documents(
            principal, asked.collection, after=asked.after, limit=asked.limit + 1, containing=asked.containing
        )
        shown = found[: asked.limit]
        documents = [
            shapes.ListedDocument(document_id=each.id, name=each.name, title=each.title, state=each.state)
            for each in shown
        ]
        following = shown[-1].name if len(found) > len(shown) else None
        told = [f"{each.document_id}  {_line(each.name)}  ({each.state})" for each in documents]
        return _listed(told, "No documents.", shapes.ListResult(collections=[], documents=documents, next=following))

    def _list_collections(self, principal: Principal, asked: shapes.ListArguments) -> Told:
        readable = self._library.collections(principal)
        if asked.after is not None:
            readable = [each for each in readable if each.name > asked.after]
        shown = readable[: asked.limit]
        collections = [
            shapes.ListedCollection(
                id=each.id,
                name=each.name,
                description=_cut(each.description, _DESCRIPTION_CHARS),
                documents=each.documents,
            )
            for each in shown
        ]
        following = shown[-1].name if len(readable) > len(shown) else None
        told = [f"{each.name}: {each.documents} documents. {_line(each.description)}".strip() for each in collections]
        result = shapes.ListResult(collections=collections, documents=[], next=following)
        return _listed(told, "No collections that you may read.", result)


def _listed(lines: Sequence[str], nothing: str, result: shapes.ListResult) -> Told:
    more = [f"More: call it again with after={result.next!r}"] if result.next is not None else []
    return Told("\n".join([*lines, *more]) or nothing, result)


def _span(found: DocumentText, asked: shapes.ReadArguments) -> tuple[int, int]:
    """Return the characters to show: from `start`, or from where the page begins.

    Raises:
        InvalidInput: there is no such page, or the text ends before.
    """
    start = asked.start
    if asked.page is not None:
        page = next((each for each in found.pages if each.number == asked.page), None)
        if page is None:
            fix = f"Its pages are 1 to {len(found.pages)}" if found.pages else "It has no pages; give `start` instead"
            raise InvalidInput(f"{found.document.name!r} has no page {asked.page}", fix=fix)
        start = page.start
    total = len(found.text)
    if start and start >= total:
        raise InvalidInput(f"{found.document.name!r} ends before character {start}", fix=f"It has {total} characters")
    return start, min(start + asked.length, total)


def _page_at(pages: Sequence[Page], at: int) -> int | None:
    return next((page.number for page in pages if page.start <= at < page.end), None)


def _place(hit: Hit) -> dict[str, Any]:
    return {
        "document_id": hit.document_id,
        "document": hit.document_name,
        "page": hit.page,
        "start": hit.start,
        "end": hit.end,
        "context": hit.context,
    }


def _source(passage: Passage, answer: Answer) -> shapes.Source:
    hit = passage.hit
    quote = None
    for claim in answer.claims:
        if claim.citation == passage.number and claim.quote_start is not None and claim.quote_end is not None:
            quote = hit.text[max(claim.quote_start - hit.start, 0) : max(claim.quote_end - hit.start, 0)]
            break
    return shapes.Source(**_place(hit), number=passage.number, quote=quote and _cut(quote, shapes.PASSAGE_CHARS))


def _heading(place: shapes.Place) -> str:
    page = f", page {place.page}" if place.page is not None else ""
    context = f" · {_line(place.context)}" if place.context else ""
    return f"{_line(place.document)}{page}{context} [{place.document_id}, characters {place.start} to {place.end}]"


def _line(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


def _worded(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)[:_MAX_FAULTS]
    return "; ".join(f"{'.'.join(map(str, each['loc'])) or 'arguments'}: {each['msg']}" for each in faults)
