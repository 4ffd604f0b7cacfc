"""Judgements: questions, and which documents, passages or quotations answer them.

One JSON object a line:

    {"question": "How long is the warranty?", "relevant": ["terms.pdf", {"document": "faq.md", "text": "two years"}]}

A relevant document may be narrowed to a passage by the quotation `text`, or by the characters `start` to `end` of its
text. Judgements belong to a collection; a new one takes the place of the one on the same question.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final

import sqlalchemy as sa
from pydantic import BaseModel, Field, ValidationError, model_validator
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import JudgementRow
from keepstone.platform.errors import InvalidInput, LimitExceeded
from keepstone.retrieval.types import Hit

MOST: Final = 10_000
_MOST_RELEVANT: Final = 1000
_LONGEST_QUOTATION: Final = 20_000


class Relevant(BaseModel, extra="forbid", frozen=True):
    """What answers a question: a document, or a passage of it."""

    document: Annotated[str, Field(min_length=1, max_length=300)]
    """Name or id."""
    text: Annotated[str, Field(max_length=_LONGEST_QUOTATION)] = ""
    """A quotation from it; empty for the whole document."""
    start: Annotated[int, Field(ge=0)] | None = None
    """First character of the passage in the document's text."""
    end: Annotated[int, Field(ge=1)] | None = None
    """Behind its last character."""

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"document": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _check_span(self) -> Relevant:
        if (self.start is None) != (self.end is None):
            raise ValueError("give both start and end, or neither")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("start must be below end")
        if self.text and self.start is not None:
            raise ValueError("give either text, or start and end")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole document."""
        return not self.text and self.start is None

    def covers(self, passage: Hit) -> bool:
        """Tell whether it is a passage, a part of it, or more than it."""
        if self.document not in (passage.document_id, passage.document_name):
            return False
        if self.text:
            quoted, read = " ".join(self.text.split()), " ".join(passage.text.split())
            return quoted in read or read in quoted
        return self.start is None or self.end is None or (passage.start < self.end and self.start < passage.end)


class Judgement(BaseModel, extra="forbid", frozen=True):
    """A question and all that answers it."""

    question: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S")]
    relevant: Annotated[tuple[Relevant, ...], Field(min_length=1, max_length=_MOST_RELEVANT)]


class Judgements:
    """The judgements of all collections. Who owns a collection may read and change them.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, principal: Principal, collection: str, judgements: Sequence[Judgement]) -> int:
        """Keep judgements with a collection, and return how many it has then.

        Raises:
            LimitExceeded: they would be more than 10,000.
        """
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection, "own").id
            for each in judgements:
                _keep(session, collection_id, each)
            return _count(session, collection_id)

    def list(self, principal: Principal, collection: str) -> list[Judgement]:
        """Return the judgements of a collection, in an order that depends on their questions alone."""
        with self._database.reading() as session:
            collection_id = find_collection(session, principal, collection, "own").id
            rows = session.scalars(
                sa.select(JudgementRow)
                .where(JudgementRow.collection_id == collection_id)
                .order_by(JudgementRow.question_sha256)
            )
            return [Judgement.model_validate({"question": row.question, "relevant": row.relevant}) for row in rows]

    def relevant(self, principal: Principal, collection: str, question: str) -> tuple[Relevant, ...]:
        """Return what is relevant to a question; nothing where nobody judged it."""
        with self._database.reading() as session:
            collection_id = find_collection(session, principal, collection, "own").id
            return _relevant(session.get(JudgementRow, (collection_id, _sha256(question))))

    def mark(self, principal: Principal, question: str, passage: Hit, *, relevant: bool) -> None:
        """Keep with its collection that a passage answers a question, or take back what says so.

        It is kept as a quotation, which is found again when its document has changed or is cut otherwise.

        Raises:
            LimitExceeded: the collection would have more than 10,000 judgements, or this one 1,000 passages.
        """
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, passage.collection_id, "own").id
            row = session.get(JudgementRow, (collection_id, _sha256(question)), with_for_update=True)
            found = _relevant(row)
            covering = [each for each in found if each.covers(passage)]
            if relevant and not covering:
                quoted = Relevant(document=passage.document_name, text=passage.text[:_LONGEST_QUOTATION])
                if len(found) >= _MOST_RELEVANT:
                    raise LimitExceeded(f"{len(found)} passages are relevant already", fix="Take some of them back")
                _keep(session, collection_id, Judgement(question=question, relevant=(*found, quoted)))
                _count(session, collection_id)
            elif not relevant and row is not None:
                rest = tuple(each for each in found if each not in covering)
                if rest:
                    _keep(session, collection_id, Judgement(question=question, relevant=rest))
                else:
                    session.delete(row)

    def clear(self, principal: Principal, collection: str) -> int:
        """Forget the judgements of a collection; return how many there were."""
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection, "own").id
            gone = session.execute(sa.delete(JudgementRow).where(JudgementRow.collection_id == collection_id))
            return int(gone.rowcount)  # type: ignore[attr-defined]


def _sha256(question: str) -> str:
    return hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()


def _relevant(row: JudgementRow | None) -> tuple[Relevant, ...]:
    return tuple(Relevant.model_validate(each) for each in row.relevant) if row else ()


def _keep(session: Session, collection_id: str, judgement: Judgement) -> None:
    session.merge(
        JudgementRow(
            collection_id=collection_id,
            question_sha256=_sha256(judgement.question),
            question=judgement.question,
            relevant=[each.model_dump(exclude_defaults=True) for each in judgement.relevant],
        )
    )


def _count(session: Session, collection_id: str) -> int:
    """Return how many judgements a collection has, which may not be too many."""
    session.flush()
    count = sa.select(sa.func.count()).where(JudgementRow.collection_id == collection_id)
    total = session.scalar(count.select_from(JudgementRow)) or 0
    if total > MOST:
        raise LimitExceeded(f"{total} judgements are more than {MOST}", fix="Keep those that matter most")
    return total


def read_judgements(lines: Iterable[str]) -> list[Judgement]:
    """Return the judgements of a JSONL file; blank lines are passed over.

    Raises:
        InvalidInput: a line is none; the message names it.
    """
    judgements: list[Judgement] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            judgements.append(Judgement.model_validate(json.loads(line)))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            reason = f"{place}: {first['msg']}" if place else first["msg"]
            raise InvalidInput(f"Line {number} is no judgement: {reason}", fix=_FIX) from error
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"Line {number} is not JSON", fix=_FIX) from error
    if not judgements:
        raise InvalidInput("There are no judgements in it", fix=_FIX)
    return judgements


_FIX: Final = 'Write one object a line: {"question": "...", "relevant": ["name of a document"]}'
