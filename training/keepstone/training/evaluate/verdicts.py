"""The verdicts, as they are stored and shown.

Who owns a collection may read what was judged on it; what was judged on a collection that is gone is gone with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.orm import Session

from keepstone.platform.access import Principal, allowed_actions, find_collection
from keepstone.platform.database import Database
from keepstone.platform.database.tables import CollectionRow, VerdictRow
from keepstone.platform.errors import NotFound
from keepstone.training.evaluate.bootstrap import Effect
from keepstone.training.evaluate.gate import Figure, Goal, Outcome, Ruling
from keepstone.training.evaluate.parity import Parity

Subject = Literal["encoder", "llm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is judged against what, and on what."""

    collection_id: str
    dataset: str
    """Id of the dataset whose held-out questions are put."""
    subject: Subject
    live: str
    """Name and version of the model in use."""
    candidate: str
    """Name and version of the one that is judged."""
    goal: Goal


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A ruling on a candidate, with what it was made on."""

    id: str
    case: Case
    collection: str
    """The collection's name."""
    outcome: Outcome
    reasons: tuple[str, ...]
    """Whole sentences."""
    figures: tuple[Figure, ...]
    parity: Parity | None
    created_at: datetime


class Verdicts:
    """The verdicts of one installation.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, principal: Principal, *, collection: str | None = None, limit: int = 50) -> Sequence[Verdict]:
        """Return the verdicts on the principal's own collections, the newest first.

        Args:
            principal: who asks.
            collection: name or id of the only one that is wanted.
            limit: at most so many.

        Raises:
            NotFound: there is no such collection.
        """
        query = sa.select(VerdictRow).order_by(VerdictRow.created_at.desc(), VerdictRow.id)
        with self._database.reading() as session:
            if collection is not None:
                query = query.where(VerdictRow.collection_id == find_collection(session, principal, collection).id)
            owned = [each.id for each in session.scalars(sa.select(CollectionRow)) if _owns(session, principal, each)]
            rows = session.scalars(query.where(VerdictRow.collection_id.in_(owned)).limit(limit))
            return [_verdict(session, row) for row in rows]

    def get(self, principal: Principal, reference: str) -> Verdict:
        """Return a verdict.

        Args:
            principal: who asks.
            reference: its id, or that of the job that came to it.

        Raises:
            NotFound: there is none, or it is on somebody else's collection.
        """
        with self._database.reading() as session:
            row = session.get(VerdictRow, reference) or session.get(VerdictRow, _id_of(reference))
            if row is None or not _owns(session, principal, session.get_one(CollectionRow, row.collection_id)):
                raise NotFound(f"No verdict {reference!r}", fix="List them: `keepstone verdicts list`")
            return _verdict(session, row)

    def of(self, key: str) -> Verdict | None:
        """Return what a judging came to, for who has been authorized already; None if it has not ended."""
        with self._database.reading() as session:
            row = session.get(VerdictRow, _id_of(key))
            return _verdict(session, row) if row else None

    def add(self, key: str, case: Case, ruling: Ruling) -> Verdict:
        """Store what a judging came to; one that has come to a verdict keeps it.

        Args:
            key: names the judging.
            case: what was judged.
            ruling: what the gate said.

        Raises:
            NotFound: the collection is gone.
        """
        with self._database.transaction() as session:
            if session.get(CollectionRow, case.collection_id) is None:
                raise NotFound("The collection that was judged on is gone")
            row = session.get(VerdictRow, _id_of(key))
            if row is None:
                row = VerdictRow(
                    id=_id_of(key),
                    **asdict(case),
                    outcome=ruling.outcome,
                    reasons=list(ruling.reasons),
                    figures=[asdict(figure) for figure in ruling.figures],
                    parity=asdict(ruling.parity) if ruling.parity else None,
                )
                session.add(row)
                session.flush()
            return _verdict(session, row)


def _id_of(key: str) -> str:
    return f"vrd_{hashlib.sha256(key.encode()).hexdigest()[:24]}"


def _owns(session: Session, principal: Principal, collection: CollectionRow) -> bool:
    return "read" in principal.scopes and "own" in allowed_actions(session, principal, collection)


def _verdict(session: Session, row: VerdictRow) -> Verdict:
    return Verdict(
        id=row.id,
        case=Case(
            collection_id=row.collection_id,
            dataset=row.dataset,
            subject=cast("Subject", row.subject),
            live=row.live,
            candidate=row.candidate,
            goal=cast("Goal", row.goal),
        ),
        collection=session.get_one(CollectionRow, row.collection_id).name,
        outcome=cast("Outcome", row.outcome),
        reasons=tuple(row.reasons),
        figures=tuple(map(_figure, row.figures)),
        parity=Parity(**row.parity) if row.parity else None,
        created_at=row.created_at,
    )


def _figure(stored: dict[str, Any]) -> Figure:
    return Figure(stored["name"], stored["role"], Effect(**stored["effect"]))
