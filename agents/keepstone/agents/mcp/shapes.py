"""What the MCP server's tools take and give: the models that become their JSON Schemas.

Every list and text in them is bounded, so that no call can return more than a language model may be given.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PASSAGE_CHARS = 4000
"""Longest text of one passage; a longer one is cut."""

Collections = Annotated[
    list[Annotated[str, Field(max_length=255)]] | None,
    Field(max_length=20, description="Names or ids of collections; without them, all that you may read."),
]


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class SearchArguments(_Arguments):
    """Arguments of `search`."""

    query: Annotated[str, Field(min_length=1, max_length=2000)]
    """What to look for, in words."""
    collections: Collections = None
    k: Annotated[int, Field(ge=1, le=20)] = 8
    """How many passages."""


class AskArguments(_Arguments):
    """Arguments of `ask`."""

    question: Annotated[str, Field(min_length=1, max_length=4000)]
    """One question that stands by itself."""
    collections: Collections = None


class ReadArguments(_Arguments):
    """Arguments of `read`."""

    document: Annotated[str, Field(min_length=1, max_length=255)]
    """The document's id (`document_id`), as `search`, `ask` and `list` give it."""
    start: Annotated[int, Field(ge=0)] = 0
    """The character to begin with."""
    page: Annotated[int, Field(ge=1)] | None = None
    """Begin on this page instead, in documents that have pages."""
    length: Annotated[int, Field(ge=1, le=20_000)] = 8000
    """How many characters."""


class ListArguments(_Arguments):
    """Arguments of `list`."""

    collection: Annotated[str, Field(max_length=255)] | None = None
    """Name or id of a collection, whose documents are listed; without it, the collections themselves are."""
    containing: Annotated[str, Field(max_length=255)] = ""
    """Only documents with this in their names."""
    after: Annotated[str, Field(max_length=1024)] | None = None
    """Go on behind this name: the `next` of an earlier answer."""
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    """How many at most."""


class Place(BaseModel):
    """Where a passage stands. Spans count the characters (Unicode code points) of the document's text."""

    document_id: str
    document: str
    page: int | None
    start: int
    end: int
    context: str


class FoundPassage(Place):
    """A passage that search found."""

    text: str
    score: float


class Source(Place):
    """A passage that an answer cites, by its mark in the text."""

    number: int
    quote: str | None


class SearchResult(BaseModel):
    """What `search` gives, best first."""

    passages: list[FoundPassage]


class AskResult(BaseModel):
    """What `ask` gives."""

    outcome: str
    answer: str
    answer_id: str
    sources: list[Source]


class ReadResult(BaseModel):
    """What `read` gives."""

    document_id: str
    document: str
    page: int | None
    start: int
    end: int
    total: int
    next: int | None
    text: str


class ListedCollection(BaseModel):
    """A collection."""

    id: str
    name: str
    description: str
    documents: int


class ListedDocument(BaseModel):
    """A document."""

    document_id: str
    name: str
    title: str | None
    state: str


class ListResult(BaseModel):
    """What `list` gives: collections, or the documents of one."""

    collections: list[ListedCollection]
    documents: list[ListedDocument]
    next: str | None
