"""Judged questions, with what is relevant to them as the collection has it now.

Documents change and go. What a judgement names is looked up anew for each evaluation; what is not there any more is
left out, and counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.database.tables import AnswerRow, DocumentRow, FeedbackRow
from keepstone.retrieval.embeddings import batched
from keepstone.training.relevance.judgements import Judgement, Relevant

_NAMES_PER_STATEMENT = 1000
_MOST_FEEDBACK = 10_000


@dataclass(frozen=True, slots=True)
class Item:
    """What answers: a document, or the characters `start` to `end` of it."""

    document_id: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """A question and all that answers it."""

    text: str
    items: tuple[Item, ...]
    """At least one."""

    @property
    def document(self) -> str:
        """The document that it is about; questions about one stand and fall together."""
        return self.items[0].document_id


def judged(
    session: Session, collection_id: str, judgements: Sequence[Judgement]
) -> tuple[list[Question], Counter[str]]:
    """Return the questions of judgements, and why some of what they name is left out."""
    dropped: Counter[str] = Counter()
    named = {each.document for judgement in judgements for each in judgement.relevant}
    quoted = {each.document for judgement in judgements for each in judgement.relevant if each.text}
    documents = _documents(session, collection_id, named)
    texts = _texts(session, {documents[name] for name in quoted if name in documents})
    questions: list[Question] = []
    for judgement in judgements:
        items = [_item(each, documents, texts, dropped) for each in judgement.relevant]
        there = tuple(dict.fromkeys(each for each in items if each))
        if there:
            questions.append(Question(judgement.question.strip(), there))
        else:
            dropped["questions_without_anything_relevant"] += 1
    return questions, dropped


def thumbed(session: Session, collection_id: str) -> tuple[list[Question], Counter[str]]:
    """Return questions that people asked, with the passages that they found relevant, or that a liked answer cited.

    Only answers from this collection alone count, and of their passages those whose documents are unchanged.
    """
    rows = session.execute(
        sa.select(FeedbackRow, AnswerRow)
        .join(AnswerRow, AnswerRow.id == FeedbackRow.answer_id)
        .where(AnswerRow.collection_id == collection_id)
        .order_by(FeedbackRow.created_at.desc(), FeedbackRow.id)
        .limit(_MOST_FEEDBACK)
    ).all()
    named = {each["document_id"] for _, answer in rows for each in answer.record.get("passages", ())}
    hashes = _hashes(session, collection_id, named)
    dropped: Counter[str] = Counter()
    found: dict[str, dict[Item, None]] = {}
    for feedback, answer in rows:
        items = list(_liked(feedback, answer, hashes))
        question = answer.standalone_question.strip()
        if items and question:
            found.setdefault(question, {}).update(dict.fromkeys(items))
        elif feedback.rating > 0 or feedback.relevant:
            dropped["feedback_without_its_passages"] += 1
    return [Question(text, tuple(items)) for text, items in sorted(found.items())], dropped


def _liked(feedback: FeedbackRow, answer: AnswerRow, hashes: Mapping[str, str | None]) -> Iterable[Item]:
    record: Mapping[str, Any] = answer.record
    cited = [claim["citation"] for claim in record.get("claims", ()) if claim.get("citation") is not None]
    liked = feedback.relevant or (cited if feedback.rating > 0 and answer.outcome == "answered" else [])
    for each in record.get("passages", ()):
        unchanged = hashes.get(each["document_id"]) == each["document_sha256"]
        if each["number"] in liked and each["number"] not in feedback.irrelevant and unchanged:
            yield Item(each["document_id"], each["start"], each["end"])


def _item(
    relevant: Relevant, documents: Mapping[str, str], texts: Mapping[str, str], dropped: Counter[str]
) -> Item | None:
    document_id = documents.get(relevant.document)
    if document_id is None:
        dropped["documents_not_in_the_collection"] += 1
        return None
    if not relevant.text.strip():
        return Item(document_id, relevant.start, relevant.end)
    # Loaders fold lines anew.
    quoted = re.compile(r"\s+".join(map(re.escape, relevant.text.split())))
    found = quoted.search(texts.get(document_id, ""))
    if found is None:
        dropped["quotations_not_in_their_documents"] += 1
        return None
    return Item(document_id, found.start(), found.end())


def _documents(session: Session, collection_id: str, named: Iterable[str]) -> dict[str, str]:
    """Return the ids of the documents that are there, by what they were named by: name or id."""
    found: dict[str, str] = {}
    for some in batched(sorted(named), _NAMES_PER_STATEMENT):
        query = sa.select(DocumentRow.id, DocumentRow.name).where(
            DocumentRow.collection_id == collection_id, DocumentRow.name.in_(some) | DocumentRow.id.in_(some)
        )
        for document_id, name in session.execute(query):
            found |= {document_id: document_id, name: document_id}
    return found


def _texts(session: Session, document_ids: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for some in batched(sorted(document_ids), _NAMES_PER_STATEMENT):
        query = sa.select(DocumentRow.id, DocumentRow.text).where(DocumentRow.id.in_(some))
        found |= {document_id: text or "" for document_id, text in session.execute(query)}
    return found


def _hashes(session: Session, collection_id: str, document_ids: Iterable[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for some in batched(sorted(document_ids), _NAMES_PER_STATEMENT):
        query = sa.select(DocumentRow.id, DocumentRow.sha256).where(
            DocumentRow.collection_id == collection_id, DocumentRow.id.in_(some)
        )
        found.update((row.id, row.sha256) for row in session.execute(query))
    return found
