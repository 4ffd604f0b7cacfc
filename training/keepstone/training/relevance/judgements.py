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

from keepstone.platform.access import Principal, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import JudgementRow
from keepstone.platform.errors import InvalidInput, LimitExceeded

MOST: Final = 10_000


class Relevant(BaseModel, extra="forbid", frozen=True):
    """What answers a question: a document, or a passage of it."""

    document: Annotated[str, Field(min_length=1, max_length=300)]
    """Name or id."""
    text: Annotated[str, Field(max_length=20_000)] = ""
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


class Judgement(BaseModel, extra="forbid", frozen=True):
    """A question and all that answers it."""

    question: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S")]
    relevant: Annotated[tuple[Relevant, ...], Field(min_length=1, max_length=1000)]


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
                session.merge(
                    JudgementRow(
                        collection_id=collection_id,
                        question_sha256=hashlib.sha256(each.question.encode("utf-8", "surrogatepass")).hexdigest(),
                        question=each.question,
                        relevant=[one.model_dump(exclude_defaults=True) for one in each.relevant],
                    )
                )
            session.flush()
            count = sa.select(sa.func.count()).where(JudgementRow.collection_id == collection_id)
            total = session.scalar(count.select_from(JudgementRow)) or 0
            if total > MOST:
                raise LimitExceeded(f"{total} judgements are more than {MOST}", fix="Keep those that matter most")
            return total

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

    def clear(self, principal: Principal, collection: str) -> int:
        """Forget the judgements of a collection; return how many there were."""
        with self._database.transaction() as session:
            collection_id = find_collection(session, principal, collection, "own").id
            gone = session.execute(sa.delete(JudgementRow).where(JudgementRow.collection_id == collection_id))
            return int(gone.rowcount)  # type: ignore[attr-defined]


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
