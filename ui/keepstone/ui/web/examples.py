"""Questions to begin with, made from the titles and headings of the documents that are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from keepstone.platform.access import Principal
from keepstone.platform.database.tables import DocumentState
from keepstone.platform.errors import Conflict, NotFound
from keepstone.retrieval.documents import DocumentInfo
from keepstone.retrieval.library import CollectionInfo, DocumentText, Library

WANTED: Final = 4
_LOOKED_AT: Final = 24
# Headings that name a part of a document rather than a subject.
_EMPTY: Final = re.compile(
    r"(?i)(contents|table of contents|introduction|overview|summary|about\b.*|appendix.*|page \d+"
    r"|目录|引言|附录.*|概述|前言)"
)
# What web pages put behind their titles.
_SITE: Final = re.compile(r"\s+[|–—]\s+.*$")
_NUMBERING: Final = re.compile(r"^\s*(?:[\d.]+|[A-Z]\.|第?[一二三四五六七八九十]+[章节条、.]?)\s+")


def example_questions(library: Library, principal: Principal, collections: Sequence[CollectionInfo]) -> list[str]:
    """Return up to four questions, each about another document; none when no document is ready."""
    questions: list[str] = []
    for collection in collections:
        infos = library.documents(principal, collection.id, limit=_LOOKED_AT)
        for info in _spread([each for each in infos if each.state == DocumentState.READY]):
            if len(questions) == WANTED:
                return questions
            try:
                question = _question(library.document_text(principal, info.id))
            except (NotFound, Conflict):
                continue
            if question:
                questions.append(question)
    return questions


def _spread(infos: Sequence[DocumentInfo]) -> list[DocumentInfo]:
    """Return every n-th document, so that the examples come from all over the collection."""
    step = max(1, len(infos) // WANTED)
    return [*infos[::step]]


def _question(document: DocumentText) -> str | None:
    title = _SITE.sub("", document.document.title or "") or PurePosixPath(document.document.name).stem
    headings = [_NUMBERING.sub("", heading.title).strip(" #*:：") for heading in document.headings if heading.level > 1]
    subject = next((each for each in headings if _is_subject(each)), None)
    if subject is None or len(title) > 80:
        return None
    if document.document.language == "zh":
        return f"《{title}》对“{subject}”有什么规定？"
    return f"What does “{title}” say about {_within_sentence(subject)}?"


def _is_subject(heading: str) -> bool:
    """Tell whether a heading says what stands below it; version numbers and dates do not."""
    return 2 <= len(heading) <= 48 and not _EMPTY.fullmatch(heading) and not re.search(r"\d", heading)


def _within_sentence(heading: str) -> str:
    """Return a heading as it is written within a sentence."""
    words = heading.rstrip(".?!")
    if words.isupper() or (words[:1].isupper() and words[1:].islower()):
        return words.lower()
    return words
